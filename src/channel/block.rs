//! Stage 2's product: a run of messages of one channel, sealed, numbered, encoded when the first subscriber needs it.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::encode::{
    BatchBuilder, Encoding, Envelope, EventsBuilder, Frames, FramesBuilder, TextBuilder, Timestamp,
};
use crate::message::{Lines, Message};
use crate::sync::{AtomicUsize, Ordering};

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

/// One message of a block, borrowed.
enum Item<'a> {
    Line(&'a [u8]),
    Message(&'a Message),
}

/// What all encodings of a channel's blocks have in common.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) envelope: Envelope,
    /// Names the channel's numbering.
    pub(crate) epoch: String,
    /// Lines in one batch frame at most.
    pub(crate) batch_lines: usize,
}

/// A block in one encoding.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) frames: Frames,
    /// The frames that may use a client's reserve, ascending.
    pub(crate) reserved: Vec<u32>,
}

/// The encodings of a block, each made at most once.
#[derive(Debug, Default)]
struct Encodings {
    json: OnceLock<Encoded>,
    /// Few blocks have one of these.
    others: OnceLock<Box<[OnceLock<Encoded>; 3]>>,
}

impl Encodings {
    fn slot(&self, encoding: Encoding) -> &OnceLock<Encoded> {
        let others = || self.others.get_or_init(Box::default);
        match encoding {
            Encoding::Json => &self.json,
            Encoding::Batch => &others()[0],
            Encoding::Text => &others()[1],
            Encoding::Events => &others()[2],
        }
    }
}

/// A sealed run of messages. Immutable once sealed; its encodings are each made at most once.
#[derive(Debug)]
pub(crate) struct Block {
    runs: Vec<Run>,
    messages: usize,
    bytes: usize,
    first_seq: u64,
    timestamp: Timestamp,
    /// Nanoseconds since the hub began.
    sealed_at: u64,
    /// The messages that may use a client's reserve, by their index in the block, ascending.
    reserved: Vec<u32>,
    encodings: Encodings,
    /// Bytes of all encodings. Written by the sealer alone, as is `charged`: Relaxed.
    encoded_bytes: AtomicUsize,
    /// What a history holds against its bounds for this block.
    charged: AtomicUsize,
}

impl Block {
    pub(crate) fn with_capacity(runs: usize) -> Self {
        Self {
            runs: Vec::with_capacity(runs),
            messages: 0,
            bytes: 0,
            first_seq: 0,
            timestamp: Timestamp::from_unix_millis(0),
            sealed_at: 0,
            reserved: Vec::new(),
            encodings: Encodings::default(),
            encoded_bytes: AtomicUsize::new(0),
            charged: AtomicUsize::new(0),
        }
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

    /// Gives the block its numbers and its time.
    pub(crate) fn seal(&mut self, first_seq: u64, timestamp: Timestamp, at: u64) {
        self.first_seq = first_seq;
        self.timestamp = timestamp;
        self.sealed_at = at;
    }

    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(crate) fn has_reserved(&self) -> bool {
        !self.reserved.is_empty()
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Of a block that is not empty.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + self.messages as u64 - 1
    }

    pub(crate) fn sealed_at(&self) -> u64 {
        self.sealed_at
    }

    pub(crate) fn timestamp(&self) -> &Timestamp {
        &self.timestamp
    }

    /// The bytes it takes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.runs.capacity() * size_of::<Run>()
            // The place of each line in its run.
            + self.messages * 8
            + self.bytes
            + self.encoded_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged.load(Ordering::Relaxed)
    }

    pub(crate) fn charge(&self, bytes: usize) {
        self.charged.store(bytes, Ordering::Relaxed);
    }

    /// The whole block in an encoding, made now if nobody has needed it before. For the sealer.
    pub(crate) fn encoded(&self, encoding: Encoding, style: &Style) -> &Encoded {
        self.encodings.slot(encoding).get_or_init(|| {
            let frames = self.encode(encoding, style, 0..self.messages);
            let reserved = self
                .reserved
                .iter()
                .map(|&index| frames.frame_of(index as usize) as u32)
                .collect();
            self.encoded_bytes
                .fetch_add(frames.byte_len() + 4 * frames.len(), Ordering::Relaxed);
            Encoded { frames, reserved }
        })
    }

    /// A part of the block in an encoding, made for one subscriber: where a replay begins or ends within a frame of several messages.
    pub(crate) fn encode(
        &self,
        encoding: Encoding,
        style: &Style,
        messages: Range<usize>,
    ) -> Frames {
        let (count, bytes) = (messages.len(), self.bytes);
        let first_seq = self.first_seq + messages.start as u64;
        let (envelope, timestamp) = (&style.envelope, &self.timestamp);
        match encoding {
            Encoding::Json => {
                let mut builder = FramesBuilder::with_capacity(count, bytes);
                self.each(messages, |item| match item {
                    Item::Line(line) => builder.push_line(envelope, line, timestamp),
                    Item::Message(message) => builder.push_message(envelope, message, timestamp),
                });
                builder.finish()
            }
            Encoding::Batch => {
                let mut builder = BatchBuilder::new(
                    envelope,
                    timestamp,
                    first_seq,
                    style.batch_lines,
                    count,
                    bytes,
                );
                self.each(messages, |item| match item {
                    Item::Line(line) => builder.push_line(line),
                    Item::Message(message) => builder.push_message(message),
                });
                builder.finish()
            }
            Encoding::Text => {
                let mut builder = TextBuilder::new(count, bytes);
                self.each(messages, |item| match item {
                    Item::Line(line) => builder.push_line(line),
                    Item::Message(message) => builder.push_message(message),
                });
                builder.finish()
            }
            Encoding::Events => {
                let mut builder =
                    EventsBuilder::new(envelope, timestamp, &style.epoch, first_seq, count, bytes);
                self.each(messages, |item| match item {
                    Item::Line(line) => builder.push_line(line),
                    Item::Message(message) => builder.push_message(message),
                });
                builder.finish()
            }
        }
    }

    fn each<'a>(&'a self, messages: Range<usize>, mut take: impl FnMut(Item<'a>)) {
        let Range { mut start, end } = messages;
        let mut first = 0;
        for run in &self.runs {
            let after = first + run.messages();
            if start < after && first < end {
                match run {
                    Run::Line(line) => take(Item::Line(line)),
                    Run::Message(message) => take(Item::Message(message)),
                    Run::Lines(lines) => {
                        let wanted = start - first..after.min(end) - first;
                        lines
                            .iter()
                            .skip(wanted.start)
                            .take(wanted.len())
                            .for_each(|line| take(Item::Line(line)));
                    }
                }
                start = after;
            }
            first = after;
        }
    }
}
