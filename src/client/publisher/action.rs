//! The JSON of a message, as an action of `POST /api/actions`.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::message::{ChannelName, Data, Message};

/// A message that waits to be sent.
pub(super) struct Outgoing {
    pub(super) action: String,
    /// The room that the message takes in the queue until it has an outcome.
    #[allow(dead_code, reason = "held, not read")]
    pub(super) room: OwnedSemaphorePermit,
}

#[derive(Serialize)]
struct SendChannel<'a> {
    action: &'static str,
    channel: &'a str,
    #[serde(rename = "type")]
    message_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Returns the action that publishes a message to a channel.
pub(super) fn of(channel: &ChannelName, message: &Message) -> Result<String, serde_json::Error> {
    let data = match message.data() {
        Data::None => None,
        Data::Text(text) => Some(serde_json::value::to_raw_value(&String::from_utf8_lossy(
            text,
        ))?),
        Data::Json(json) => Some(serde_json::from_slice(json)?),
    };
    let process_id = match message.process_id() {
        Some(id) => Some(id.as_str()),
        None => channel.process_id(),
    };
    serde_json::to_string(&SendChannel {
        action: "ws.send_channel",
        channel: channel.as_str(),
        message_type: message.message_type().as_str(),
        process_id,
        data,
    })
}

/// Returns the body of a request with these actions.
pub(super) fn body(batch: &[Outgoing]) -> Vec<u8> {
    let bytes: usize = batch.iter().map(|outgoing| outgoing.action.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 1);
    for (index, outgoing) in batch.iter().enumerate() {
        body.push(if index == 0 { b'[' } else { b',' });
        body.extend_from_slice(outgoing.action.as_bytes());
    }
    body.push(b']');
    body
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::message::{MessageType, ProcessId};

    #[test]
    fn each_kind_of_data_becomes_json() {
        let other = Message::new(MessageType::from("deploy"));
        let id = ProcessId::parse("db").unwrap();
        for (channel, message, expected) in [
            (
                "process:web",
                Message::output(&b"a \xff \"b\""[..]),
                json!({"channel": "process:web", "type": "process_output", "process_id": "web",
                    "data": "a \u{fffd} \"b\""}),
            ),
            (
                "logs",
                other.clone(),
                json!({"channel": "logs", "type": "deploy"}),
            ),
            (
                "logs",
                other.with_process(id).with_json(&[1, 2]).unwrap(),
                json!({"channel": "logs", "type": "deploy", "process_id": "db", "data": [1, 2]}),
            ),
        ] {
            let action = of(&ChannelName::parse(channel).unwrap(), &message).unwrap();
            let mut action: Value = serde_json::from_str(&action).unwrap();
            assert_eq!(action["action"].take(), "ws.send_channel");
            action.as_object_mut().unwrap().remove("action");
            assert_eq!(action, expected);
        }
    }
}
