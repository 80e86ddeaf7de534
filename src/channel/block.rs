//! Stage 2's product: a run of messages of one channel, sealed, numbered, encoded when the first subscriber needs it.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::encode::{Envelope, Frames, FramesBuilder, Timestamp};
use crate::message::{Lines, Message};

/// What one push brought: messages in their order, raw.
#[derive(Debug)]
pub(crate) enum Run {
    /// One line of output.
    Line(Bytes),
    /// A run of lines of output.
    Lines(Lines),
    /// Any other message.
    Message(Box<Message>),
}

impl Run {
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::Line(_) | Self::Message(_) => 1,
            Self::Lines(lines) => lines.len(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Lines(lines) => lines.byte_len(),
            Self::Message(message) => message.size_hint(),
        }
    }
}

/// A sealed run of messages. Immutable; its encodings are each made at most once.
#[derive(Debug, Default)]
pub(crate) struct Block {
    runs: Vec<Run>,
    messages: usize,
    bytes: usize,
    /// The messages that may use a client's reserve, by their index in the block, ascending.
    reserved: Vec<u32>,
    frames: OnceLock<Frames>,
}

impl Block {
    pub(crate) fn with_capacity(runs: usize) -> Self {
        Self { runs: Vec::with_capacity(runs), ..Self::default() }
    }

    pub(crate) fn push(&mut self, run: Run) {
        if let Run::Message(message) = &run
            && message.is_reserved()
        {
            self.reserved.push(self.messages as u32);
        }
        self.messages += run.messages();
        self.bytes += run.bytes();
        self.runs.push(run);
    }

    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(crate) fn reserved(&self) -> &[u32] {
        &self.reserved
    }

    /// The block as WebSocket frames of one JSON message each.
    pub(crate) fn frames(&self, envelope: &Envelope, timestamp: &Timestamp) -> &Frames {
        self.frames.get_or_init(|| {
            let mut builder = FramesBuilder::with_capacity(self.messages, self.bytes);
            for run in &self.runs {
                match run {
                    Run::Line(line) => builder.push_line(envelope, line, timestamp),
                    Run::Lines(lines) => {
                        for line in lines.iter() {
                            builder.push_line(envelope, line, timestamp);
                        }
                    }
                    Run::Message(message) => builder.push_message(envelope, message, timestamp),
                }
            }
            builder.finish()
        })
    }
}
