//! What a watcher sees.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

use crate::message::{ChannelName, Status};

/// One thing a [`Watcher`](super::Watcher) sees, in the order the server sent it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A connection is made and the subscriptions are on their way.
    Connected,
    /// A line of a process.
    Line {
        /// Where it was published.
        channel: ChannelName,
        /// The line, without a terminator.
        text: String,
    },
    /// A process's status changed.
    Status {
        /// Where it was published.
        channel: ChannelName,
        /// The new status.
        status: Status,
        /// The exit code; 0 for a status that is no exit.
        code: i32,
    },
    /// The server refused something, or tells all its clients of an error.
    Error {
        /// What it says.
        text: String,
    },
    /// Any other message; or any message at all, if the watcher is [raw](super::WatcherBuilder::raw).
    Other {
        /// The JSON, as it came.
        json: String,
    },
    /// The connection was lost or could not be made.
    Disconnected {
        /// Why.
        reason: Lost,
        /// How long until the next attempt; `None` when there will be none, and this is the last item.
        retry_in: Option<Duration>,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// It could not be made: the reason.
    Refused(String),
    /// The server closed it: the close code (1005 when it gave none) and its words, which may be empty.
    Closed(u16, String),
    /// It broke off: the reason.
    Broken(String),
    /// Nothing came, not even the answer to a ping.
    Silent,
}

impl Lost {
    /// Whether the server ended it in good order: close code 1000 (done) or 1001 (going away).
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Closed(1000 | 1001, _))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "cannot connect: {reason}"),
            Self::Closed(1001, _) => f.write_str("the server is going away"),
            Self::Closed(1005, _) => f.write_str("the server closed the connection"),
            Self::Closed(code, words) if words.is_empty() => {
                write!(f, "the server closed the connection ({code})")
            }
            Self::Closed(code, words) => write!(f, "the server closed the connection ({code}: {words})"),
            Self::Broken(reason) => write!(f, "the connection broke: {reason}"),
            Self::Silent => f.write_str("the server has fallen silent"),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StatusData<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(rename = "exitCode", default)]
    exit_code: i32,
}

impl Item {
    /// Reads one message. What is not one of the known shapes is `Other`, never an error: a newer server may
    /// send what this client does not know. `channels` are those subscribed to, whose names are shared.
    pub(super) fn parse<'a>(json: &str, channels: impl Iterator<Item = &'a ChannelName>) -> Self {
        Self::typed(json, channels).unwrap_or_else(|| Self::Other { json: json.to_owned() })
    }

    fn typed<'a>(json: &str, mut channels: impl Iterator<Item = &'a ChannelName>) -> Option<Self> {
        let envelope: Envelope<'_> = serde_json::from_str(json).ok()?;
        let data = envelope.data?.get();
        let mut channel = || {
            let name = envelope.channel.as_deref()?;
            channels.find(|known| known.as_str() == name).cloned().or_else(|| ChannelName::parse(name).ok())
        };
        match &*envelope.kind {
            "process_output" => {
                Some(Self::Line { channel: channel()?, text: serde_json::from_str(data).ok()? })
            }
            "process_status" => {
                let StatusData { status, exit_code } = serde_json::from_str(data).ok()?;
                Some(Self::Status { channel: channel()?, status: Status::from(&*status), code: exit_code })
            }
            "error" => Some(Self::Error { text: serde_json::from_str(data).ok()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Item {
        Item::parse(json, std::iter::empty())
    }

    #[test]
    fn known_shapes_are_typed() {
        let channel = ChannelName::parse("process:web").unwrap();
        assert_eq!(
            parse(
                r#"{"type":"process_output","channel":"process:web","processId":"web","data":"a\"\u00e9","timestamp":"t"}"#
            ),
            Item::Line { channel: channel.clone(), text: "a\"é".into() }
        );
        assert_eq!(
            parse(
                r#"{"type":"process_status","channel":"process:web","data":{"status":"exited","exitCode":3}}"#
            ),
            Item::Status { channel, status: Status::Exited, code: 3 }
        );
        assert_eq!(parse(r#"{"type":"error","data":"no"}"#), Item::Error { text: "no".into() });
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_came() {
        for json in [
            r#"{"type":"event","data":{"event":"x","data":1},"timestamp":"t"}"#,
            r#"{"type":"pong","timestamp":"t"}"#,
            r#"{"type":"process_output","channel":"process:web","data":{"not":"a line"}}"#,
            r#"{"type":"process_output","data":"no channel"}"#,
            "not JSON",
        ] {
            assert_eq!(parse(json), Item::Other { json: json.into() });
        }
    }
}
