//! One WebSocket frame per message: what every client gets that asks for nothing else.

use bytes::Bytes;

use super::frames::{Frames, Growing};
use super::{Envelope, Timestamp};
use crate::message::Message;

/// What a message takes beyond its line when names are short: frame header, head and tail.
pub(super) const USUAL_OVERHEAD: usize = 128;

/// Encodes messages as [`Encoding::Json`](super::Encoding::Json), one after another, into one buffer.
#[derive(Debug)]
pub struct FramesBuilder {
    run: Growing,
}

impl FramesBuilder {
    /// A builder with room for so many messages with so many bytes of lines or data together.
    pub fn with_capacity(messages: usize, payload_bytes: usize) -> Self {
        Self { run: Growing::with_capacity(messages, payload_bytes + messages * USUAL_OVERHEAD) }
    }

    /// Appends one line as a `process_output` message. Linear in the line, which may be any bytes.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    #[inline]
    pub fn push_line(&mut self, envelope: &Envelope, line: &[u8], timestamp: &Timestamp) {
        let guess = envelope.clean_line_len(line, timestamp);
        self.run.push_text_frame(guess, |out| envelope.push_line(out, line, timestamp));
    }

    /// Appends one message of any type. The channel is the envelope's; the process is the message's own, or
    /// that of the envelope's channel if the type is one of a process's.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    pub fn push_message(&mut self, envelope: &Envelope, message: &Message, timestamp: &Timestamp) {
        let guess = envelope.clean_len(message, timestamp);
        self.run.push_text_frame(guess, |out| envelope.push_message(out, message, timestamp));
    }

    /// How many messages so far.
    pub fn len(&self) -> usize {
        self.run.len()
    }

    /// Whether there is no message yet.
    pub fn is_empty(&self) -> bool {
        self.run.len() == 0
    }

    /// How many bytes of frames so far.
    pub fn byte_len(&self) -> usize {
        self.run.bytes.len()
    }

    /// The frames. Copies none.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }
}

/// One message as one frame, for one client: a pong, a refusal, a reply.
pub fn single(envelope: &Envelope, message: &Message, timestamp: &Timestamp) -> Bytes {
    let mut builder = FramesBuilder::with_capacity(1, message.size_hint());
    builder.push_message(envelope, message, timestamp);
    builder.run.bytes.into()
}
