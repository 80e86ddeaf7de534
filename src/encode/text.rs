//! Only the lines, as plain text, for clients such as `curl`.

use super::frames::{FrameBuffer, Frames};
use crate::message::{Data, Message, MessageType};

/// Encodes messages as [`Encoding::Text`](super::Encoding::Text).
///
/// A line becomes its text and a newline. Any other message becomes a frame without bytes. Control
/// bytes in a line, and so the colors of a terminal, are kept.
#[derive(Debug)]
pub struct TextBuilder {
    run: FrameBuffer,
}

impl TextBuilder {
    /// Creates a builder with room for `messages` messages with `payload_bytes` bytes of lines or
    /// data in total.
    pub fn new(messages: usize, payload_bytes: usize) -> Self {
        Self {
            run: FrameBuffer::with_capacity(messages, payload_bytes + messages),
        }
    }

    /// Appends one line. Invalid UTF-8 becomes U+FFFD. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    #[inline]
    pub fn push_line(&mut self, line: &[u8]) {
        self.push_text(line);
        self.run.bytes.push(b'\n');
        self.run.end();
    }

    /// Appends a piece of a line that goes on in the next message, without a newline.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_piece(&mut self, piece: &[u8]) {
        self.push_text(piece);
        self.run.end();
    }

    /// Ends the piece before the next frame. The newline is a part of that frame.
    pub fn end_piece(&mut self) {
        self.run.bytes.push(b'\n');
    }

    #[inline]
    fn push_text(&mut self, text: &[u8]) {
        push_text(&mut self.run.bytes, text);
    }

    /// Appends one message. A text of type `process_output` is a line; any other message takes no
    /// bytes.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_message(&mut self, message: &Message) {
        match (message.message_type(), message.data()) {
            (MessageType::ProcessOutput, Data::Text(line)) => self.push_line(line),
            _ => self.run.end(),
        }
    }

    /// Returns the frames, without copying them.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }
}

/// Appends text. Invalid UTF-8 becomes U+FFFD.
#[inline]
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    if simdutf8::basic::from_utf8(text).is_ok() {
        out.extend_from_slice(text);
    } else {
        push_lossy(out, text);
    }
}

/// Appends text that is not valid UTF-8.
#[cold]
fn push_lossy(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Pushed, items};
    use super::*;
    use crate::message::Status;
    use proptest::prelude::*;

    fn text(items: &[Pushed]) -> Frames {
        let mut builder = TextBuilder::new(items.len(), 0);
        for item in items {
            match item {
                Pushed::Line(line) => builder.push_line(line),
                Pushed::Message(message) => builder.push_message(message),
            }
        }
        builder.finish()
    }

    #[test]
    fn colours_stay_and_bytes_that_are_no_text_are_replaced() {
        let frames = text(&[
            Pushed::Line(b"\x1b[31mred\x1b[0m\ttab\r".to_vec()),
            Pushed::Line(b"a\xffb\xe2\x80".to_vec()),
            Pushed::Message(Message::status(&Status::Exited, 1)),
            Pushed::Message(Message::error("not a line")),
            Pushed::Message(Message::output("a line")),
        ]);
        assert_eq!(
            str::from_utf8(frames.bytes()),
            Ok("\x1b[31mred\x1b[0m\ttab\r\na\u{FFFD}b\u{FFFD}\na line\n")
        );
        assert_eq!((frames.len(), frames.messages()), (5, 5));
        assert!(frames.slice(2..4).is_empty());
    }

    proptest! {
        #[test]
        fn every_line_is_its_lossy_text_and_every_other_message_counts_for_nothing(
            items in items(),
        ) {
            let frames = text(&items);
            prop_assert_eq!((frames.len(), frames.messages()), (items.len(), items.len()));
            for (index, item) in items.iter().enumerate() {
                let message = item.message();
                let expected = match message.data() {
                    Data::Text(text) if message.message_type().as_str() == "process_output" => {
                        String::from_utf8_lossy(text).into_owned() + "\n"
                    }
                    _ => String::new(),
                };
                prop_assert_eq!(&frames.slice(index..index + 1)[..], expected.as_bytes());
            }
        }
    }
}
