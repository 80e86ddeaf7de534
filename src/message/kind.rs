//! What a message is: the `type` of the wire.

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
    /// `process_status`: a process started or ended.
    ProcessStatus,
    /// `event`: something an application tells all its clients.
    Event,
    /// `error`: an error text, or a refusal to one client.
    Error,
    /// `pong`: the reply to `ping`.
    Pong,
    /// `ping`: from a client.
    Ping,
    /// `subscribe`: from a client.
    Subscribe,
    /// `unsubscribe`: from a client.
    Unsubscribe,
    /// `subscribed`: the reply to a `subscribe` with options.
    Subscribed,
    /// `gap`: messages were skipped here.
    Gap,
    /// Any other type, of the application's own.
    Other(Box<str>),
}

impl MessageType {
    /// The type as it stands on the wire (before JSON escaping, which only [`Other`](Self::Other) can need).
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
        for kind in [
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
            assert_eq!(MessageType::from(kind.as_str()), kind);
        }
    }
}
