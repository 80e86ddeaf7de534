//! What a watcher sees.

use std::fmt;
use std::time::Duration;

use crate::message::{ChannelName, Status};

/// One thing a [`Watcher`](super::Watcher) sees, in the order the server sent it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection is made and the subscriptions are on their way.
    Connected,
    /// A line of a process.
    Line {
        /// Where it was published.
        channel: ChannelName,
        /// The line, without a terminator.
        text: String,
        /// Its number in the channel, when the server numbers messages.
        seq: Option<u64>,
        /// When it was published, in RFC 3339; empty when the server does not say.
        timestamp: String,
    },
    /// A process's status changed.
    Status {
        /// Where it was published.
        channel: ChannelName,
        /// The new status.
        status: Status,
        /// The exit code; 0 for a status that is no exit.
        code: i32,
        /// Its number in the channel, when the server numbers messages.
        seq: Option<u64>,
        /// When it was published, in RFC 3339; empty when the server does not say.
        timestamp: String,
    },
    /// The server has answered the first subscription to a channel. One that does not number messages gives no answer.
    Subscribed {
        /// The channel.
        channel: ChannelName,
        /// Names its numbering.
        epoch: String,
        /// The number of the last message before those that follow.
        seq: u64,
        /// How many of those that follow are from before the subscription.
        replayed: u64,
        /// How many that were asked for are no longer kept.
        lost: u64,
    },
    /// The channel is subscribed to again after a break, and goes on where it left off.
    Reconnected {
        /// The channel.
        channel: ChannelName,
        /// The numbering began anew, as after a restart of the server: what was missed of the old one cannot be known.
        epoch_changed: bool,
        /// How many messages of the present numbering were missed and are no longer kept.
        lost: u64,
        /// How many missed messages follow.
        replayed: u64,
    },
    /// Messages that the server skipped for this watcher, which did not read fast enough. Within a [`Event::Replay`]: those it dropped
    /// while it was sending the others.
    Gap {
        /// The channel.
        channel: ChannelName,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
        /// How many there are.
        count: u64,
    },
    /// What follows on this channel, up to [`Event::Replayed`], is what [`Watcher::refetch`](super::Watcher::refetch) asked for.
    Replay {
        /// The channel.
        channel: ChannelName,
        /// The number of the first message that is still kept; of none if it is `to` + 1.
        from: u64,
        /// The number of the last.
        to: u64,
        /// How many that were asked for are no longer kept.
        lost: u64,
    },
    /// The end of what [`Event::Replay`] began.
    Replayed {
        /// The channel.
        channel: ChannelName,
        /// As there.
        from: u64,
        /// As there.
        to: u64,
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
        reason: DisconnectReason,
        /// How long until the next attempt; `None` when there will be none, and this is the last item.
        retry_in: Option<Duration>,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// It could not be made: the reason.
    Refused(String),
    /// The server closed it: the close code (1005 when it gave none) and its words, which may be empty.
    Closed(u16, String),
    /// It broke off: the reason.
    Broken(String),
    /// Nothing came, not even the answer to a ping.
    Silent,
}

impl DisconnectReason {
    /// Whether the server ended it in good order: close code 1000 (done) or 1001 (going away).
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::Closed(1000 | 1001, _))
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "cannot connect: {reason}"),
            Self::Closed(1001, _) => f.write_str("the server is going away"),
            Self::Closed(1005, _) => f.write_str("the server closed the connection"),
            Self::Closed(code, words) if words.is_empty() => {
                write!(f, "the server closed the connection ({code})")
            }
            Self::Closed(code, words) => {
                write!(f, "the server closed the connection ({code}: {words})")
            }
            Self::Broken(reason) => write!(f, "the connection broke: {reason}"),
            Self::Silent => f.write_str("the server has fallen silent"),
        }
    }
}
