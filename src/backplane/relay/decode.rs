//! Turns the messages of the upstream server into messages of a mirror.
//!
//! Pure: no I/O, no clock.

use std::borrow::Cow;
use std::fmt;

use chrono::DateTime;
use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::client::Envelope;
use crate::message::{Lines, Message, MessageType, OutputStream, ProcessId};

/// A message of the upstream server.
#[derive(Debug)]
pub(super) enum Upstream {
    /// The answer to a subscription.
    Subscribed(Subscribed),
    /// The messages up to `to` were skipped.
    Gap { to: u64 },
    /// A range that was asked for begins with message `from`.
    Replay { from: u64 },
    /// A range that was asked for is complete.
    Replayed,
    /// The line that a process is still writing.
    Partial(String),
    /// Messages of the channel.
    Content(Content),
}

/// The data of `subscribed`.
#[derive(Debug, Deserialize)]
pub(super) struct Subscribed {
    pub(super) epoch: String,
    /// The number of the last message before the first one to come.
    pub(super) seq: u64,
    /// The number of messages that come from the history.
    pub(super) replayed: u64,
}

/// Messages of one channel.
#[derive(Debug)]
pub(super) struct Content {
    /// The number of the first message, if the server says it.
    pub(super) seq: Option<u64>,
    pub(super) unix_ms: i64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Lines(Lines),
    Message(Box<Message>),
}

impl Content {
    pub(super) fn messages(&self) -> u64 {
        match &self.what {
            What::Lines(lines) => lines.len() as u64,
            What::Message(_) => 1,
        }
    }
}

/// What a text frame of the server is about.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// A message about a channel.
    Channel(Cow<'a, str>, Upstream),
    /// A message to all clients.
    Everyone(Box<Message>),
    /// A request was refused.
    Refused(String),
    /// The text is no message.
    Damaged,
}

#[derive(Deserialize)]
struct Span {
    from: u64,
    to: u64,
}

/// Parses one message. Returns `None` for a message that a relay has no use for.
///
/// `now_ms` is the time of a message that says none.
pub(super) fn decode(json: &str, now_ms: i64) -> Option<Received<'_>> {
    let Some(envelope) = Envelope::parse(json) else {
        return Some(Received::Damaged);
    };
    let data = envelope.data.map(RawValue::get);
    let Some(channel) = envelope.channel.clone() else {
        return without_channel(&envelope, data);
    };
    let upstream = match &*envelope.kind {
        "subscribed" => Upstream::Subscribed(serde_json::from_str(data?).ok()?),
        "gap" => Upstream::Gap {
            to: span(data?)?.to,
        },
        "replay" => Upstream::Replay {
            from: span(data?)?.from,
        },
        "replayed" => Upstream::Replayed,
        "process_partial" => Upstream::Partial(serde_json::from_str(data?).ok()?),
        _ => Upstream::Content(content(&envelope, data, now_ms)?),
    };
    Some(Received::Channel(channel, upstream))
}

fn span(data: &str) -> Option<Span> {
    serde_json::from_str(data)
        .ok()
        .filter(|span: &Span| span.from >= 1)
}

fn without_channel<'a>(envelope: &Envelope<'a>, data: Option<&str>) -> Option<Received<'a>> {
    match &*envelope.kind {
        "pong" => None,
        "error" => {
            let text: String = serde_json::from_str(data?).ok()?;
            if text.starts_with("Subscribe: ") || text == "subscription limit exceeded" {
                return Some(Received::Refused(text));
            }
            Some(Received::Everyone(Box::new(Message::error(text))))
        }
        _ => Some(Received::Everyone(Box::new(message(envelope, data)?))),
    }
}

fn content(envelope: &Envelope<'_>, data: Option<&str>, now_ms: i64) -> Option<Content> {
    let what = match (&*envelope.kind, data) {
        ("process_output", Some(text)) if text.starts_with('"') => {
            let text: Cow<'_, str> = serde_json::from_str(text).ok()?;
            What::Lines(marked(Lines::from_iter([&*text]), envelope))
        }
        ("process_output_batch", Some(list)) => {
            let LineList(lines) = serde_json::from_str(list).ok()?;
            if lines.is_empty() {
                return None;
            }
            What::Lines(marked(lines, envelope))
        }
        (_, data) => What::Message(Box::new(message(envelope, data)?)),
    };
    Some(Content {
        seq: envelope.seq(),
        unix_ms: envelope
            .timestamp
            .as_deref()
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .map_or(now_ms, |time| time.timestamp_millis()),
        what,
    })
}

/// Adds what the server says of the lines.
fn marked(mut lines: Lines, envelope: &Envelope<'_>) -> Lines {
    match envelope.stream.as_deref() {
        Some("stderr") => lines = lines.with_stream(OutputStream::Stderr),
        Some("stdout") => lines = lines.with_stream(OutputStream::Stdout),
        _ => {}
    }
    if envelope.continued {
        let last = lines.len() as u32 - 1;
        lines = lines.with_continued(vec![last]);
    }
    if envelope.past {
        lines = lines.with_past();
    }
    lines
}

fn message(envelope: &Envelope<'_>, data: Option<&str>) -> Option<Message> {
    let mut message = Message::new(MessageType::from(&*envelope.kind));
    if let Some(id) = &envelope.process_id {
        message = message.with_process(ProcessId::parse(id).ok()?);
    }
    if let Some(json) = data {
        message = message.with_raw_json(RawValue::from_string(json.to_owned()).ok()?);
    }
    Some(message)
}

/// An array of texts, read into one run without a string for each.
struct LineList(Lines);

impl<'de> Deserialize<'de> for LineList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = LineList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LineList, A::Error> {
                let mut lines = Lines::new();
                while let Some(BorrowedText(text)) = list.next_element()? {
                    lines.push(text.as_bytes());
                }
                Ok(LineList(lines))
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn content(json: &str) -> (String, Content) {
        match decode(json, 5) {
            Some(Received::Channel(channel, Upstream::Content(content))) => {
                (channel.into_owned(), content)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_is_one_run_with_its_number_and_time() {
        let (channel, content) = content(
            r#"{"type":"process_output_batch","channel":"process:web","processId":"web","data":["a","\u001b[1mé\n",""],"seq":7,"timestamp":"2026-02-19T10:00:00.123Z"}"#,
        );
        assert_eq!(
            (&*channel, content.seq, content.messages()),
            ("process:web", Some(7), 3)
        );
        assert_eq!(content.unix_ms, 1_771_495_200_123);
        let What::Lines(lines) = content.what else {
            panic!("lines")
        };
        assert_eq!(lines, ["a", "\u{1b}[1mé\n", ""].into_iter().collect());
    }

    #[test]
    fn a_line_keeps_what_the_server_says_of_it() {
        let (_, content) = content(
            r#"{"type":"process_output","channel":"c","data":"x","timestamp":"2026-02-19T10:00:00.123Z","seq":9,"stream":"stderr","continued":true}"#,
        );
        let What::Lines(lines) = content.what else {
            panic!("lines")
        };
        assert_eq!(lines.stream(), Some(OutputStream::Stderr));
        assert_eq!(lines.continued(), [0]);
    }

    #[test]
    fn any_other_message_keeps_its_type_process_and_data() {
        let (_, content) = content(
            r#"{"type":"deploy","channel":"c","processId":"web","data":{"a":[1,null]},"timestamp":"x"}"#,
        );
        assert_eq!((content.seq, content.unix_ms), (None, 5));
        let What::Message(message) = content.what else {
            panic!("a message")
        };
        assert_eq!(message.message_type().as_str(), "deploy");
        assert_eq!(message.process_id().map(ProcessId::as_str), Some("web"));
        assert_eq!(
            message.data(),
            &crate::Data::Json(r#"{"a":[1,null]}"#.into())
        );
    }

    #[test]
    fn messages_to_everyone_are_told_from_refusals() {
        let of = |json| decode(json, 0);
        assert!(matches!(
            of(r#"{"type":"event","data":{"event":"x","data":1},"timestamp":"t"}"#),
            Some(Received::Everyone(_))
        ));
        assert!(matches!(
            of(r#"{"type":"error","data":"disk full"}"#),
            Some(Received::Everyone(_))
        ));
        assert!(matches!(
            of(r#"{"type":"error","data":"Subscribe: invalid channel name"}"#),
            Some(Received::Refused(_))
        ));
        assert!(of(r#"{"type":"pong","timestamp":"t"}"#).is_none());
        assert!(matches!(of("nonsense"), Some(Received::Damaged)));
    }
}
