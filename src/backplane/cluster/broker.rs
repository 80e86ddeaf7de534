//! What a cluster asks of the broker between its nodes.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::inbox::InboxBounds;
use super::names::{NodeId, Prefix, Token};

/// The longest time that a call waits for the broker.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a session lasts after it was created or replaced, unless a broker is told otherwise.
pub(crate) const SESSION_TTL: Duration = Duration::from_secs(10);

/// What a broker is opened with, beside its address.
#[derive(Debug, Clone)]
pub(crate) struct BrokerSettings {
    /// Begins every name that the cluster has at the broker.
    pub(crate) prefix: Prefix,
    /// The name of this node, for the broker's list of connections.
    #[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "for NATS alone"))]
    pub(crate) node: NodeId,
    /// How long a session lasts: [`SESSION_TTL`], and shorter in tests. The nodes of a cluster
    /// have to agree.
    pub(crate) session_ttl: Duration,
    /// Whether blocks are stored, and how.
    pub(crate) storing: Option<Storing>,
    /// The bounds of what waits for [`Broker::next`].
    pub(crate) inbox: InboxBounds,
}

impl BrokerSettings {
    /// Returns the usual settings, which store no blocks.
    pub(crate) fn new(prefix: Prefix, node: NodeId) -> Self {
        Self {
            prefix,
            node,
            session_ttl: SESSION_TTL,
            storing: None,
            inbox: InboxBounds::default(),
        }
    }
}

/// How blocks are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Storing {
    /// How long a block is kept. `None` for ever.
    pub(crate) max_age: Option<Duration>,
}

/// The future of a call to a [`Broker`]. It is boxed, so that `dyn Broker` has the calls too.
pub(crate) type Call<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream of messages between nodes. Each broker has a name of its own for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// The blocks and partial lines of one channel, from its home.
    Blocks(Token),
    /// Which channels the nodes want.
    Interest,
    /// Changes of the directory, and the heartbeats of the nodes.
    Directory,
    /// The requests to one node, and the answers to its own.
    Node(NodeId),
    /// The messages that other nodes publish in channels whose home is this node.
    Publishes(NodeId),
    /// Messages to all clients of all nodes.
    Everyone,
}

/// The name of a record that the broker keeps for the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The session of a node. It is gone [`SESSION_TTL`] after it was last created or replaced.
    Session(NodeId),
    /// The home of a channel. It stays until it is removed.
    Home(Token),
}

/// What [`Broker::next`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A message of a subscribed topic.
    Message {
        /// Where it was published.
        topic: Topic,
        /// Its bytes. They may be part of a larger buffer: what is kept for long is copied.
        payload: Bytes,
    },
    /// The connection is there, and has all subscriptions again. Messages may have been lost
    /// before it.
    Connected {
        /// Whether it is the first connection.
        first: bool,
    },
    /// The connection was lost. It comes back by itself.
    Disconnected,
}

/// The outcome of [`Broker::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Created {
    /// The record is this caller's, with this revision.
    Yes(u64),
    /// There is a record already.
    No {
        /// Its value.
        value: Bytes,
        /// Its revision.
        revision: u64,
    },
}

/// The outcome of [`Broker::replace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// The record has the new value, with this revision.
    Yes(u64),
    /// The record has another revision, or is gone.
    No,
}

/// The outcome of [`Broker::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The payload is stored at this position.
    Stored(u64),
    /// Nothing was stored: the last position is this one, not the expected one.
    Conflict(u64),
}

/// The error for a call that did not do, or may not have done, what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokerError {
    /// No answer came to a call that changes something. It may have been carried out, or may
    /// still be: the caller reads before it decides.
    #[error("the broker did not answer whether it did it")]
    Unknown,
    /// No answer came in time to a call that changes nothing.
    #[error("the broker did not answer in time")]
    TimedOut,
    /// There is no connection. The call was not sent.
    #[error("there is no connection to the broker")]
    Unreachable,
    /// The broker answered that it does not do it. The text is the broker's.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The broker lacks a part that this needs. The text says which, and how it is had.
    #[error("{0}")]
    Unsupported(String),
}

/// What a broker's connection counted since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BrokerCounters {
    /// How often the connection came back.
    pub(crate) reconnects: u64,
    /// The messages of [`Topic::Blocks`] that were dropped because [`Broker::next`] was not
    /// called often enough.
    pub(crate) dropped_blocks: u64,
    /// The other messages that were dropped for that reason.
    pub(crate) dropped_others: u64,
}

/// The broker between the nodes of a cluster: messages, records and stored blocks.
///
/// A broker connects by itself, and again after a loss. Every call ends within [`CALL_TIMEOUT`]
/// or little more, also while the broker hangs.
///
/// # Cancel safety
/// A call that changes something may be carried out though its future was dropped. Dropping the
/// future of [`Broker::next`] takes nothing.
pub(crate) trait Broker: Send + Sync + 'static {
    /// Hands a message to the connection. It reaches the nodes that are subscribed and connected,
    /// and is not stored. The caller's own subscriptions may get it too.
    ///
    /// `Ok` is no delivery. Messages of one task to one topic arrive in their order.
    ///
    /// # Errors
    /// [`BrokerError::Unreachable`] without a connection, [`BrokerError::Unknown`] when it does
    /// not take the message in time, [`BrokerError::Refused`] for a payload that is too long.
    fn publish<'a>(&'a self, topic: &'a Topic, payload: Bytes)
    -> Call<'a, Result<(), BrokerError>>;

    /// Subscribes to a topic until [`Broker::unsubscribe`], over lost connections too. Subscribing
    /// twice is the same as once.
    ///
    /// On `Ok` everything that is published afterwards by any node arrives, as long as the
    /// connection lasts.
    ///
    /// # Errors
    /// [`BrokerError::Unreachable`] and [`BrokerError::TimedOut`]: the subscription is remembered,
    /// and there on the next [`Incoming::Connected`]. [`BrokerError::Refused`]: it is not.
    fn subscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>>;

    /// Ends a subscription. Messages that arrived before may still be returned.
    ///
    /// # Errors
    /// The subscription is forgotten in any case: an error says that messages may go on to arrive
    /// until the connection is lost.
    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>>;

    /// Waits for the next event. For one task.
    ///
    /// There are two bounded inboxes, for the blocks and for everything else, so that a flood of
    /// blocks pushes out no control message. What does not fit is dropped and counted. The
    /// messages of one topic come in the order of the connection.
    fn next(&self) -> Call<'_, Incoming>;

    /// Creates a record if there is none.
    ///
    /// # Errors
    /// [`BrokerError::Unknown`] when it may have been created.
    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> Call<'a, Result<Created, BrokerError>>;

    /// Replaces a record that still has this revision. Revisions of one record grow.
    ///
    /// # Errors
    /// [`BrokerError::Unknown`] when it may have been replaced.
    fn replace<'a>(
        &'a self,
        key: &'a Key,
        value: Bytes,
        revision: u64,
    ) -> Call<'a, Result<Replaced, BrokerError>>;

    /// Reads a record and its revision.
    ///
    /// # Errors
    /// [`BrokerError::TimedOut`] and the others, but never [`BrokerError::Unknown`].
    fn read<'a>(&'a self, key: &'a Key) -> Call<'a, Result<Option<(Bytes, u64)>, BrokerError>>;

    /// Removes a record if it still has this revision. `Ok` also when it has not, or is gone.
    ///
    /// # Errors
    /// [`BrokerError::Unknown`] when it may have been removed.
    fn remove<'a>(&'a self, key: &'a Key, revision: u64) -> Call<'a, Result<(), BrokerError>>;

    /// Stores a block of a channel if the channel's last stored position is `expected`, or 0 for
    /// none, and passes it to the subscribers of its [`Topic::Blocks`]. Positions grow, and need
    /// not follow each other.
    ///
    /// The subscribers may get a block that is not stored, and the block that is stored twice.
    ///
    /// # Errors
    /// [`BrokerError::Unknown`] when it may have been stored: [`Broker::last_stored`] tells.
    /// [`BrokerError::Unsupported`] if the broker was not opened for storing.
    fn append<'a>(
        &'a self,
        token: &'a Token,
        payload: Bytes,
        expected: u64,
    ) -> Call<'a, Result<Appended, BrokerError>>;

    /// Reads the last stored block of a channel and its position.
    ///
    /// # Errors
    /// As [`Broker::read`].
    fn last_stored<'a>(
        &'a self,
        token: &'a Token,
    ) -> Call<'a, Result<Option<(u64, Bytes)>, BrokerError>>;

    /// Reads the stored blocks of a channel with a position of at least `from`, in their order.
    ///
    /// It ends with the first block that reaches `max_bytes`, or earlier: an empty list alone says
    /// that there are no more. The newest blocks may be missing where a replica of the broker lags
    /// behind. [`Broker::last_stored`] never misses one.
    ///
    /// # Errors
    /// As [`Broker::read`].
    fn stored<'a>(
        &'a self,
        token: &'a Token,
        from: u64,
        max_bytes: usize,
    ) -> Call<'a, Result<Vec<(u64, Bytes)>, BrokerError>>;

    /// Returns whether the records and the stored blocks outlive the broker's process. Where they
    /// do not, durable channels are refused.
    ///
    /// # Errors
    /// As [`Broker::read`], and [`BrokerError::Unsupported`] if the broker cannot keep records at
    /// all.
    fn is_persistent(&self) -> Call<'_, Result<bool, BrokerError>>;

    /// Returns what was counted.
    fn counters(&self) -> BrokerCounters;

    /// Sends what waits to be sent, for [`CALL_TIMEOUT`] at most, and ends the connection. Every
    /// later call is [`BrokerError::Unreachable`]. [`Broker::next`] returns what has arrived, and
    /// then waits for ever.
    fn close(&self) -> Call<'_, ()>;
}
