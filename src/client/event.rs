//! The events of a watcher.

use std::fmt;
use std::time::Duration;

use crate::event::LineDetail;
use crate::message::{ChannelName, Status};

/// An event of a [`Watcher`](super::Watcher). Events come in the order in which the server sent
/// them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection is open and the subscriptions are on their way.
    Connected,
    /// A line of a process.
    Line {
        /// The channel that it was published to.
        channel: ChannelName,
        /// The line, without its terminator.
        text: String,
        /// Its number in the channel, if the server numbers messages.
        seq: Option<u64>,
        /// When it was published, in RFC 3339. Empty if the server does not say.
        timestamp: String,
        /// What the server tells of it beside its text, with
        /// [`detail`](super::WatcherBuilder::detail).
        detail: LineDetail,
    },
    /// The line that a process is still writing has changed. An empty text says that there is none
    /// any more. The whole line follows as an [`Event::Line`]. After an [`Event::Disconnected`]
    /// there is none until the server shows one again.
    ///
    /// It comes only with [`partial`](super::WatcherBuilder::partial).
    Partial {
        /// The channel that it is shown in.
        channel: ChannelName,
        /// The text so far.
        text: String,
    },
    /// A process's status changed.
    Status {
        /// The channel that it was published to.
        channel: ChannelName,
        /// The new status.
        status: Status,
        /// The exit code. It is 0 if the process has not ended.
        exit_code: i32,
        /// Its number in the channel, if the server numbers messages.
        seq: Option<u64>,
        /// When it was published, in RFC 3339. Empty if the server does not say.
        timestamp: String,
    },
    /// The server has confirmed the first subscription to a channel.
    ///
    /// A server that does not number messages sends no confirmation.
    Subscribed {
        /// The channel.
        channel: ChannelName,
        /// Identifies the channel's numbering. It differs after a restart of the server.
        epoch: String,
        /// The number of the last message before those that follow.
        seq: u64,
        /// How many of the messages that follow were published before the subscription.
        replayed: u64,
        /// How many messages that were asked for are no longer kept.
        lost: u64,
    },
    /// The server has confirmed the subscription to a channel after a break. The channel continues
    /// where it left off.
    Reconnected {
        /// The channel.
        channel: ChannelName,
        /// Whether the numbering began anew, as after a restart of the server. The number of
        /// messages missed in the old numbering is then unknown.
        epoch_changed: bool,
        /// How many messages of the present numbering were missed and are no longer kept.
        lost: u64,
        /// How many missed messages follow.
        replayed: u64,
    },
    /// The server skipped messages, because this watcher did not read fast enough.
    ///
    /// After an [`Event::Replay`], these are messages that the server dropped while it sent the
    /// others of the range.
    Gap {
        /// The channel.
        channel: ChannelName,
        /// The number of the first skipped message.
        from: u64,
        /// The number of the last skipped message.
        to: u64,
        /// How many messages were skipped.
        count: u64,
    },
    /// A range begins that [`Watcher::refetch`](super::Watcher::refetch) asked for. Everything on
    /// this channel up to [`Event::Replayed`] belongs to it.
    Replay {
        /// The channel.
        channel: ChannelName,
        /// The number of the first message that is still kept. It is `to` + 1 if none is.
        from: u64,
        /// The number of the last message.
        to: u64,
        /// How many messages that were asked for are no longer kept.
        lost: u64,
    },
    /// The range that began with [`Event::Replay`] is complete.
    Replayed {
        /// The channel.
        channel: ChannelName,
        /// The same as in [`Event::Replay`].
        from: u64,
        /// The same as in [`Event::Replay`].
        to: u64,
    },
    /// The channels that fit the [patterns](super::WatcherBuilder::pattern) cannot be found: the
    /// server does not list its channels. It is asked again.
    ListFailed {
        /// The reason.
        reason: String,
    },
    /// More channels fit the [patterns](super::WatcherBuilder::pattern) than are watched. It comes
    /// once.
    PatternLimit {
        /// The number of channels that are watched by patterns.
        watched: usize,
    },
    /// The server refused a request of this watcher, or reported an error to all its clients.
    Error {
        /// The server's text.
        message: String,
    },
    /// Any other message. With [`raw`](super::WatcherBuilder::raw), every message.
    Other {
        /// The JSON, as it came.
        json: String,
    },
    /// The connection was lost or could not be made.
    Disconnected {
        /// The reason.
        reason: DisconnectReason,
        /// The time until the next attempt. `None` if there will be none: this is the last event.
        retry_in: Option<Duration>,
    },
}

impl Event {
    /// Returns the channel of the event. [`Event::Other`] is not looked into.
    pub fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Line { channel, .. }
            | Self::Partial { channel, .. }
            | Self::Status { channel, .. }
            | Self::Subscribed { channel, .. }
            | Self::Reconnected { channel, .. }
            | Self::Gap { channel, .. }
            | Self::Replay { channel, .. }
            | Self::Replayed { channel, .. } => Some(channel),
            Self::Connected
            | Self::ListFailed { .. }
            | Self::PatternLimit { .. }
            | Self::Error { .. }
            | Self::Other { .. }
            | Self::Disconnected { .. } => None,
        }
    }
}

/// The reason why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The connection could not be made.
    ConnectFailed(String),
    /// The server refused the connection.
    ///
    /// With status 401 it does not accept the token. That ends the watcher, unless its token is
    /// [asked for at each attempt](super::WatcherBuilder::token_with).
    Refused {
        /// The HTTP status.
        status: u16,
        /// The status, and the server's words if they are a short line.
        cause: String,
    },
    /// Something answers at the address, but it is no WebSocket server: another path, a page, or
    /// another protocol. A watcher that gets this answer to its first attempt does not try again.
    NoWebSocket(String),
    /// The server closed the connection.
    Closed {
        /// The close code. It is 1005 if the server gave none.
        code: u16,
        /// The server's words, which may be empty.
        reason: String,
    },
    /// The connection broke off without a close frame.
    ConnectionLost(String),
    /// The server sent nothing for the [idle timeout](super::WatcherBuilder::idle_timeout), not
    /// even the answer to a ping.
    IdleTimeout,
}

impl DisconnectReason {
    /// Returns whether the server ended the connection in good order, with close code 1000 (normal
    /// closure) or 1001 (going away).
    pub fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::Closed {
                code: 1000 | 1001,
                ..
            }
        )
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectFailed(cause) | Self::NoWebSocket(cause) | Self::Refused { cause, .. } => {
                write!(f, "cannot connect: {cause}")
            }
            Self::Closed { code: 1001, .. } => f.write_str("the server is going away"),
            Self::Closed { code: 1005, .. } => f.write_str("the server closed the connection"),
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "the server closed the connection ({code})")
            }
            Self::Closed { code, reason } => {
                write!(f, "the server closed the connection ({code}: {reason})")
            }
            Self::ConnectionLost(cause) => write!(f, "the connection broke: {cause}"),
            Self::IdleTimeout => f.write_str("the server has fallen silent"),
        }
    }
}
