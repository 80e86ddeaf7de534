//! What a message tells beyond the plain protocol: its number, and what is known of its line.

use super::decimal::{MAX_DIGITS, push_decimal};
use super::frames::{FrameBuffer, Frames};
use super::json::USUAL_OVERHEAD;
use super::{Envelope, Timestamp};
use crate::message::{Message, OutputStream};

const SEQ_KEY: &[u8] = br#","seq":"#;
const STDERR: &[u8] = br#","stream":"stderr""#;
const CONTINUED: &[u8] = br#","continued":true"#;
const PAST: &[u8] = br#","past":true"#;

/// The most bytes that a message takes with its detail beyond those without.
pub(super) const MAX_DETAIL: usize =
    SEQ_KEY.len() + MAX_DIGITS + STDERR.len() + CONTINUED.len() + PAST.len();

/// What is known of a line beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineDetail {
    /// The stream that it was written to, if that is known.
    pub stream: Option<OutputStream>,
    /// Whether it was written before it was followed.
    pub past: bool,
    /// Whether it is a piece of a longer line that goes on in the next message.
    pub continued: bool,
}

impl LineDetail {
    /// Whether two lines may stand in one batch. Only standard error is told, so an unknown stream
    /// counts as standard output.
    pub(super) fn shares_batch(self, other: Self) -> bool {
        self.is_stderr() == other.is_stderr() && self.past == other.past
    }

    fn is_stderr(self) -> bool {
        self.stream == Some(OutputStream::Stderr)
    }

    /// Appends the members, each after a comma.
    pub(super) fn push(self, out: &mut Vec<u8>) {
        if self.is_stderr() {
            out.extend_from_slice(STDERR);
        }
        if self.continued {
            out.extend_from_slice(CONTINUED);
        }
        if self.past {
            out.extend_from_slice(PAST);
        }
    }
}

/// Appends the end of a message with detail, in place of the brace that ends it without.
pub(super) fn push_end(out: &mut Vec<u8>, seq: u64, detail: LineDetail) {
    let brace = out.pop();
    debug_assert_eq!(brace, Some(b'}'));
    out.extend_from_slice(SEQ_KEY);
    push_decimal(out, seq);
    detail.push(out);
    out.push(b'}');
}

/// Encodes messages as [`Encoding::Detail`](super::Encoding::Detail), into one buffer.
#[derive(Debug)]
pub struct DetailBuilder<'a> {
    envelope: &'a Envelope,
    timestamp: &'a Timestamp,
    run: FrameBuffer,
    first_seq: u64,
}

impl<'a> DetailBuilder<'a> {
    /// Creates a builder for messages from seq `first_seq` on, with room for `messages` messages
    /// with `payload_bytes` bytes of lines or data in total.
    pub fn new(
        envelope: &'a Envelope,
        timestamp: &'a Timestamp,
        first_seq: u64,
        messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let bytes = payload_bytes + messages * (USUAL_OVERHEAD + MAX_DETAIL);
        Self {
            envelope,
            timestamp,
            run: FrameBuffer::with_capacity(messages, bytes),
            first_seq,
        }
    }

    /// Appends one line, which may be any bytes. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_line(&mut self, line: &[u8], detail: LineDetail) {
        let (envelope, timestamp, seq) = (self.envelope, self.timestamp, self.seq());
        let guess = envelope.clean_line_len(line, timestamp) + SEQ_KEY.len();
        self.run.push_text_frame(guess, |out| {
            envelope.push_line(out, line, timestamp);
            push_end(out, seq, detail);
        });
    }

    /// Appends one message of any type. Its channel and process are those of
    /// [`FramesBuilder`](super::FramesBuilder).
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_message(&mut self, message: &Message, detail: LineDetail) {
        let (envelope, timestamp, seq) = (self.envelope, self.timestamp, self.seq());
        let guess = envelope.clean_len(message, timestamp) + SEQ_KEY.len();
        self.run.push_text_frame(guess, |out| {
            envelope.push_message(out, message, timestamp);
            push_end(out, seq, detail);
        });
    }

    /// Returns the frames, without copying them.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }

    fn seq(&self) -> u64 {
        self.first_seq + self.run.len() as u64
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::testing::{
        Pushed, channels, details, envelope, expected, items, now, payload, payloads,
    };
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Adds the members of the detail to a message.
    pub(in super::super) fn with_detail(mut message: Value, detail: LineDetail) -> Value {
        if detail.stream == Some(OutputStream::Stderr) {
            message["stream"] = "stderr".into();
        }
        if detail.continued {
            message["continued"] = true.into();
        }
        if detail.past {
            message["past"] = true.into();
        }
        message
    }

    #[test]
    fn the_detail_follows_the_timestamp_and_only_what_applies_is_there() {
        let (envelope, now) = (envelope("process:web"), now());
        let mut builder = DetailBuilder::new(&envelope, &now, 41, 3, 0);
        let stderr = LineDetail {
            stream: Some(OutputStream::Stderr),
            past: true,
            continued: true,
        };
        builder.push_line(b"a", LineDetail::default());
        builder.push_line(b"b", stderr);
        builder.push_message(&Message::error("no"), LineDetail::default());
        let line = r#"{"type":"process_output","channel":"process:web","processId":"web","data":"#;
        let at = r#","timestamp":"2026-02-19T10:00:00.123Z","#;
        assert_eq!(
            payloads(builder.finish().bytes()),
            [
                format!(r#"{line}"a"{at}"seq":41}}"#),
                format!(
                    r#"{line}"b"{at}"seq":42,"stream":"stderr","continued":true,"past":true}}"#
                ),
                format!(r#"{{"type":"error","channel":"process:web","data":"no"{at}"seq":43}}"#),
            ]
        );
    }

    #[test]
    fn standard_output_is_not_told() {
        let mut out = b"{}".to_vec();
        let stdout = LineDetail {
            stream: Some(OutputStream::Stdout),
            ..LineDetail::default()
        };
        push_end(&mut out, u64::MAX, stdout);
        assert_eq!(out, br#"{,"seq":18446744073709551615}"#);
        assert!(stdout.shares_batch(LineDetail::default()));
    }

    proptest! {
        #[test]
        fn every_message_has_its_number_and_the_detail_of_its_line(
            channel in channels(),
            first_seq in prop_oneof![1u64..1000, Just(u64::MAX - 1000)],
            items in items(),
            details in details(),
        ) {
            let (envelope, now) = (envelope(&channel), now());
            let mut builder = DetailBuilder::new(&envelope, &now, first_seq, items.len(), 0);
            for (item, detail) in items.iter().zip(details.iter().cycle()) {
                match item {
                    Pushed::Line(line) => builder.push_line(line, *detail),
                    Pushed::Message(message) => builder.push_message(message, *detail),
                }
            }
            let frames = builder.finish();
            prop_assert_eq!((frames.len(), frames.messages()), (items.len(), items.len()));
            for (index, (item, detail)) in items.iter().zip(details.iter().cycle()).enumerate() {
                let told = payload(&frames.slice(index..index + 1));
                let mut message = expected(Some(&channel), &item.message());
                message["seq"] = (first_seq + index as u64).into();
                let value: Value = serde_json::from_str(&told).unwrap();
                prop_assert_eq!(value, with_detail(message, *detail));
            }
        }
    }
}
