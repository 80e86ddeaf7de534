//! The form in which messages reach a receiver in the same process: not for the wire.
//!
//! A frame is its length, its kind and its fields. Numbers are little-endian, and a text follows
//! its length. Encoder and decoder are the same build of this file, so a frame has no version.

use bytes::Bytes;

use super::Timestamp;
use super::detail::LineDetail;
use super::frames::{FrameBuffer, Frames};
use super::text::push_text;
use super::timestamp::TEXT;
use crate::message::{Data, Message, MessageType, OutputStream, ProcessId};

const LINE: u8 = 0;
const MESSAGE: u8 = 1;
const GAP: u8 = 2;
const SUBSCRIBED: u8 = 3;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const CONTINUED: u8 = 4;
const PAST: u8 = 8;

const NO_DATA: u8 = 0;
const TEXT_DATA: u8 = 1;
const JSON_DATA: u8 = 2;

/// The bytes of a frame of a line beside its text.
const LINE_OVERHEAD: usize = 4 + 1 + 8 + TEXT + 1 + 4;

/// One frame, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalFrame {
    /// A line of output.
    Line {
        /// Its number.
        seq: u64,
        /// When it was published.
        timestamp: String,
        /// What is known of it.
        detail: LineDetail,
        /// Its text.
        text: String,
    },
    /// Any other message.
    Message {
        /// Its number.
        seq: u64,
        /// When it was published.
        timestamp: String,
        /// The message.
        message: Message,
    },
    /// Messages were skipped.
    Gap {
        /// The number of the first one.
        from: u64,
        /// The number of the last one.
        to: u64,
    },
    /// The subscription is active.
    Subscribed {
        /// The name of the numbering.
        epoch: String,
        /// The number before the first message that follows.
        seq: u64,
        /// The number of messages that follow from the history.
        replayed: u64,
        /// The number of messages that the history no longer has.
        lost: u64,
    },
}

/// Encodes messages as [`Encoding::Local`](super::Encoding::Local), one frame each.
#[derive(Debug)]
pub struct LocalBuilder<'a> {
    run: FrameBuffer,
    timestamp: &'a Timestamp,
    first_seq: u64,
}

impl<'a> LocalBuilder<'a> {
    /// Creates a builder for messages from seq `first_seq` on, with room for `messages` messages
    /// with `payload_bytes` bytes of lines or data in total.
    pub fn new(
        timestamp: &'a Timestamp,
        first_seq: u64,
        messages: usize,
        payload_bytes: usize,
    ) -> Self {
        Self {
            run: FrameBuffer::with_capacity(messages, payload_bytes + messages * LINE_OVERHEAD),
            timestamp,
            first_seq,
        }
    }

    /// Appends one line. Invalid UTF-8 becomes U+FFFD. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_line(&mut self, line: &[u8], detail: LineDetail) {
        self.frame(LINE, |out| {
            out.push(flags(detail));
            sized(out, |out| push_text(out, line));
        });
    }

    /// Appends one message. A text of type `process_output` is a line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_message(&mut self, message: &Message, detail: LineDetail) {
        if let (true, Data::Text(text)) = (message.is_line(), message.data()) {
            return self.push_line(text, detail);
        }
        self.frame(MESSAGE, |out| {
            let process = message.process_id().map_or("", ProcessId::as_str);
            sized(out, |out| {
                out.extend_from_slice(message.message_type().as_str().as_bytes());
            });
            sized(out, |out| out.extend_from_slice(process.as_bytes()));
            let (kind, data) = match message.data() {
                Data::None => (NO_DATA, &[][..]),
                Data::Text(text) => (TEXT_DATA, &text[..]),
                Data::Json(json) => (JSON_DATA, &json[..]),
            };
            out.push(kind);
            sized(out, |out| out.extend_from_slice(data));
        });
    }

    /// Returns the frames, without copying them.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }

    fn frame(&mut self, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
        let seq = self.first_seq + self.run.len() as u64;
        let timestamp = self.timestamp.as_str();
        sized(&mut self.run.bytes, |out| {
            out.push(kind);
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(timestamp.as_bytes());
            fields(out);
        });
        self.run.end();
    }
}

/// Encodes the notice that the messages `from` to `to` were skipped.
pub(super) fn gap(from: u64, to: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(4 + 1 + 16);
    sized(&mut bytes, |out| {
        out.push(GAP);
        out.extend_from_slice(&from.to_le_bytes());
        out.extend_from_slice(&to.to_le_bytes());
    });
    bytes.into()
}

/// Encodes the notice that the subscription is active.
pub(super) fn subscribed(epoch: &str, seq: u64, replayed: u64, lost: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(64);
    sized(&mut bytes, |out| {
        out.push(SUBSCRIBED);
        for number in [seq, replayed, lost] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        sized(out, |out| out.extend_from_slice(epoch.as_bytes()));
    });
    bytes.into()
}

/// Takes the first frame off a run of frames. Returns `None` at the end of the run.
pub fn next_frame(run: &mut Bytes) -> Option<LocalFrame> {
    let length = u32::from_le_bytes(*run.first_chunk()?) as usize;
    if run.len() < 4 + length {
        return None;
    }
    let _ = run.split_to(4);
    decode(Fields(&run.split_to(length)))
}

fn decode(mut fields: Fields<'_>) -> Option<LocalFrame> {
    Some(match fields.byte()? {
        kind @ (LINE | MESSAGE) => {
            let seq = fields.number()?;
            let timestamp = text(fields.take(TEXT)?);
            if kind == LINE {
                let detail = detail(fields.byte()?);
                let text = text(fields.sized()?);
                LocalFrame::Line {
                    seq,
                    timestamp,
                    detail,
                    text,
                }
            } else {
                let message = fields.message()?;
                LocalFrame::Message {
                    seq,
                    timestamp,
                    message,
                }
            }
        }
        GAP => LocalFrame::Gap {
            from: fields.number()?,
            to: fields.number()?,
        },
        SUBSCRIBED => {
            let (seq, replayed, lost) = (fields.number()?, fields.number()?, fields.number()?);
            let epoch = text(fields.sized()?);
            LocalFrame::Subscribed {
                epoch,
                seq,
                replayed,
                lost,
            }
        }
        _ => return None,
    })
}

/// The fields of a frame that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }

    fn message(&mut self) -> Option<Message> {
        let message_type = MessageType::from(&*text(self.sized()?));
        let process_id = ProcessId::parse(&text(self.sized()?)).ok();
        let kind = self.byte()?;
        let data = Bytes::copy_from_slice(self.sized()?);
        let data = match kind {
            TEXT_DATA => Data::Text(data),
            JSON_DATA => Data::Json(data),
            _ => Data::None,
        };
        Some(Message::from_parts(message_type, process_id, data))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Appends what `write` appends, after its length.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn flags(detail: LineDetail) -> u8 {
    let stream = match detail.stream {
        Some(OutputStream::Stdout) => STDOUT,
        Some(OutputStream::Stderr) => STDERR,
        None => 0,
    };
    stream | if detail.continued { CONTINUED } else { 0 } | if detail.past { PAST } else { 0 }
}

fn detail(flags: u8) -> LineDetail {
    let stream = match flags & (STDOUT | STDERR) {
        STDOUT => Some(OutputStream::Stdout),
        STDERR => Some(OutputStream::Stderr),
        _ => None,
    };
    LineDetail {
        stream,
        past: flags & PAST != 0,
        continued: flags & CONTINUED != 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timestamp() -> Timestamp {
        Timestamp::from_unix_millis(0)
    }

    fn all_of(mut run: Bytes) -> Vec<LocalFrame> {
        let frames = std::iter::from_fn(|| next_frame(&mut run)).collect();
        assert!(run.is_empty());
        frames
    }

    proptest! {
        #[test]
        fn a_line_reads_back_as_its_text_with_its_number_and_its_detail(
            lines in prop::collection::vec((any::<Vec<u8>>(), 0..16_u8), 0..8),
            first_seq in 1..u64::MAX / 2,
        ) {
            let timestamp = timestamp();
            let mut builder = LocalBuilder::new(&timestamp, first_seq, lines.len(), 0);
            for (line, flags) in &lines {
                builder.push_line(line, detail(*flags));
            }
            let frames = builder.finish();
            prop_assert_eq!(frames.messages(), lines.len());
            let read = all_of(frames.slice(0..frames.len()));
            let expected = lines.iter().enumerate().map(|(index, (line, flags))| {
                LocalFrame::Line {
                    seq: first_seq + index as u64,
                    timestamp: "1970-01-01T00:00:00.000Z".to_owned(),
                    detail: detail(*flags),
                    text: String::from_utf8_lossy(line).into_owned(),
                }
            });
            prop_assert_eq!(read, expected.collect::<Vec<_>>());
        }

        #[test]
        fn bytes_that_are_no_frame_end_the_run_without_a_panic(
            bytes in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..64),
        ) {
            let mut run = Bytes::from(bytes);
            while next_frame(&mut run).is_some() {}
        }
    }

    #[test]
    fn a_message_keeps_its_type_its_process_and_its_data() {
        let plain = Message::new(MessageType::from("deploy"));
        let id = ProcessId::parse("web").unwrap();
        let messages = [
            plain.clone(),
            plain.clone().with_text("text").with_process(id),
            plain.with_json(&[1, 2]).unwrap(),
        ];
        let timestamp = timestamp();
        let mut builder = LocalBuilder::new(&timestamp, 1, 0, 0);
        for message in &messages {
            builder.push_message(message, LineDetail::default());
        }
        let frames = builder.finish();
        let read = all_of(frames.slice(0..frames.len()));
        assert_eq!(read.len(), 3);
        for (frame, expected) in read.iter().zip(&messages) {
            assert!(
                matches!(frame, LocalFrame::Message { message, .. } if message == expected),
                "{frame:?}"
            );
        }
    }

    #[test]
    fn the_notices_read_back() {
        let both = [gap(2, 5), subscribed("e", 7, 1, 3)].concat();
        assert_eq!(
            all_of(both.into()),
            [
                LocalFrame::Gap { from: 2, to: 5 },
                LocalFrame::Subscribed {
                    epoch: "e".to_owned(),
                    seq: 7,
                    replayed: 1,
                    lost: 3
                },
            ]
        );
    }
}
