//! Actions: requests to a hub as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{ChannelName, Message, MessageType, NameError, ProcessId, Status};

/// A valid request to a hub. [`Hub::execute`](crate::Hub::execute) carries it out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// `ws.broadcast`: sends a message to every client.
    Broadcast {
        /// The channel that the message names.
        channel: Option<ChannelName>,
        /// The message.
        message: Message,
    },
    /// `ws.send_channel`: sends a message to the subscribers of a channel.
    SendChannel {
        /// The channel.
        channel: ChannelName,
        /// The message.
        message: Message,
    },
    /// `ws.send_event`: sends an event to every client.
    SendEvent {
        /// The event.
        message: Message,
    },
    /// `ws.send_error`: sends an error text to every client.
    SendError {
        /// The error.
        message: Message,
    },
    /// `ws.send_process_output`: publishes one line of a process.
    SendProcessOutput {
        /// The process.
        process_id: ProcessId,
        /// The line.
        output: String,
    },
    /// `ws.send_process_status`: publishes the status of a process.
    SendProcessStatus {
        /// The process.
        process_id: ProcessId,
        /// The status.
        status: Status,
        /// The exit code; 0 if the request has none.
        exit_code: i32,
    },
    /// `ws.client_count`: asks for the number of clients.
    ClientCount,
    /// `ws.channel_count`: asks for the number of channels.
    ChannelCount,
    /// `ws.subscriber_count`: asks for the number of subscribers of a channel.
    SubscriberCount {
        /// The channel.
        channel: ChannelName,
    },
    /// `ws.stats`: asks for the number of clients, channels and subscribers.
    Stats,
    /// `process.start`, `process.stop`, `process.restart`: an order for a supervised process.
    ///
    /// A hub by itself supervises no process; `server::Processes` connects it with a supervisor.
    OrderProcess {
        /// The process.
        process_id: ProcessId,
        /// The order.
        order: ProcessOrder,
    },
}

/// An order for a supervised process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessOrder {
    /// `process.start`: starts the process, without the delay if it waits for a restart. Does
    /// nothing if it runs.
    Start,
    /// `process.stop`: stops the process, and does not restart it. Does nothing if it is stopped.
    Stop,
    /// `process.restart`: stops the process if it runs, and starts it.
    Restart,
}

impl ProcessOrder {
    /// Returns the name of the action.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "process.start",
            Self::Stop => "process.stop",
            Self::Restart => "process.restart",
        }
    }
}

/// The error for a request that is not a valid action.
///
/// The text of an error is complete: it contains that of its cause, which is therefore not its
/// [`source`](std::error::Error::source). It is the body of the HTTP response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// The text is not JSON, or not an object or an array of objects.
    #[error("an action is a JSON object, or an array of them: {0}")]
    Json(serde_json::Error),
    /// The object has no `action`, or one that is not a string.
    #[error("action is required")]
    NoAction,
    /// There is no action with this name. The name is cut to 64 characters.
    #[error("unknown action: {0}")]
    Unknown(String),
    /// A required key is missing or `null`, or its value is an empty name.
    #[error("{action}: {key} is required")]
    Missing {
        /// The action.
        action: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The value of a key has the wrong type.
    #[error("{action}: {key} must be {expected}")]
    WrongType {
        /// The action.
        action: &'static str,
        /// The key.
        key: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// A channel name or a process id is not valid.
    #[error("{action}: {fault}")]
    Name {
        /// The action.
        action: &'static str,
        /// The fault in the name.
        fault: NameError,
    },
}

impl From<serde_json::Error> for ActionError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// The parser for actions.
#[derive(Clone, Copy, Debug)]
pub struct Actions;

impl Actions {
    /// Parses one action, or an array of actions. Unknown keys are ignored. If a key occurs twice,
    /// the later one counts.
    ///
    /// ```
    /// use outrace::{Action, Actions, ProcessId};
    /// let json = br#"{"action":"ws.send_process_output","process_id":"web","output":"hi"}"#;
    /// let actions = Actions::parse(json)?;
    /// let process_id = ProcessId::parse("web")?;
    /// assert_eq!(actions, [Action::SendProcessOutput { process_id, output: "hi".into() }]);
    ///
    /// let json = br#"[{"action":"ws.stats"},{"action":"ws.subscriber_count"}]"#;
    /// let error = Actions::parse(json).unwrap_err();
    /// assert_eq!(error.to_string(), "ws.subscriber_count: channel is required");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the first error in the array. An array with an error yields no action.
    pub fn parse(json: &[u8]) -> Result<Vec<Action>, ActionError> {
        if json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            let requests: Vec<Request<'_>> = serde_json::from_slice(json)?;
            requests.iter().map(Request::action).collect()
        } else {
            let request: Request<'_> = serde_json::from_slice(json)?;
            Ok(vec![request.action()?])
        }
    }
}

/// The keys of one request with their unparsed values.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Request<'a>(#[serde(borrow)] BTreeMap<Key<'a>, &'a RawValue>);

/// A key, which is borrowed unless it has escapes.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::borrow::Borrow<str> for Key<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Request<'_> {
    fn action(&self) -> Result<Action, ActionError> {
        let name = match self.0.get("action") {
            None => return Err(ActionError::NoAction),
            Some(name) => {
                serde_json::from_str::<String>(name.get()).map_err(|_| ActionError::NoAction)?
            }
        };
        let keys = |action| RequestKeys {
            action,
            request: self,
        };
        Ok(match name.as_str() {
            "ws.broadcast" => {
                let keys = keys("ws.broadcast");
                let message = keys.message()?;
                let channel = keys.filled("channel")?;
                let channel = channel
                    .map(|name| keys.name(ChannelName::parse(&name)))
                    .transpose()?;
                Action::Broadcast { channel, message }
            }
            "ws.send_channel" => {
                let keys = keys("ws.send_channel");
                Action::SendChannel {
                    channel: keys.channel()?,
                    message: keys.message()?,
                }
            }
            "ws.send_event" => {
                let keys = keys("ws.send_event");
                let event = keys.required(keys.filled("event"), "event")?;
                // The message's `data` always has an event and a payload, which is `null` if not
                // given.
                let message = Message::event(&event, &self.0.get("data"))?;
                Action::SendEvent { message }
            }
            "ws.send_error" => {
                let keys = keys("ws.send_error");
                Action::SendError {
                    message: Message::error(keys.required(keys.text("message"), "message")?),
                }
            }
            "ws.send_process_output" => {
                let keys = keys("ws.send_process_output");
                let process_id = keys.required_process_id()?;
                // An empty line is a line.
                let output = keys.required(keys.text("output"), "output")?;
                Action::SendProcessOutput { process_id, output }
            }
            "ws.send_process_status" => {
                let keys = keys("ws.send_process_status");
                Action::SendProcessStatus {
                    process_id: keys.required_process_id()?,
                    status: keys.required(keys.filled("status"), "status")?.into(),
                    exit_code: keys.value("exit_code", "a 32-bit integer")?.unwrap_or(0),
                }
            }
            "ws.client_count" => Action::ClientCount,
            "ws.channel_count" => Action::ChannelCount,
            "ws.subscriber_count" => Action::SubscriberCount {
                channel: keys("ws.subscriber_count").channel()?,
            },
            "ws.stats" => Action::Stats,
            "process.start" | "process.stop" | "process.restart" => {
                let order = match name.as_str() {
                    "process.start" => ProcessOrder::Start,
                    "process.stop" => ProcessOrder::Stop,
                    _ => ProcessOrder::Restart,
                };
                Action::OrderProcess {
                    process_id: keys(order.as_str()).required_process_id()?,
                    order,
                }
            }
            _ => return Err(ActionError::Unknown(name.chars().take(64).collect())),
        })
    }
}

/// The keys of a request with a known action, which errors name.
struct RequestKeys<'a> {
    action: &'static str,
    request: &'a Request<'a>,
}

impl RequestKeys<'_> {
    /// Parses the value of an optional key. `null` counts as missing.
    fn value<T: DeserializeOwned>(
        &self,
        key: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, ActionError> {
        match self.request.0.get(key) {
            None => Ok(None),
            Some(value) => serde_json::from_str(value.get()).map_err(|_| ActionError::WrongType {
                action: self.action,
                key,
                expected,
            }),
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, ActionError> {
        self.value(key, "a string")
    }

    /// Returns a non-empty text. An empty one counts as missing.
    fn filled(&self, key: &'static str) -> Result<Option<String>, ActionError> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    fn required<T>(
        &self,
        value: Result<Option<T>, ActionError>,
        key: &'static str,
    ) -> Result<T, ActionError> {
        value?.ok_or(ActionError::Missing {
            action: self.action,
            key,
        })
    }

    fn name<T>(&self, name: Result<T, NameError>) -> Result<T, ActionError> {
        name.map_err(|fault| ActionError::Name {
            action: self.action,
            fault,
        })
    }

    fn channel(&self) -> Result<ChannelName, ActionError> {
        let channel = self.required(self.filled("channel"), "channel")?;
        self.name(ChannelName::parse(&channel))
    }

    fn process_id(&self) -> Result<Option<ProcessId>, ActionError> {
        self.filled("process_id")?
            .map(|id| self.name(ProcessId::parse(&id)))
            .transpose()
    }

    fn required_process_id(&self) -> Result<ProcessId, ActionError> {
        self.required(self.process_id(), "process_id")
    }

    /// Builds a message from `type`, `process_id` and `data`.
    fn message(&self) -> Result<Message, ActionError> {
        let message_type = self.required(self.filled("type"), "type")?;
        let mut message = Message::new(MessageType::from(message_type.as_str()));
        if let Some(id) = self.process_id()? {
            message = message.with_process(id);
        }
        if let Some(&data) = self.request.0.get("data") {
            let line = match message.message_type() {
                MessageType::ProcessOutput => serde_json::from_str::<String>(data.get()).ok(),
                _ => None,
            };
            message = match line {
                // A line, whichever way it came.
                Some(line) => message.with_text(line),
                None => message.with_raw_json(data.to_owned()),
            };
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Data;

    fn one(json: &str) -> Action {
        let mut actions = Actions::parse(json.as_bytes()).expect(json);
        assert_eq!(actions.len(), 1);
        actions.remove(0)
    }

    fn refusal(json: &str) -> String {
        Actions::parse(json.as_bytes()).expect_err(json).to_string()
    }

    fn json_data(message: &Message) -> &[u8] {
        match message.data() {
            Data::Json(json) => json,
            other => panic!("not JSON: {other:?}"),
        }
    }

    #[test]
    fn a_missing_key_is_named_with_its_action() {
        for (action, given, missing) in [
            ("ws.broadcast", "", "type"),
            ("ws.send_channel", r#","type":"x""#, "channel"),
            ("ws.send_channel", r#","channel":"c""#, "type"),
            ("ws.send_event", r#","data":1"#, "event"),
            ("ws.send_error", r#","message":null"#, "message"),
            ("ws.send_process_output", r#","output":"x""#, "process_id"),
            ("ws.send_process_output", r#","process_id":"web""#, "output"),
            (
                "ws.send_process_status",
                r#","status":"exited""#,
                "process_id",
            ),
            (
                "ws.send_process_status",
                r#","process_id":"web","status":"""#,
                "status",
            ),
            ("ws.subscriber_count", r#","channel":"""#, "channel"),
            ("process.stop", "", "process_id"),
        ] {
            let text = refusal(&format!(r#"{{"action":"{action}"{given}}}"#));
            assert_eq!(text, format!("{action}: {missing} is required"));
        }
    }

    #[test]
    fn data_is_kept_as_sent_on_one_line() {
        let action = one("{\"action\":\"ws.broadcast\",\n\"type\":\"t\",\
             \"data\":{\n \"b\": 1.50,\n\"a\":\"x y\" } }");
        let Action::Broadcast {
            channel: None,
            message,
        } = action
        else {
            panic!("{action:?}")
        };
        assert_eq!(json_data(&message), br#"{"b":1.50,"a":"x y"}"#);
        let Action::Broadcast { message, .. } =
            one(r#"{"action":"ws.broadcast","type":"t","data":null}"#)
        else {
            panic!()
        };
        assert_eq!(json_data(&message), b"null");
        let Action::Broadcast { message, .. } = one(r#"{"action":"ws.broadcast","type":"t"}"#)
        else {
            panic!()
        };
        assert_eq!(*message.data(), Data::None);
    }

    #[test]
    fn an_event_keeps_its_payload() {
        let Action::SendEvent { message } =
            one("{\"action\":\"ws.send_event\",\"event\":\"e\",\"data\":[1,\n2]}")
        else {
            panic!()
        };
        assert_eq!(json_data(&message), br#"{"event":"e","data":[1,2]}"#);
        let Action::SendEvent { message } = one(r#"{"action":"ws.send_event","event":"e"}"#) else {
            panic!()
        };
        assert_eq!(json_data(&message), br#"{"event":"e","data":null}"#);
    }

    #[test]
    fn every_action_reads() {
        let web = ProcessId::parse("web").unwrap();
        assert_eq!(
            one(r#"{"action":"ws.send_process_output","process_id":"web","output":""}"#),
            Action::SendProcessOutput {
                process_id: web.clone(),
                output: String::new()
            }
        );
        assert_eq!(
            one(r#"{"action":"ws.send_process_status","process_id":"web",
                    "status":"exited","exit_code":-9}"#),
            Action::SendProcessStatus {
                process_id: web.clone(),
                status: Status::Exited,
                exit_code: -9
            }
        );
        assert_eq!(
            one(r#"{"action":"ws.send_channel","channel":"c","type":"deploy","process_id":"web"}"#),
            Action::SendChannel {
                channel: ChannelName::parse("c").unwrap(),
                message: Message::new(MessageType::from("deploy")).with_process(web)
            }
        );
        assert_eq!(
            one(r#"{"action":"ws.send_error","message":"x"}"#),
            Action::SendError {
                message: Message::error("x")
            }
        );
        assert_eq!(
            one(r#"{"action":"ws.subscriber_count","channel":"c"}"#),
            Action::SubscriberCount {
                channel: ChannelName::parse("c").unwrap()
            }
        );
        assert_eq!(
            one(r#" {"action":"ws.client_count","more":{}}"#),
            Action::ClientCount
        );
        assert_eq!(
            one(r#"{"\u0061ction":"ws.channel_count"}"#),
            Action::ChannelCount
        );
        assert_eq!(one(r#"[{"action":"ws.stats"}]"#), Action::Stats);
        for order in [
            ProcessOrder::Start,
            ProcessOrder::Stop,
            ProcessOrder::Restart,
        ] {
            let process_id = ProcessId::parse("web").unwrap();
            let json = format!(r#"{{"action":"{}","process_id":"web"}}"#, order.as_str());
            assert_eq!(one(&json), Action::OrderProcess { process_id, order });
        }
        assert_eq!(Actions::parse(b"[]").unwrap(), []);
    }

    #[test]
    fn one_bad_action_refuses_the_whole_array() {
        assert_eq!(
            refusal(r#"[{"action":"ws.stats"},{"action":"ws.nope"}]"#),
            "unknown action: ws.nope"
        );
        assert_eq!(refusal("{}"), "action is required");
        assert_eq!(refusal(r#"{"action":7}"#), "action is required");
        assert_eq!(
            refusal(
                r#"{"action":"ws.send_process_status","process_id":"w",
                    "status":"x","exit_code":"1"}"#
            ),
            "ws.send_process_status: exit_code must be a 32-bit integer"
        );
        assert_eq!(
            refusal(r#"{"action":"ws.send_process_output","process_id":7,"output":"x"}"#),
            "ws.send_process_output: process_id must be a string"
        );
        for bad in [
            "",
            "7",
            "null",
            "[7]",
            r#"{"action":"ws.stats"} x"#,
            "{",
            &"[".repeat(32_000),
        ] {
            assert!(
                matches!(Actions::parse(bad.as_bytes()), Err(ActionError::Json(_))),
                "{bad:.20}"
            );
        }
        let bad = Actions::parse(br#"{"action":"ws.subscriber_count","channel":"a b"}"#);
        assert!(matches!(bad, Err(ActionError::Name { .. })), "{bad:?}");
    }

    #[test]
    fn deeply_nested_data_does_not_blow_the_stack() {
        let depth = 100_000;
        let json = format!(
            r#"{{"action":"ws.broadcast","type":"t","data":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let Action::Broadcast { message, .. } = one(&json) else {
            panic!()
        };
        assert_eq!(json_data(&message).len(), 2 * depth);
    }
}
