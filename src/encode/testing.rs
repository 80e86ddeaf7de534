//! Shared code of the tests of several encodings: strategies for messages, the JSON they should
//! decode to, and a reader of WebSocket frames.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Envelope, LineDetail, Timestamp};
use crate::message::{ChannelName, Data, Message, MessageType, OutputStream, ProcessId};

const AT: i64 = 1_771_495_200_123;

pub(super) fn now() -> Timestamp {
    Timestamp::from_unix_millis(AT)
}

pub(super) fn envelope(channel: &str) -> Envelope {
    Envelope::new(Some(&ChannelName::parse(channel).unwrap()))
}

/// Parses frames as a client does, and returns their payloads in order.
pub(super) fn payloads(mut bytes: &[u8]) -> Vec<String> {
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

pub(super) fn payload(frame: &[u8]) -> String {
    let mut payloads = payloads(frame);
    assert_eq!(payloads.len(), 1);
    payloads.remove(0)
}

pub(super) fn messages() -> impl Strategy<Value = Message> {
    let id = || "[A-Za-z0-9_.-]{1,20}".prop_map(|id| ProcessId::parse(&id).unwrap());
    let message_type = prop_oneof![
        "\\PC{1,8}",
        Just("process_output".to_owned()),
        Just("process_status".to_owned())
    ];
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
    let parts = (message_type, prop::option::of(id()), 0..3, bytes());
    parts.prop_map(|(message_type, id, data, bytes)| {
        let mut message = Message::new(MessageType::from(message_type.as_str()));
        if let Some(id) = id {
            message = message.with_process(id);
        }
        match data {
            0 => message,
            1 => message.with_text(bytes),
            _ => message
                .with_json(&json!({"k": String::from_utf8_lossy(&bytes)}))
                .unwrap(),
        }
    })
}

pub(super) fn expected(channel: Option<&str>, message: &Message) -> Value {
    let mut value = serde_json::Map::new();
    value.insert("type".into(), message.message_type().as_str().into());
    if let Some(channel) = channel {
        value.insert("channel".into(), channel.into());
    }
    let from_channel =
        ["process_output", "process_status"].contains(&message.message_type().as_str());
    let own = message.process_id().map(ProcessId::as_str);
    let inherited = channel
        .filter(|_| from_channel)
        .and_then(|name| name.strip_prefix("process:"));
    if let Some(id) = own.or(inherited) {
        value.insert("processId".into(), id.into());
    }
    match message.data() {
        Data::None => {}
        Data::Text(text) => {
            value.insert("data".into(), String::from_utf8_lossy(text).into());
        }
        Data::Json(json) => {
            value.insert("data".into(), serde_json::from_slice(json).unwrap());
        }
    }
    value.insert("timestamp".into(), "2026-02-19T10:00:00.123Z".into());
    value.into()
}

/// A value pushed into a builder.
#[derive(Clone, Debug)]
pub(super) enum Pushed {
    Line(Vec<u8>),
    Message(Message),
}

impl Pushed {
    /// Returns the value as a message.
    pub(super) fn message(&self) -> Message {
        match self {
            Self::Line(line) => Message::output(line.clone()),
            Self::Message(message) => message.clone(),
        }
    }

    /// Returns the value's size hint in bytes.
    pub(super) fn size(&self) -> usize {
        self.message().size_hint()
    }
}

/// Runs of mostly lines: usual ones, any bytes, and lines that escaping makes several times as
/// long.
pub(super) fn items() -> impl Strategy<Value = Vec<Pushed>> {
    let line = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..120),
        4 => "\\PC{0,80}".prop_map(String::into_bytes),
        1 => (any::<u8>(), 0usize..12_000).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 32_000usize..33_500).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let item =
        prop_oneof![8 => line.prop_map(Pushed::Line), 1 => messages().prop_map(Pushed::Message)];
    prop::collection::vec(item, 0..24)
}

/// What is known of lines, of at least one.
pub(super) fn details() -> impl Strategy<Value = Vec<LineDetail>> {
    let stream = prop_oneof![
        Just(None),
        Just(Some(OutputStream::Stdout)),
        Just(Some(OutputStream::Stderr))
    ];
    let detail =
        (stream, any::<bool>(), any::<bool>()).prop_map(|(stream, past, continued)| LineDetail {
            stream,
            past,
            continued,
        });
    prop::collection::vec(detail, 1..24)
}

/// Channel names of processes and others.
pub(super) fn channels() -> impl Strategy<Value = String> {
    "(process:)?[A-Za-z0-9_.-]{1,120}"
}
