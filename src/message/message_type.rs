//! The type of a message, as on the wire.

use std::fmt;

/// The `type` of a message.
///
/// ```
/// use outrace::MessageType;
/// assert_eq!(MessageType::from("process_output"), MessageType::ProcessOutput);
/// assert_eq!(MessageType::from("deploy").as_str(), "deploy");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// `process_output`: one line of a process.
    ProcessOutput,
    /// `process_status`: the status of a process that has started or ended.
    ProcessStatus,
    /// `event`: an event of the application, for all clients.
    Event,
    /// `error`: an error text, or a refusal for one client.
    Error,
    /// `pong`: the reply to `ping`.
    Pong,
    /// `ping`: a client's request for a `pong`.
    Ping,
    /// `subscribe`: a client's request to receive a channel.
    Subscribe,
    /// `unsubscribe`: a client's request to receive a channel no longer.
    Unsubscribe,
    /// `subscribed`: the reply to a `subscribe` with options.
    Subscribed,
    /// `gap`: messages were skipped for this client.
    Gap,
    /// Any other type, defined by the application.
    Other(Box<str>),
}

impl MessageType {
    /// Returns the type as on the wire, before JSON escaping. Only [`Other`](Self::Other) can need
    /// escaping.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ProcessOutput => "process_output",
            Self::ProcessStatus => "process_status",
            Self::Event => "event",
            Self::Error => "error",
            Self::Pong => "pong",
            Self::Ping => "ping",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Subscribed => "subscribed",
            Self::Gap => "gap",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for MessageType {
    fn from(name: &str) -> Self {
        match name {
            "process_output" => Self::ProcessOutput,
            "process_status" => Self::ProcessStatus,
            "event" => Self::Event,
            "error" => Self::Error,
            "pong" => Self::Pong,
            "ping" => Self::Ping,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "subscribed" => Self::Subscribed,
            "gap" => Self::Gap,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_its_own_name() {
        for message_type in [
            MessageType::ProcessOutput,
            MessageType::ProcessStatus,
            MessageType::Event,
            MessageType::Error,
            MessageType::Pong,
            MessageType::Ping,
            MessageType::Subscribe,
            MessageType::Unsubscribe,
            MessageType::Subscribed,
            MessageType::Gap,
            MessageType::Other("deploy".into()),
        ] {
            assert_eq!(MessageType::from(message_type.as_str()), message_type);
        }
    }
}
