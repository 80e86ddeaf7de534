//! What a receiver in the same process gets of a channel.

use crate::encode::LocalFrame;
use crate::message::{ChannelName, Message, OutputStream, Status};

/// Something that happened in a channel. [`Hub::subscribe`](crate::Hub::subscribe) and
/// [`Hub::history`](crate::Hub::history) return it.
///
/// Events come in the order of the channel's numbering. All messages of a channel have numbers
/// without holes: `seq` of an event is 1 more than that of the one before it, unless an
/// [`Event::Gap`] stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The subscription is active. It comes before the first message.
    ///
    /// It comes again when the channel's numbering begins anew, which happens only in a hub with a
    /// [backplane](crate::backplane).
    Subscribed {
        /// The channel.
        channel: ChannelName,
        /// Identifies the channel's numbering. It differs after a restart of the program.
        epoch: String,
        /// The number of the last message before those that follow.
        seq: u64,
        /// How many of the messages that follow were published before the subscription.
        replayed: u64,
        /// How many messages that were asked for are no longer kept.
        lost: u64,
    },
    /// A line of a process.
    Line {
        /// The channel that it was published to.
        channel: ChannelName,
        /// The line, without its terminator. Invalid UTF-8 is replaced by U+FFFD.
        text: String,
        /// Its number in the channel.
        seq: u64,
        /// When it was published: RFC 3339 in UTC with milliseconds.
        timestamp: String,
        /// What is known of it beside its text.
        detail: LineDetail,
    },
    /// The status of a process changed.
    Status {
        /// The channel that it was published to.
        channel: ChannelName,
        /// The new status.
        status: Status,
        /// The exit code. It is 0 if the process has not ended.
        exit_code: i32,
        /// Its number in the channel.
        seq: u64,
        /// When it was published: RFC 3339 in UTC with milliseconds.
        timestamp: String,
    },
    /// Any other message.
    Message {
        /// The channel that it was published to.
        channel: ChannelName,
        /// The message.
        message: Message,
        /// Its number in the channel.
        seq: u64,
        /// When it was published: RFC 3339 in UTC with milliseconds.
        timestamp: String,
    },
    /// Messages were skipped, because the receiver did not read fast enough.
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
}

/// What is known of a line beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineDetail {
    /// Whether the process wrote it to standard error. False if that is not known.
    pub is_stderr: bool,
    /// Whether it is a piece of a longer line that goes on in the next line of its stream.
    pub is_continued: bool,
    /// Whether it was written before its file was followed.
    pub is_past: bool,
}

/// The place in a channel at which a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum From {
    /// With the next message.
    Now,
    /// With up to this many of the last messages that the history keeps.
    Tail(u64),
    /// With all messages that the history keeps.
    Oldest,
    /// After a message that was received before.
    ///
    /// If the channel has another epoch by now, the subscription begins with all messages that the
    /// history keeps.
    After {
        /// The epoch of the [`Event::Subscribed`] that came before the message.
        epoch: String,
        /// The number of the message.
        seq: u64,
    },
}

impl Event {
    /// Returns the channel.
    pub fn channel(&self) -> &ChannelName {
        match self {
            Self::Subscribed { channel, .. }
            | Self::Line { channel, .. }
            | Self::Status { channel, .. }
            | Self::Message { channel, .. }
            | Self::Gap { channel, .. } => channel,
        }
    }

    /// Returns the number of a message in its channel. `None` for an event that is no message.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::Line { seq, .. } | Self::Status { seq, .. } | Self::Message { seq, .. } => {
                Some(*seq)
            }
            Self::Subscribed { .. } | Self::Gap { .. } => None,
        }
    }

    /// Returns the text of a line. `None` for any other event.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Line { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Makes the event of a frame.
    pub(crate) fn of(channel: ChannelName, frame: LocalFrame) -> Self {
        match frame {
            LocalFrame::Line {
                seq,
                timestamp,
                detail,
                text,
            } => Self::Line {
                channel,
                text,
                seq,
                timestamp,
                detail: LineDetail {
                    is_stderr: detail.stream == Some(OutputStream::Stderr),
                    is_continued: detail.continued,
                    is_past: detail.past,
                },
            },
            LocalFrame::Message {
                seq,
                timestamp,
                message,
            } => match message.status_report() {
                Some(report) => Self::Status {
                    channel,
                    status: report.status,
                    exit_code: report.code,
                    seq,
                    timestamp,
                },
                None => Self::Message {
                    channel,
                    message,
                    seq,
                    timestamp,
                },
            },
            LocalFrame::Gap { from, to } => Self::Gap {
                channel,
                from,
                to,
                count: to - from + 1,
            },
            LocalFrame::Subscribed {
                epoch,
                seq,
                replayed,
                lost,
            } => Self::Subscribed {
                channel,
                epoch,
                seq,
                replayed,
                lost,
            },
        }
    }
}
