//! A run of complete WebSocket frames: a whole block in one buffer.

use std::ops::Range;

use bytes::Bytes;

use super::escape::escape_into;
use super::{Envelope, Timestamp, frame};
use crate::message::Message;

/// What a message takes beyond its line when names are short: frame header, head and tail.
const USUAL_OVERHEAD: usize = 128;

/// A run of complete WebSocket text frames, one message each, contiguous. Cloning and slicing share the bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: Bytes,
    /// Where each frame ends; a run holds less than 4 GiB.
    ends: Box<[u32]>,
}

impl Frames {
    /// How many frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they have together.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The byte offset at which frame `index` starts; of `len()`, where the last one ends.
    ///
    /// # Panics
    /// If `index` is past `len()`.
    pub fn bytes_before(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    /// The bytes of some of the frames, shared.
    ///
    /// # Panics
    /// If the range ends before it starts or past `len()`.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        self.bytes.slice(self.bytes_before(range.start)..self.bytes_before(range.end))
    }

    /// All the bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many of the first frames are no more than `max_messages` and `max_bytes`. Logarithmic.
    pub fn fit(&self, max_messages: usize, max_bytes: usize) -> usize {
        self.fit_from(0, max_messages, max_bytes)
    }

    /// How many of the frames from `start` on are no more than `max_messages` and `max_bytes`. Logarithmic.
    ///
    /// # Panics
    /// If `start` is past `len()`.
    pub fn fit_from(&self, start: usize, max_messages: usize, max_bytes: usize) -> usize {
        let most = self.bytes_before(start).saturating_add(max_bytes);
        let ends = &self.ends[start..];
        // The usual case: all of them fit, and nothing needs to be searched.
        if ends.len() <= max_messages && self.bytes.len() <= most {
            return ends.len();
        }
        ends[..ends.len().min(max_messages)].partition_point(|&end| end as usize <= most)
    }
}

/// Encodes messages, one after another, into one buffer.
#[derive(Debug)]
pub struct FramesBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl FramesBuilder {
    /// A builder with room for so many messages with so many bytes of lines or data together.
    pub fn with_capacity(messages: usize, payload_bytes: usize) -> Self {
        let bytes = Vec::with_capacity(payload_bytes + messages * USUAL_OVERHEAD);
        Self { bytes, ends: Vec::with_capacity(messages) }
    }

    /// Appends one line as a `process_output` message. Linear in the line, which may be any bytes.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    #[inline]
    pub fn push_line(&mut self, envelope: &Envelope, line: &[u8], timestamp: &Timestamp) {
        let (head, tail) = (envelope.line_head(), timestamp.tail());
        // The quote that ends the line, and what the line takes if nothing in it needs escaping.
        let guess = head.len() + line.len() + 1 + tail.len();
        self.bytes.reserve(frame::MAX_HEADER + guess);
        let start = self.bytes.len();
        frame::push_text_header(&mut self.bytes, guess);
        self.bytes.extend_from_slice(head);
        escape_into(&mut self.bytes, line);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(tail);
        self.end_frame(start, guess);
    }

    /// Appends one message of any type. The channel is the envelope's; the process is the message's own, or
    /// that of the envelope's channel if the type is one of a process's.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    pub fn push_message(&mut self, envelope: &Envelope, message: &Message, timestamp: &Timestamp) {
        let guess = envelope.clean_len(message) + timestamp.tail().len();
        self.bytes.reserve(frame::MAX_HEADER + guess);
        let start = self.bytes.len();
        frame::push_text_header(&mut self.bytes, guess);
        envelope.push_message(&mut self.bytes, message);
        self.bytes.extend_from_slice(timestamp.tail());
        self.end_frame(start, guess);
    }

    #[inline]
    fn end_frame(&mut self, start: usize, guess: usize) {
        if self.bytes.len() - start - frame::header_len(guess) != guess {
            frame::correct_text_header(&mut self.bytes, start, guess);
        }
        self.ends.push(end_offset(self.bytes.len()));
    }

    /// How many messages so far.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no message yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes of frames so far.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The frames. Copies nothing.
    pub fn finish(self) -> Frames {
        Frames { bytes: self.bytes.into(), ends: self.ends.into() }
    }
}

#[inline]
fn end_offset(end: usize) -> u32 {
    u32::try_from(end).expect("a run of frames holds less than 4 GiB: seal blocks sooner")
}

/// One message as one frame, for one client: a pong, a refusal, a reply.
pub fn single(envelope: &Envelope, message: &Message, timestamp: &Timestamp) -> Bytes {
    let mut builder = FramesBuilder::with_capacity(1, message.size_hint());
    builder.push_message(envelope, message, timestamp);
    builder.bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ChannelName, MessageType, ProcessId, Status};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const AT: i64 = 1_771_495_200_123;

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(AT)
    }

    fn envelope(channel: &str) -> Envelope {
        Envelope::new(Some(&ChannelName::parse(channel).unwrap()))
    }

    /// Reads frames as a client does: the payloads, in order.
    fn payloads(mut bytes: &[u8]) -> Vec<String> {
        let mut payloads = Vec::new();
        while let [first, second, rest @ ..] = bytes {
            assert_eq!(*first, 0x81, "a final text frame");
            let (len, rest) = match second {
                0..=125 => (*second as usize, rest),
                126 => {
                    let len = u16::from_be_bytes(rest[..2].try_into().unwrap()) as usize;
                    assert!(len > 125, "the shortest length that fits");
                    (len, &rest[2..])
                }
                127 => {
                    let len = u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize;
                    assert!(len > 0xFFFF, "the shortest length that fits");
                    (len, &rest[8..])
                }
                _ => panic!("masked"),
            };
            payloads.push(String::from_utf8(rest[..len].to_vec()).unwrap());
            bytes = &rest[len..];
        }
        assert!(bytes.is_empty());
        payloads
    }

    fn payload(frame: &Bytes) -> String {
        let mut payloads = payloads(frame);
        assert_eq!(payloads.len(), 1);
        payloads.remove(0)
    }

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
            (&all, Message::error("n\"o\n"), r#"{"type":"error","data":"n\"o\n""#),
            (&all, Message::error(""), r#"{"type":"error","data":"""#),
            (
                &all,
                Message::event("e", &json!([1])).unwrap(),
                r#"{"type":"event","data":{"event":"e","data":[1]}"#,
            ),
            (&all, Message::output("x"), r#"{"type":"process_output","data":"x""#),
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
                Message::new(MessageType::from("a\"b")).with_json(&()).unwrap(),
                r#"{"type":"a\"b","channel":"process:web","data":null"#,
            ),
        ] {
            assert_eq!(payload(&single(envelope, &message, &now())), format!("{head}{at}"));
        }
    }

    #[test]
    fn escapes_that_lengthen_the_header_leave_the_neighbours_whole() {
        // 65,535 - 6 x 10,900 leaves the clean length below the limit and the escaped one above it; the same for 125.
        for line in [vec![0; 10_900], vec![b'"'; 33_000], vec![0xFF; 22_000], vec![1; 6]] {
            let frames = lines_of("a", &[&b"before"[..], &line, b"after"]);
            let texts: Vec<Value> =
                payloads(frames.bytes()).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            assert_eq!(texts[0]["data"], "before");
            assert_eq!(texts[1]["data"], *String::from_utf8_lossy(&line));
            assert_eq!(texts[2]["data"], "after");
        }
    }

    fn messages() -> impl Strategy<Value = Message> {
        let id = || "[A-Za-z0-9_.-]{1,20}".prop_map(|id| ProcessId::parse(&id).unwrap());
        let kind =
            prop_oneof!["\\PC{1,8}", Just("process_output".to_owned()), Just("process_status".to_owned())];
        let bytes = || {
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                ".{0,80}".prop_map(String::into_bytes),
                ("[a-z\"]{1,9}", 60_000usize..70_000).prop_map(|(piece, len)| piece
                    .bytes()
                    .cycle()
                    .take(len)
                    .collect()),
            ]
        };
        (kind, prop::option::of(id()), 0..3, bytes()).prop_map(|(kind, id, data, bytes)| {
            let mut message = Message::new(MessageType::from(kind.as_str()));
            if let Some(id) = id {
                message = message.with_process(id);
            }
            match data {
                0 => message,
                1 => message.with_text(bytes),
                _ => message.with_json(&json!({"k": String::from_utf8_lossy(&bytes)})).unwrap(),
            }
        })
    }

    fn expected(channel: Option<&str>, message: &Message) -> Value {
        let mut value = serde_json::Map::new();
        value.insert("type".into(), message.kind().as_str().into());
        if let Some(channel) = channel {
            value.insert("channel".into(), channel.into());
        }
        let from_channel = ["process_output", "process_status"].contains(&message.kind().as_str());
        let own = message.process_id().map(ProcessId::as_str);
        let inherited = channel.filter(|_| from_channel).and_then(|name| name.strip_prefix("process:"));
        if let Some(id) = own.or(inherited) {
            value.insert("processId".into(), id.into());
        }
        match message.data() {
            crate::message::Data::None => {}
            crate::message::Data::Text(text) => {
                value.insert("data".into(), String::from_utf8_lossy(text).into());
            }
            crate::message::Data::Json(json) => {
                value.insert("data".into(), serde_json::from_slice(json).unwrap());
            }
        }
        value.insert("timestamp".into(), "2026-02-19T10:00:00.123Z".into());
        value.into()
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
                prop_assert!(text.bytes().all(|byte| byte >= 0x20), "a raw control byte in {}", text);
                prop_assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected(channel.as_deref(), message));
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

        #[test]
        fn what_fits_is_the_longest_run_within_both_limits(
            lines in prop::collection::vec("[a-z]{0,200}", 0..12),
            max_messages in 0usize..14,
            max_bytes in prop_oneof![0usize..3000, Just(usize::MAX)],
            start in 0usize..12,
        ) {
            let frames = lines_of("c", &lines);
            let start = start.min(frames.len());
            let (mut count, mut bytes) = (0, 0);
            for index in start..frames.len() {
                bytes += frames.slice(index..index + 1).len();
                if count == max_messages || bytes > max_bytes {
                    break;
                }
                count += 1;
            }
            prop_assert_eq!(frames.fit_from(start, max_messages, max_bytes), count);
            if start == 0 {
                prop_assert_eq!(frames.fit(max_messages, max_bytes), count);
            }
            prop_assert_eq!(frames.bytes_before(frames.len()), frames.byte_len());
        }
    }
}
