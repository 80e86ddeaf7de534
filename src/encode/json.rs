//! The default encoding: one WebSocket frame for each message.

use bytes::Bytes;

use super::frames::{FrameBuffer, Frames};
use super::{Envelope, Timestamp};
use crate::message::Message;

/// The estimated size of a message beyond its line, for short names: frame header, head and tail.
pub(super) const USUAL_OVERHEAD: usize = 128;

/// Encodes messages as [`Encoding::Json`](super::Encoding::Json), into one buffer.
#[derive(Debug)]
pub struct FramesBuilder {
    run: FrameBuffer,
}

impl FramesBuilder {
    /// Creates a builder with room for `messages` messages with `payload_bytes` bytes of lines or
    /// data in total.
    pub fn with_capacity(messages: usize, payload_bytes: usize) -> Self {
        Self {
            run: FrameBuffer::with_capacity(messages, payload_bytes + messages * USUAL_OVERHEAD),
        }
    }

    /// Appends one line, which may be any bytes, as a `process_output` message. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    #[inline]
    pub fn push_line(&mut self, envelope: &Envelope, line: &[u8], timestamp: &Timestamp) {
        let guess = envelope.clean_line_len(line, timestamp);
        self.run
            .push_text_frame(guess, |out| envelope.push_line(out, line, timestamp));
    }

    /// Appends one message of any type.
    ///
    /// The channel is the message's own, or else the envelope's. The process is the message's own.
    /// A `process_output` or `process_status` without one has that of the envelope's channel.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_message(&mut self, envelope: &Envelope, message: &Message, timestamp: &Timestamp) {
        let guess = envelope.clean_len(message, timestamp);
        self.run
            .push_text_frame(guess, |out| envelope.push_message(out, message, timestamp));
    }

    /// Returns the number of messages so far.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn len(&self) -> usize {
        self.run.len()
    }

    /// Whether there is no message yet.
    #[cfg(feature = "internals")]
    pub fn is_empty(&self) -> bool {
        self.run.len() == 0
    }

    /// Returns the length of the frames so far, in bytes.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn byte_len(&self) -> usize {
        self.run.bytes.len()
    }

    /// Returns the frames, without copying them.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }
}

/// Encodes one message as one frame, for one client: a pong, a refusal or a reply.
pub fn single(envelope: &Envelope, message: &Message, timestamp: &Timestamp) -> Bytes {
    let mut builder = FramesBuilder::with_capacity(1, message.size_hint());
    builder.push_message(envelope, message, timestamp);
    builder.run.bytes.into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{envelope, expected, messages, now, payload, payloads};
    use super::*;
    use crate::message::{ChannelName, MessageType, ProcessId, Status};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn lines_of(channel: &str, lines: &[impl AsRef<[u8]>]) -> Frames {
        let mut builder = FramesBuilder::with_capacity(lines.len(), 0);
        let envelope = envelope(channel);
        for line in lines {
            builder.push_line(&envelope, line.as_ref(), &now());
        }
        assert_eq!(builder.len(), lines.len());
        let bytes = builder.byte_len();
        let frames = builder.finish();
        assert_eq!((frames.len(), frames.byte_len()), (lines.len(), bytes));
        frames
    }

    #[test]
    fn a_line_has_the_shape_of_the_wire() {
        assert_eq!(
            payload(lines_of("process:web-1", &["the line"]).bytes()),
            r#"{"type":"process_output","channel":"process:web-1","processId":"web-1","data":"the line","timestamp":"2026-02-19T10:00:00.123Z"}"#
        );
        assert_eq!(
            payload(lines_of("logs", &[""]).bytes()),
            r#"{"type":"process_output","channel":"logs","data":"","timestamp":"2026-02-19T10:00:00.123Z"}"#
        );
    }

    #[test]
    fn messages_have_the_shapes_of_the_wire() {
        let all = Envelope::new(None);
        let web = envelope("process:web");
        let id = ProcessId::parse("other").unwrap();
        let at = r#","timestamp":"2026-02-19T10:00:00.123Z"}"#;
        for (envelope, message, head) in [
            (&all, Message::new(MessageType::Pong), r#"{"type":"pong""#),
            (
                &all,
                Message::error("n\"o\n"),
                r#"{"type":"error","data":"n\"o\n""#,
            ),
            (&all, Message::error(""), r#"{"type":"error","data":"""#),
            (
                &all,
                Message::event("e", &json!([1])).unwrap(),
                r#"{"type":"event","data":{"event":"e","data":[1]}"#,
            ),
            (
                &all,
                Message::output("x"),
                r#"{"type":"process_output","data":"x""#,
            ),
            (
                &web,
                Message::status(&Status::Exited, 3),
                r#"{"type":"process_status","channel":"process:web","processId":"web","data":{"status":"exited","exitCode":3}"#,
            ),
            (
                &web,
                Message::status(&Status::Running, 3).with_process(id),
                r#"{"type":"process_status","channel":"process:web","processId":"other","data":{"status":"running","exitCode":0}"#,
            ),
            (
                &web,
                Message::new(MessageType::from("a\"b"))
                    .with_json(&())
                    .unwrap(),
                r#"{"type":"a\"b","channel":"process:web","data":null"#,
            ),
        ] {
            assert_eq!(
                payload(&single(envelope, &message, &now())),
                format!("{head}{at}")
            );
        }
    }

    #[test]
    fn escapes_that_lengthen_the_header_leave_the_neighbours_whole() {
        // 65,535 - 6 x 10,900 leaves the clean length below the limit and the escaped one above it;
        // the same for 125.
        for line in [
            vec![0; 10_900],
            vec![b'"'; 33_000],
            vec![0xFF; 22_000],
            vec![1; 6],
        ] {
            let frames = lines_of("a", &[&b"before"[..], &line, b"after"]);
            let texts: Vec<Value> = payloads(frames.bytes())
                .iter()
                .map(|text| serde_json::from_str(text).unwrap())
                .collect();
            assert_eq!(texts[0]["data"], "before");
            assert_eq!(texts[1]["data"], *String::from_utf8_lossy(&line));
            assert_eq!(texts[2]["data"], "after");
        }
    }

    proptest! {
        #[test]
        fn every_message_reads_back(
            messages in prop::collection::vec(messages(), 0..4),
            channel in prop::option::of("(process:)?[a-z.]{1,150}"),
        ) {
            let channel = channel.map(|mut name| { name.truncate(8 + 128); name });
            let name = channel.as_deref().map(|name| ChannelName::parse(name).unwrap());
            let envelope = Envelope::new(name.as_ref());
            let mut builder = FramesBuilder::with_capacity(0, 0);
            for message in &messages {
                builder.push_message(&envelope, message, &now());
            }
            let frames = builder.finish();
            let texts = payloads(frames.bytes());
            prop_assert_eq!(texts.len(), messages.len());
            for (index, (text, message)) in texts.iter().zip(&messages).enumerate() {
                let is_clean = text.bytes().all(|byte| byte >= 0x20);
                prop_assert!(is_clean, "a raw control byte in {}", text);
                let read: Value = serde_json::from_str(text).unwrap();
                prop_assert_eq!(read, expected(channel.as_deref(), message));
                prop_assert_eq!(&payload(&frames.slice(index..index + 1)), text);
                prop_assert_eq!(&payload(&single(&envelope, message, &now())), text);
            }
        }

        #[test]
        fn a_line_is_encoded_as_the_message_it_is(
            line in prop::collection::vec(any::<u8>(), 0..300),
            channel in "(process:)?[a-z]{1,9}",
        ) {
            let message = Message::output(line.clone());
            let frames = lines_of(&channel, &[line]);
            prop_assert_eq!(frames.bytes(), &single(&envelope(&channel), &message, &now()));
        }
    }
}
