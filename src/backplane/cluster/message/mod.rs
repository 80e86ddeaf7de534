//! What nodes tell each other besides blocks.

mod directory;
mod heartbeat;
mod interest;
mod names;
mod order;
mod publish;
mod request;

use bytes::Bytes;

pub(crate) use directory::{DirectoryNews, ListedChannel, News};
pub(crate) use heartbeat::{Head, Heartbeat};
pub(crate) use interest::InterestNews;
pub(crate) use order::{Asker, Order, Ordered};
pub(crate) use publish::{Forwarded, PublishRefusal};
pub(crate) use request::{Answered, Request, Requested};

use super::envelope::{self, BodyError, EnvelopeError};
use super::fields::{Fields, Malformed, put_bytes, put_number};
use super::names::NodeId;
use super::runs;
use crate::backplane::{Part, Runs};
use crate::message::{ChannelName, Message};

/// The most bytes of a message that lists channels. A longer list is sent in several messages.
pub(crate) const MAX_LIST_BYTES: usize = 64 * 1024;

/// The bytes of blocks after which an answer is sent, and another part of it begins.
pub(crate) const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// The kind of a payload, as in its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Block = 1,
    Partial = 2,
    Interest = 3,
    Heartbeat = 4,
    Directory = 5,
    DirectoryWanted = 6,
    Request = 7,
    Answer = 8,
    Answered = 9,
    NotHome = 10,
    Publish = 11,
    Accepted = 12,
    Refused = 13,
    Order = 14,
    Ordered = 15,
    Broadcast = 16,
    Bye = 17,
    Leaving = 18,
    Settled = 19,
}

/// A message from one node to others.
#[derive(Clone, Debug)]
pub(crate) enum ClusterMessage {
    /// The line that a process is still writing. Sent where the channel's blocks are.
    Partial {
        /// The name of the channel's numbering.
        epoch: String,
        /// The text so far. Empty when there is no such line any more.
        text: Bytes,
    },
    /// The channels that the sender wants to have.
    Interest(InterestNews),
    /// The sender is there, and these are the numberings of its channels.
    Heartbeat(Heartbeat),
    /// Channels whose home the sender is.
    Directory(DirectoryNews),
    /// The sender missed news of the receiver's channels, and wants all of them again.
    DirectoryWanted,
    /// The sender wants messages of a channel again.
    Request(Request),
    /// A part of the answer to a request: whole payloads with blocks. Many small ones travel
    /// together, because a broker's client drops what comes in too many messages at once.
    Answer {
        /// The request.
        id: u64,
        /// The payloads.
        blocks: Vec<Bytes>,
    },
    /// The end of the answer to a request.
    Answered(Answered),
    /// The receiver of a request or of forwarded messages is not the channel's home.
    NotHome {
        /// The request's id, or the number of the forwarded run.
        id: u64,
        /// The channel.
        channel: ChannelName,
        /// The home, as far as the sender knows it.
        home: Option<NodeId>,
    },
    /// Messages that were published at the sender.
    Publish(Forwarded),
    /// Forwarded messages are in the queue of their channel.
    Accepted {
        /// The channel.
        channel: ChannelName,
        /// The number of the forwarded run. The earlier ones of the channel are accepted too.
        run: u64,
    },
    /// Forwarded messages were refused.
    Refused {
        /// The channel.
        channel: ChannelName,
        /// The number of the forwarded run.
        run: u64,
        /// The reason.
        reason: PublishRefusal,
    },
    /// An order for a process of the receiver.
    Order(Order),
    /// What became of an order.
    Ordered(Ordered),
    /// A message to all clients of the cluster.
    Broadcast(Message),
    /// The sender ends.
    Bye,
    /// The sender is about to end, and its last heartbeat has the last numbers of its channels.
    Leaving,
    /// The sender misses nothing of the channels of the receiver, which is about to end.
    Settled,
}

/// The reason why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    /// There is no intact header.
    #[error(transparent)]
    Header(#[from] EnvelopeError),
    /// The body cannot be read, or a later version of the program has added this kind.
    #[error("{reason}, from {from}")]
    Body {
        /// The sender.
        from: NodeId,
        /// The reason.
        reason: BodyError,
    },
}

impl ClusterMessage {
    /// Encodes the message as one payload. The lists of channels in it must fit into one, and so
    /// must forwarded messages: see [`InterestNews::chunks`], [`Heartbeat::chunks`] and
    /// [`Forwarded::split`].
    pub(crate) fn encode(&self, from: &NodeId) -> Bytes {
        let mut body = Vec::new();
        let kind = self.put(&mut body);
        envelope::seal(kind as u8, from, &[], &body)
    }

    fn put(&self, out: &mut Vec<u8>) -> Kind {
        match self {
            Self::Partial { epoch, text } => {
                put_bytes(out, epoch.as_bytes());
                put_bytes(out, text);
                Kind::Partial
            }
            Self::Interest(news) => news.put(out),
            Self::Heartbeat(heartbeat) => heartbeat.put(out),
            Self::Directory(news) => news.put(out),
            Self::DirectoryWanted => Kind::DirectoryWanted,
            Self::Request(request) => request.put(out),
            Self::Answer { id, blocks } => {
                put_number(out, *id);
                put_number(out, blocks.len() as u64);
                for block in blocks {
                    put_bytes(out, block);
                }
                Kind::Answer
            }
            Self::Answered(answered) => answered.put(out),
            Self::NotHome { id, channel, home } => {
                put_number(out, *id);
                names::put_channel(out, channel);
                names::put_node(out, home.as_ref());
                Kind::NotHome
            }
            Self::Publish(forwarded) => forwarded.put(out),
            Self::Accepted { channel, run } => {
                names::put_channel(out, channel);
                put_number(out, *run);
                Kind::Accepted
            }
            Self::Refused {
                channel,
                run,
                reason,
            } => {
                names::put_channel(out, channel);
                put_number(out, *run);
                out.push(*reason as u8);
                Kind::Refused
            }
            Self::Order(order) => order.put(out),
            Self::Ordered(ordered) => ordered.put(out),
            Self::Broadcast(message) => {
                put_messages(out, [Part::Message(message)]);
                Kind::Broadcast
            }
            Self::Bye => Kind::Bye,
            Self::Leaving => Kind::Leaving,
            Self::Settled => Kind::Settled,
        }
    }

    /// Decodes a payload that is not a block. Returns the sender and the message. `max_message` is
    /// the most bytes of one message of this hub.
    ///
    /// # Errors
    /// When the payload is damaged, too large, or of a later version of the program.
    pub(crate) fn decode(
        payload: &[u8],
        max_message: usize,
    ) -> Result<(NodeId, Self), MessageError> {
        let opened = envelope::open(payload)?;
        let read = || {
            let kind = Kind::of(opened.kind).ok_or_else(|| opened.newer())?;
            // An answer holds blocks with their envelopes.
            let body = opened.body(MAX_ANSWER_BYTES + runs::max_bytes(max_message) + 1024)?;
            Ok(Self::read(kind, Fields::new(&body))?)
        };
        match read() {
            Ok(message) => Ok((opened.from, message)),
            Err(reason) => Err(MessageError::Body {
                from: opened.from,
                reason,
            }),
        }
    }

    fn read(kind: Kind, mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let message = match kind {
            Kind::Block => return Err(Malformed),
            Kind::Partial => Self::Partial {
                epoch: super::block::epoch(&mut fields)?,
                text: Bytes::copy_from_slice(fields.bytes()?),
            },
            Kind::Interest => Self::Interest(InterestNews::read(&mut fields)?),
            Kind::Heartbeat => Self::Heartbeat(Heartbeat::read(&mut fields)?),
            Kind::Directory => Self::Directory(DirectoryNews::read(&mut fields)?),
            Kind::DirectoryWanted => Self::DirectoryWanted,
            Kind::Request => Self::Request(Request::read(&mut fields)?),
            Kind::Answer => Self::Answer {
                id: fields.number()?,
                blocks: fields.list(|fields| Ok(Bytes::copy_from_slice(fields.bytes()?)))?,
            },
            Kind::Answered => Self::Answered(Answered::read(&mut fields)?),
            Kind::NotHome => Self::NotHome {
                id: fields.number()?,
                channel: names::channel(&mut fields)?,
                home: names::node(&mut fields)?,
            },
            Kind::Publish => return Ok(Self::Publish(Forwarded::read(fields)?)),
            Kind::Accepted => Self::Accepted {
                channel: names::channel(&mut fields)?,
                run: fields.number()?,
            },
            Kind::Refused => Self::Refused {
                channel: names::channel(&mut fields)?,
                run: fields.number()?,
                reason: PublishRefusal::read(fields.byte()?),
            },
            Kind::Order => Self::Order(Order::read(&mut fields)?),
            Kind::Ordered => Self::Ordered(Ordered::read(&mut fields)?),
            Kind::Broadcast => {
                let runs = runs::decode(fields)?;
                let mut parts = runs.parts();
                return match (parts.next(), parts.next()) {
                    (Some(Part::Message(message)), None) => Ok(Self::Broadcast(message.clone())),
                    _ => Err(Malformed),
                };
            }
            Kind::Bye => Self::Bye,
            Kind::Leaving => Self::Leaving,
            Kind::Settled => Self::Settled,
        };
        fields.end(message)
    }
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Block,
        Self::Partial,
        Self::Interest,
        Self::Heartbeat,
        Self::Directory,
        Self::DirectoryWanted,
        Self::Request,
        Self::Answer,
        Self::Answered,
        Self::NotHome,
        Self::Publish,
        Self::Accepted,
        Self::Refused,
        Self::Order,
        Self::Ordered,
        Self::Broadcast,
        Self::Bye,
        Self::Leaving,
        Self::Settled,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Appends messages.
fn put_messages<'a>(out: &mut Vec<u8>, parts: impl IntoIterator<Item = Part<'a>>) {
    runs::encode_one(parts).put(out);
}

/// Reads messages that take all of the bytes left.
fn messages(fields: Fields<'_>) -> Result<Runs, Malformed> {
    runs::decode(fields)
}

#[cfg(test)]
mod tests;
