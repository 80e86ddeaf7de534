//! From payloads of other nodes to messages.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::value::RawValue;

use super::link::Link;
use super::names::Names;
use super::{MAX_PAYLOAD, Port};
use crate::bridge::BridgeDrop;
use crate::message::{ChannelName, Message, MessageType, ProcessId};

/// The time that go-ws writes where it has none: the zero value of Go's `time.Time`.
const GO_ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Imports whatever Redis delivers. Never ends.
pub(super) async fn import_all(port: &Port, source_id: &str, names: &Names, link: &Link) {
    loop {
        let (redis_channel, payload) = link.received().await;
        let channel = str::from_utf8(&redis_channel)
            .ok()
            .and_then(|name| names.channel(name).ok());
        let imported = match channel {
            Some(channel) => {
                read(&payload, source_id, channel.is_none()).map(|message| (channel, message))
            }
            None => Err(Unread::Dropped(BridgeDrop::InvalidName)),
        };
        match imported {
            Ok((channel, imported)) => {
                port.import(channel.as_ref(), imported.message, imported.unix_ms);
            }
            Err(Unread::Own) => {}
            Err(Unread::Dropped(reason)) => port.count_dropped(reason, 1),
        }
    }
}

/// A message of another node.
#[derive(Debug, PartialEq, Eq)]
struct Imported {
    message: Message,
    /// Its timestamp in Unix milliseconds, if it has one.
    unix_ms: Option<i64>,
}

/// Why a payload is no message for this node.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// This node sent it.
    Own,
    Dropped(BridgeDrop),
}

const MALFORMED: Unread = Unread::Dropped(BridgeDrop::Malformed);

/// The fields of a JSON object. Of equal names the later one counts.
type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Reads a payload. The channel that a message names itself counts only if it is `for_all`: Redis
/// names the others.
fn read(payload: &[u8], source_id: &str, for_all: bool) -> Result<Imported, Unread> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Unread::Dropped(BridgeDrop::TooLong));
    }
    // Go replaces invalid UTF-8 too.
    let text = String::from_utf8_lossy(payload);
    let envelope: Fields<'_> = serde_json::from_str(&text).map_err(|_| MALFORMED)?;
    match string(&envelope, "sourceId") {
        Ok(Some(source)) if source == source_id => return Err(Unread::Own),
        Ok(_) => {}
        Err(WrongType) => return Err(Unread::Dropped(BridgeDrop::InvalidSource)),
    }
    let message = field(&envelope, "message").ok_or(MALFORMED)?;
    let message: Fields<'_> = serde_json::from_str(message.get()).map_err(|_| MALFORMED)?;
    let text = |name| string(&message, name).map_err(|WrongType| MALFORMED);
    let invalid_name = |_| Unread::Dropped(BridgeDrop::InvalidName);
    let message_type = text("type")?.filter(|name| !name.is_empty());
    let mut imported = Message::new(MessageType::from(message_type.ok_or(MALFORMED)?.as_str()));
    let channel = text("channel")?.filter(|name| !name.is_empty());
    if let Some(channel) = channel.filter(|_| for_all) {
        imported = imported.in_channel(ChannelName::parse(&channel).map_err(invalid_name)?);
    }
    if let Some(id) = text("processId")?.filter(|id| !id.is_empty()) {
        imported = imported.with_process(ProcessId::parse(&id).map_err(invalid_name)?);
    }
    if let Some(data) = value(&message, "data") {
        imported = with_data(imported, data);
    }
    Ok(Imported {
        message: imported,
        unix_ms: unix_ms(&message)?,
    })
}

/// Sets the data. A string becomes a text, so that a line is one for every encoding.
fn with_data(message: Message, data: &RawValue) -> Message {
    match serde_json::from_str::<String>(data.get()) {
        Ok(text) => message.with_text(text),
        Err(_) => message.with_raw_json(data.to_owned()),
    }
}

/// Returns the timestamp in Unix milliseconds, or `None` when there is none.
fn unix_ms(message: &Fields<'_>) -> Result<Option<i64>, Unread> {
    const INVALID: Unread = Unread::Dropped(BridgeDrop::InvalidTimestamp);
    match string(message, "timestamp").map_err(|WrongType| INVALID)? {
        None => Ok(None),
        Some(text) if text == GO_ZERO_TIME => Ok(None),
        Some(text) => parse_rfc3339(&text).ok_or(INVALID).map(Some),
    }
}

/// Parses a time of any precision and zone, as strictly as Go does.
fn parse_rfc3339(text: &str) -> Option<i64> {
    // chrono takes a blank or a small letter too, and a leap second.
    let bytes = text.as_bytes();
    let is_strict =
        bytes.get(10) == Some(&b'T') && bytes.get(17..19) != Some(b"60") && !text.ends_with('z');
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    is_strict.then(|| time.timestamp_millis())
}

struct WrongType;

/// Returns the string of a field, and `None` if the field is missing or `null`.
fn string(fields: &Fields<'_>, name: &str) -> Result<Option<String>, WrongType> {
    field(fields, name)
        .map(|value| serde_json::from_str(value.get()).map_err(|_| WrongType))
        .transpose()
}

/// Returns a field that is there and not `null`.
fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    value(fields, name).filter(|value| value.get() != "null")
}

/// Returns the value of a field. Its name matches in any case, as in Go, and an exact match wins.
fn value<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    let any_case = || {
        let mut fields = fields.iter();
        fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    };
    fields.get(name).or_else(any_case).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::{Data, Status};

    fn of_channel(payload: &str) -> Result<Imported, Unread> {
        read(payload.as_bytes(), "me", false)
    }

    fn dropped(payload: &str) -> BridgeDrop {
        match of_channel(payload) {
            Err(Unread::Dropped(reason)) => reason,
            other => panic!("{payload}: {other:?}"),
        }
    }

    fn web() -> ProcessId {
        ProcessId::parse("web").unwrap()
    }

    #[test]
    fn a_message_of_go_ws_is_read_with_its_process_data_and_time() {
        for (payload, message) in [
            (
                r#"{"sourceId":"9f2c","message":{"type":"process_output","processId":"web","data":"a line","timestamp":"2026-02-19T10:00:00.123456789Z"}}"#,
                Message::output("a line").with_process(web()),
            ),
            (
                r#"{"sourceId":"9f2c","message":{"type":"process_status","processId":"web","data":{"status":"exited","exitCode":3},"timestamp":"2026-02-19T11:00:00.123456789+01:00"}}"#,
                Message::status(&Status::Exited, 3).with_process(web()),
            ),
            (
                r#"{"sourceId":"9f2c","message":{"type":"event","data":{"event":"e","data":[1,null]},"timestamp":"2026-02-19T10:00:00.123Z"}}"#,
                Message::event("e", &json!([1, null])).unwrap(),
            ),
        ] {
            let imported = of_channel(payload).unwrap();
            assert_eq!(imported.message, message);
            assert_eq!(imported.unix_ms, Some(1_771_495_200_123), "{payload}");
        }
    }

    #[test]
    fn its_own_messages_are_dropped_and_those_without_a_source_are_not() {
        let message = r#""message":{"type":"error","data":"no"}"#;
        let own = format!(r#"{{"sourceId":"me",{message}}}"#);
        assert_eq!(of_channel(&own), Err(Unread::Own));
        for source in [
            "",
            r#""sourceId":"other","#,
            r#""sourceId":null,"#,
            r#""sourceId":"","#,
        ] {
            let imported = of_channel(&format!("{{{source}{message}}}")).unwrap();
            assert_eq!(imported.message, Message::error("no"));
        }
        for source in ["7", "true", "[]", r#"{"id":"me"}"#] {
            let payload = format!(r#"{{"sourceId":{source},{message}}}"#);
            assert_eq!(dropped(&payload), BridgeDrop::InvalidSource);
        }
    }

    #[test]
    fn what_cannot_be_read_is_dropped_with_its_reason() {
        for payload in [
            "",
            "7",
            "[]",
            "{",
            r#"{"sourceId":"x"}"#,
            r#"{"message":null}"#,
            r#"{"message":"text"}"#,
            r#"{"message":{}}"#,
            r#"{"message":{"type":""}}"#,
            r#"{"message":{"type":7}}"#,
            r#"{"message":{"type":"e","channel":7}}"#,
            r#"{"message":{"type":"e","processId":{}}}"#,
            r#"{"message":{"type":"e"}} x"#,
        ] {
            assert_eq!(dropped(payload), BridgeDrop::Malformed, "{payload}");
        }
        let bad_process = r#"{"message":{"type":"e","processId":"a b"}}"#;
        assert_eq!(dropped(bad_process), BridgeDrop::InvalidName);
    }

    #[test]
    fn a_message_to_all_clients_names_a_valid_channel_and_others_name_none() {
        let payload =
            |channel: &str| format!(r#"{{"message":{{"type":"e","channel":"{channel}"}}}}"#);
        let for_all = |channel| read(payload(channel).as_bytes(), "me", true);
        let plain = Message::new(MessageType::from("e"));
        let named = plain.clone().in_channel(ChannelName::parse("c").unwrap());
        assert_eq!(for_all("c").unwrap().message, named);
        assert_eq!(for_all("").unwrap().message, plain);
        let invalid = Err(Unread::Dropped(BridgeDrop::InvalidName));
        assert_eq!(for_all("a b"), invalid);
        assert_eq!(of_channel(&payload("a b")).unwrap().message, plain);
    }

    #[test]
    fn unknown_keys_are_ignored_and_names_match_in_any_case() {
        let payload = r#"{"v":2,"SOURCEID":"x","Message":{"TYPE":"no","type":"e","seq":9,"Data":null,"processID":"web"}}"#;
        let message = of_channel(payload).unwrap().message;
        assert_eq!(message.message_type().as_str(), "e");
        assert_eq!(message.process_id(), Some(&web()));
        assert_eq!(message.data(), &Data::Json("null".into()));
        let twice = r#"{"message":{"type":"a","type":"b"}}"#;
        let message = of_channel(twice).unwrap().message;
        assert_eq!(message.message_type().as_str(), "b");
    }

    #[test]
    fn a_timestamp_of_any_precision_and_zone_is_kept_and_any_other_form_drops() {
        let at = |timestamp: &str| {
            of_channel(&format!(
                r#"{{"message":{{"type":"e","timestamp":{timestamp}}}}}"#
            ))
        };
        for (timestamp, unix_ms) in [
            (r#""1970-01-01T00:00:01Z""#, 1000),
            (r#""1970-01-01T00:00:01.5Z""#, 1500),
            (r#""1970-01-01T05:30:00.0019+05:30""#, 1),
            (r#""1969-12-31T23:59:59.999-00:00""#, -1),
        ] {
            assert_eq!(at(timestamp).unwrap().unix_ms, Some(unix_ms), "{timestamp}");
        }
        for missing in ["null", r#""0001-01-01T00:00:00Z""#] {
            assert_eq!(at(missing).unwrap().unix_ms, None);
        }
        for other in [
            "7",
            r#""""#,
            r#""now""#,
            r#""2026-02-19""#,
            r#""2026-02-19 10:00:00Z""#,
            r#""2026-02-19t10:00:00Z""#,
            r#""2026-02-19T10:00:00z""#,
            r#""2026-02-19T10:00:00""#,
            r#""2026-02-19T10:00:60Z""#,
            r#""2026-02-30T10:00:00Z""#,
        ] {
            let reason = Err(Unread::Dropped(BridgeDrop::InvalidTimestamp));
            assert_eq!(at(other), reason, "{other}");
        }
    }

    #[test]
    fn a_payload_of_65536_bytes_is_read_and_a_longer_one_is_dropped() {
        let head = r#"{"message":{"type":"process_output","data":""#;
        let payload = |len: usize| format!("{head}{}\"}}}}", "x".repeat(len - head.len() - 3));
        assert!(of_channel(&payload(65_536)).is_ok());
        assert_eq!(dropped(&payload(65_537)), BridgeDrop::TooLong);
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let imported = read(
            b"{\"message\":{\"type\":\"error\",\"data\":\"a\xff\"}}",
            "me",
            false,
        );
        assert_eq!(imported.unwrap().message, Message::error("a\u{fffd}"));
    }
}
