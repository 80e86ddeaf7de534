//! The refusals of subscriptions.

use std::fmt;

use crate::message::NameError;
use crate::reason::RefusalReason;

/// The reason why a `subscribe` was refused. Its text is the `data` of the `error` that the client
/// gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscribeRefusal {
    /// The channel is not a valid name.
    ChannelName,
    /// No valid process id follows `process:`.
    ProcessId,
    /// The client may not subscribe to the channel.
    Unauthorized,
    /// The client has the maximum number of subscriptions.
    Limit,
    /// The options are not valid ([`InvalidOptions`]).
    Options,
    /// The channel does not exist, and the number of channels is at its maximum.
    Channels,
    /// The maximum number of ranges of this subscription is pending.
    Ranges,
}

impl SubscribeRefusal {
    /// Returns the text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChannelName => "Subscribe: invalid channel name",
            Self::ProcessId => "Subscribe: invalid process ID",
            Self::Unauthorized => "Subscribe: subscription unauthorised",
            Self::Limit => "subscription limit exceeded",
            Self::Options => "Subscribe: invalid options",
            Self::Channels => "channel limit exceeded",
            Self::Ranges => "range limit exceeded",
        }
    }

    /// Returns the counter that this refusal increments.
    pub(crate) fn reason(self) -> RefusalReason {
        match self {
            Self::ChannelName | Self::ProcessId => RefusalReason::Name,
            Self::Unauthorized => RefusalReason::Subscription,
            Self::Limit => RefusalReason::SubscriptionLimit,
            Self::Options => RefusalReason::Options,
            Self::Channels => RefusalReason::ChannelLimit,
            Self::Ranges => RefusalReason::RangeLimit,
        }
    }
}

impl From<&NameError> for SubscribeRefusal {
    fn from(error: &NameError) -> Self {
        match error {
            NameError::Channel(_) => Self::ChannelName,
            NameError::Process(_) => Self::ProcessId,
        }
    }
}

impl fmt::Display for SubscribeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    #[test]
    fn a_bad_name_is_refused_in_the_words_of_the_wire() {
        let (too_long_id, too_long) = ("a".repeat(129), "a".repeat(257));
        for (name, text) in [
            ("", "Subscribe: invalid channel name"),
            ("a b", "Subscribe: invalid channel name"),
            (&too_long, "Subscribe: invalid channel name"),
            ("process:a b", "Subscribe: invalid channel name"),
            ("process:a/b", "Subscribe: invalid channel name"),
            ("process:a\u{fffd}", "Subscribe: invalid channel name"),
            ("process: ", "Subscribe: invalid channel name"),
            (
                &format!("process:{too_long}"),
                "Subscribe: invalid channel name",
            ),
            ("process:", "Subscribe: invalid process ID"),
            ("process:a:b", "Subscribe: invalid process ID"),
            (
                &format!("process:{too_long_id}"),
                "Subscribe: invalid process ID",
            ),
        ] {
            let error = ChannelName::parse(name).unwrap_err();
            assert_eq!(SubscribeRefusal::from(&error).to_string(), text, "{name}");
        }
    }
}
