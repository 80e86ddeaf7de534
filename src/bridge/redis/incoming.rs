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
    if let Some(&data) = message.get("data") {
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
    let is_strict = bytes.get(10) == Some(&b'T')
        && bytes.get(17..19) != Some(b"60")
        && !text.ends_with('z');
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
    let value = fields.get(name).copied()?;
    (value.get() != "null").then_some(value)
}
