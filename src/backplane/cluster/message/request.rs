//! Messages of a channel that are wanted again from its home.

use super::super::block::epoch;
use super::super::fields::{Fields, Malformed, put_bytes, put_number};
use super::Kind;
use super::names::{channel, put_channel};
use crate::message::ChannelName;

/// A request for messages. The home answers with blocks, and then with [`Answered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The number that the answer names.
    pub(crate) id: u64,
    /// The channel.
    pub(crate) channel: ChannelName,
    /// The messages.
    pub(crate) wanted: Requested,
    /// The most bytes of messages to answer with.
    pub(crate) max_bytes: u64,
}

/// The messages that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// The last ones, as many as this at most.
    Tail(u64),
    /// Those after a number.
    After {
        /// The numbering that the number belongs to. In another one all messages are wanted.
        epoch: String,
        /// The number.
        seq: u64,
        /// The last term that the asker knows of this numbering. In a later one the home may have
        /// given the same numbers again, to other messages.
        term: u64,
    },
    /// Those from the first to the last of two numbers.
    Range {
        /// The numbering that the numbers belong to. In another one no messages are wanted.
        epoch: String,
        /// The first number.
        from: u64,
        /// The last number.
        to: u64,
    },
}

/// The end of the answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The request.
    pub(crate) id: u64,
    /// The name of the channel's numbering.
    pub(crate) epoch: String,
    /// The term of its home.
    pub(crate) term: u64,
    /// The number of the first message that is kept, or would be the next without any.
    pub(crate) first_kept: u64,
    /// The number of the last message.
    pub(crate) last_seq: u64,
    /// Whether the answer ended early at the request's bound in bytes.
    pub(crate) is_cut: bool,
}

impl Request {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        put_number(out, self.id);
        put_channel(out, &self.channel);
        put_number(out, self.max_bytes);
        match &self.wanted {
            Requested::Tail(messages) => {
                out.push(0);
                put_number(out, *messages);
            }
            Requested::After { epoch, seq, term } => {
                out.push(1);
                put_bytes(out, epoch.as_bytes());
                put_number(out, *seq);
                put_number(out, *term);
            }
            Requested::Range { epoch, from, to } => {
                out.push(2);
                put_bytes(out, epoch.as_bytes());
                put_number(out, *from);
                put_number(out, *to);
            }
        }
        Kind::Request
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: fields.number()?,
            channel: channel(fields)?,
            max_bytes: fields.number()?,
            wanted: match fields.byte()? {
                0 => Requested::Tail(fields.number()?),
                1 => Requested::After {
                    epoch: epoch(fields)?,
                    seq: fields.seq()?,
                    term: fields.number()?,
                },
                2 => {
                    let epoch = epoch(fields)?;
                    let (from, to) = (fields.seq()?, fields.seq()?);
                    if from == 0 || from > to {
                        return Err(Malformed);
                    }
                    Requested::Range { epoch, from, to }
                }
                _ => return Err(Malformed),
            },
        })
    }
}

impl Answered {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        put_number(out, self.id);
        put_bytes(out, self.epoch.as_bytes());
        put_number(out, self.term);
        put_number(out, self.first_kept);
        put_number(out, self.last_seq);
        out.push(u8::from(self.is_cut));
        Kind::Answered
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: fields.number()?,
            epoch: epoch(fields)?,
            term: fields.number()?,
            first_kept: fields.seq()?,
            last_seq: fields.seq()?,
            is_cut: fields.flag()?,
        })
    }
}
