//! Lines alone, as text: what `curl` shows.

use super::frames::{Frames, Growing};
use crate::message::{Data, Message, MessageType};

/// Encodes messages as [`Encoding::Text`](super::Encoding::Text): a line is its text and a newline; a message
/// that is no line is a frame of no bytes.
///
/// Control bytes in a line, and with them the colours of a terminal, stay as they are.
#[derive(Debug)]
pub struct TextBuilder {
    run: Growing,
}

impl TextBuilder {
    /// A builder with room for so many messages with so many bytes of lines or data together.
    pub fn new(messages: usize, payload_bytes: usize) -> Self {
        Self { run: Growing::with_capacity(messages, payload_bytes + messages) }
    }

    /// Appends one line; what is not UTF-8 in it becomes U+FFFD. Linear in the line.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    #[inline]
    pub fn push_line(&mut self, line: &[u8]) {
        let out = &mut self.run.bytes;
        if simdutf8::basic::from_utf8(line).is_ok() {
            out.extend_from_slice(line);
        } else {
            push_lossy(out, line);
        }
        out.push(b'\n');
        self.run.end();
    }

    /// Appends one message: a text of type `process_output` is a line, any other message takes no bytes.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    pub fn push_message(&mut self, message: &Message) {
        match (message.kind(), message.data()) {
            (MessageType::ProcessOutput, Data::Text(line)) => self.push_line(line),
            _ => self.run.end(),
        }
    }

    /// The frames. Copies none.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }
}

/// Appends text that is not UTF-8 throughout.
#[cold]
fn push_lossy(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}
