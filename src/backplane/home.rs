//! A channel that is numbered here, as its hub's backplane sees it.

use super::{NumberedRun, Runs};
use crate::channel::{HomeNumbering, Kept, home};
use crate::message::ChannelName;

pub use crate::channel::Wanted;

/// Which numbers a channel gives when it becomes a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Those of a new epoch of the channel's own.
    New,
    /// Those of an epoch that exists, after number `seq`. If the channel has passed that number of
    /// the same epoch already, it goes on after its own last one.
    Continue {
        /// The name of the numbering.
        epoch: String,
        /// The number of the last message that was published with it.
        seq: u64,
    },
}

/// What a home keeps of the messages that were asked for, at one place in the channel's order.
#[derive(Debug)]
pub struct HomeHistory {
    /// The name of the numbering.
    pub epoch: String,
    /// The number of the last message published. What is published later has a greater number, and
    /// is [exported](super::Node::exported) if [`Home::set_exported`] was called before the request.
    pub last: u64,
    /// The number of the oldest message that is kept. `None` when none is.
    pub first_kept: Option<u64>,
    /// The messages, in the order of their numbers. Numbers between them, and before them, are not
    /// kept.
    pub runs: Vec<NumberedRun>,
    /// The number from which on to ask again when not all messages fitted into the bytes.
    pub next: Option<u64>,
}

impl From<Numbering> for HomeNumbering {
    fn from(numbering: Numbering) -> Self {
        match numbering {
            Numbering::New => Self::New,
            Numbering::Continue { epoch, seq } => Self::Continue { epoch, seq },
        }
    }
}

impl HomeHistory {
    fn new(kept: Kept) -> Self {
        Self {
            epoch: kept.epoch.to_string(),
            last: kept.last,
            first_kept: kept.first_kept,
            runs: kept.runs.into_iter().map(NumberedRun).collect(),
            next: kept.next,
        }
    }
}

/// A channel whose messages are numbered by this hub. Made by [`Node::home`](super::Node::home).
///
/// Once it is dropped the channel is a mirror again: what is published to it locally from then on
/// waits for [`Node::take_pending`](super::Node::take_pending) or for the next home. Subscriptions
/// that come then are answered when a [`Mirror`](super::Mirror) has caught up or there is a home
/// again.
#[derive(Debug)]
pub struct Home(home::Home);

impl Home {
    pub(super) fn new(home: home::Home) -> Self {
        Self(home)
    }

    /// Returns the channel.
    pub fn channel(&self) -> &ChannelName {
        let name = self.0.channel().name();
        name.expect("a home is made for a channel with a name")
    }

    /// Says whether the channel's blocks are wanted elsewhere. From this call on every block that is
    /// sealed is handed to [`Node::exported`](super::Node::exported), or none is.
    ///
    /// A channel that has neither subscribers nor a history and is not exported only counts what is
    /// published to it.
    pub fn set_exported(&self, exported: bool) {
        self.0.set_exported(exported);
    }

    /// Returns the epoch and the number of the last message sealed with it, as far as the hub has
    /// got. [`Home::read`] has those of its own place in the channel's order, which is after all
    /// earlier calls.
    pub fn numbering(&self) -> (String, u64) {
        let (epoch, seq) = self.0.channel().position();
        (epoch.to_string(), seq)
    }

    /// Returns the number of subscribers that the channel has here.
    pub fn subscribers(&self) -> usize {
        self.0.channel().listeners()
    }

    /// Publishes messages that were published on another node. When it returns they have their place
    /// in the channel's order. Waits while the channel has no room.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, none of the messages is published.
    pub async fn publish(&self, runs: Runs) {
        self.0.publish(runs.0).await;
    }

    /// Returns messages that the channel keeps, as of one place in its order: all that was published
    /// before this call is in it. At most about `most_bytes` bytes of messages are returned, and at
    /// least one run if there is any; [`HomeHistory::next`] says where to go on.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it changes nothing.
    pub async fn read(&self, wanted: Wanted, most_bytes: usize) -> HomeHistory {
        HomeHistory::new(self.0.read(wanted, most_bytes).await)
    }

    /// Starts a new epoch of the channel's own, for a home that may no longer number in the epoch
    /// that it shares with other nodes. Open subscriptions with options are told of it. The history
    /// of the earlier epoch is dropped, and the channel is not exported until
    /// [`Home::set_exported`] is called again.
    pub fn renumber(&self) {
        self.0.restart();
    }
}
