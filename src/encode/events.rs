//! Server-Sent Events: the JSON messages for clients over plain HTTP (HTML standard, section 9.2).

use super::decimal::push_decimal;
use super::frames::{FrameBuffer, Frames};
use super::json::USUAL_OVERHEAD;
use super::{Envelope, Timestamp};
use crate::message::{Message, MessageType};

/// The estimated size of an event beyond its message, for a short epoch and type.
const EVENT_OVERHEAD: usize = 64;

/// Encodes messages as [`Encoding::Events`](super::Encoding::Events), one event each.
///
/// The `data` of an event is the same JSON as on a WebSocket, and its `id` is `epoch:seq`. Its type
/// is that of the message, except that an event for `process_output` has no type. An `EventSource`
/// passes events without a type to `onmessage`, which thereby gets the lines.
#[derive(Debug)]
pub struct EventsBuilder<'a> {
    envelope: &'a Envelope,
    timestamp: &'a Timestamp,
    run: FrameBuffer,
    /// The head of the id field: `id: EPOCH:`.
    id: Vec<u8>,
    first_seq: u64,
}

impl<'a> EventsBuilder<'a> {
    /// Creates a builder for messages from seq `first_seq` of `epoch` on, with room for `messages`
    /// messages with `payload_bytes` bytes of lines or data in total.
    pub fn new(
        envelope: &'a Envelope,
        timestamp: &'a Timestamp,
        epoch: &str,
        first_seq: u64,
        messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let bytes = payload_bytes + messages * (USUAL_OVERHEAD + EVENT_OVERHEAD);
        let mut id = Vec::with_capacity(EVENT_OVERHEAD);
        push_id_head(&mut id, epoch);
        Self {
            envelope,
            timestamp,
            run: FrameBuffer::with_capacity(messages, bytes),
            id,
            first_seq,
        }
    }

    /// Appends one line, which may be any bytes. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_line(&mut self, line: &[u8]) {
        let (envelope, timestamp) = (self.envelope, self.timestamp);
        self.push(None, |out| envelope.push_line(out, line, timestamp));
    }

    /// Appends one message of any type. Its channel and process are those of
    /// [`FramesBuilder`](super::FramesBuilder).
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_message(&mut self, message: &Message) {
        let (envelope, timestamp) = (self.envelope, self.timestamp);
        let message_type = message.message_type();
        let event_type =
            (*message_type != MessageType::ProcessOutput).then(|| message_type.as_str());
        self.push(event_type, |out| {
            envelope.push_message(out, message, timestamp)
        });
    }

    /// Returns the events, without copying them.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }

    #[inline]
    fn push(&mut self, event_type: Option<&str>, data: impl FnOnce(&mut Vec<u8>)) {
        let seq = self.first_seq + self.run.len() as u64;
        let out = &mut self.run.bytes;
        out.extend_from_slice(&self.id);
        push_decimal(out, seq);
        out.push(b'\n');
        push_event(out, event_type, data);
        self.run.end();
    }
}

/// Appends the id field of an event: `id: EPOCH:SEQ`.
pub(super) fn push_id(out: &mut Vec<u8>, epoch: &str, seq: u64) {
    push_id_head(out, epoch);
    push_decimal(out, seq);
    out.push(b'\n');
}

fn push_id_head(out: &mut Vec<u8>, epoch: &str) {
    out.extend_from_slice(b"id: ");
    push_field(out, epoch);
    out.push(b':');
}

/// Appends the fields of an event after its id. The data is one line, since JSON has no raw
/// newline.
#[inline]
pub(super) fn push_event(
    out: &mut Vec<u8>,
    event_type: Option<&str>,
    data: impl FnOnce(&mut Vec<u8>),
) {
    if let Some(event_type) = event_type {
        out.extend_from_slice(b"event: ");
        push_field(out, event_type);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    data(out);
    out.extend_from_slice(b"\n\n");
}

/// Appends the value of a field. Line ends become spaces, and so does NUL, because a client ignores
/// an id with a NUL. The original type is in the data.
fn push_field(out: &mut Vec<u8>, value: &str) {
    out.extend(value.bytes().map(|byte| {
        if matches!(byte, b'\n' | b'\r' | 0) {
            b' '
        } else {
            byte
        }
    }));
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::single;
    use super::super::testing::{Pushed, channels, envelope, items, now, payload};
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq)]
    pub(in super::super) struct SseEvent {
        pub id: Option<String>,
        pub event_type: String,
        pub data: String,
    }

    /// Parses a stream by the rules of the HTML standard for an `EventSource`.
    pub(in super::super) fn read(stream: &[u8]) -> Vec<SseEvent> {
        let stream = str::from_utf8(stream)
            .unwrap()
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let (mut events, mut event, mut data) = (Vec::new(), SseEvent::default(), None::<String>);
        for line in stream.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    if let Some(data) = data.take() {
                        events.push(SseEvent { data, ..event });
                    }
                    event = SseEvent::default();
                }
                "data" => data = Some(data.map_or(String::new(), |data| data + "\n") + value),
                "event" => event.event_type = value.to_owned(),
                "id" if !value.contains('\0') => event.id = Some(value.to_owned()),
                other => panic!("the field {other:?}"),
            }
        }
        assert!(
            data.is_none() && event == SseEvent::default(),
            "the stream ends within an event"
        );
        events
    }

    fn events(channel: &str, epoch: &str, first_seq: u64, items: &[Pushed]) -> Frames {
        let (envelope, now) = (envelope(channel), now());
        let bytes = items.iter().map(Pushed::size).sum();
        let mut builder = EventsBuilder::new(&envelope, &now, epoch, first_seq, items.len(), bytes);
        for item in items {
            match item {
                Pushed::Line(line) => builder.push_line(line),
                Pushed::Message(message) => builder.push_message(message),
            }
        }
        builder.finish()
    }

    #[test]
    fn an_event_has_an_id_a_type_unless_it_is_a_line_and_the_message() {
        let items = [
            Pushed::Line(b"x".to_vec()),
            Pushed::Message(Message::error("no")),
        ];
        assert_eq!(
            str::from_utf8(events("c", "k3", 9, &items).bytes()),
            Ok(concat!(
                "id: k3:9\n",
                r#"data: {"type":"process_output","channel":"c","data":"x","timestamp":"2026-02-19T10:00:00.123Z"}"#,
                "\n\nid: k3:10\nevent: error\n",
                r#"data: {"type":"error","channel":"c","data":"no","timestamp":"2026-02-19T10:00:00.123Z"}"#,
                "\n\n"
            ))
        );
    }

    #[test]
    fn neither_a_type_nor_an_epoch_can_end_its_line() {
        let bad = "a\nid: x\r\n\ndata: b\0";
        let items = [Pushed::Message(Message::new(MessageType::from(bad)))];
        let read = read(events("c", bad, 1, &items).bytes());
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].event_type, "a id: x   data: b ");
        assert_eq!(read[0].id.as_deref(), Some("a id: x   data: b :1"));
        let message: serde_json::Value = serde_json::from_str(&read[0].data).unwrap();
        assert_eq!(message["type"], bad);
    }

    proptest! {
        #[test]
        fn every_message_is_one_event_with_its_id_and_the_json_of_the_websocket(
            channel in channels(),
            epoch in "[a-z0-9]{1,12}",
            first_seq in prop_oneof![1u64..1000, Just(u64::MAX - 1000)],
            items in items(),
        ) {
            let frames = events(&channel, &epoch, first_seq, &items);
            prop_assert_eq!((frames.len(), frames.messages()), (items.len(), items.len()));
            for (index, item) in items.iter().enumerate() {
                let message = item.message();
                let event_type = message.message_type().as_str();
                let expected = SseEvent {
                    id: Some(format!("{epoch}:{}", first_seq + index as u64)),
                    event_type: match event_type {
                        "process_output" => String::new(),
                        other => other.to_owned(),
                    },
                    data: payload(&single(&envelope(&channel), &message, &now())),
                };
                prop_assert_eq!(read(&frames.slice(index..index + 1)), [expected]);
            }
        }
    }
}
