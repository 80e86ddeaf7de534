//! The channels that this node takes from their homes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::block::{Block, BlockHeader};
use super::followed::Followed;
use super::message::{Answered, Head};
use super::names::NodeId;
use super::wire::Wire;
use crate::backplane::Node;
use crate::message::ChannelName;

/// How long a channel is followed after its last subscriber has left.
const LINGER: Duration = Duration::from_secs(30);
/// How long a subscription waits while no home is known.
const NO_HOME_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a subscription waits for a home that does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The channels that are followed, and those that are being left.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    channels: HashMap<ChannelName, Followed>,
    /// The channels whose subscription at the broker is being ended.
    leaving: HashSet<ChannelName>,
}

/// What the owner of the mirrors has to do at the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subscribing {
    /// Subscribe to the blocks of this channel, then call [`Mirrors::subscribed`].
    Begin(ChannelName),
    /// End the subscription, then call [`Mirrors::left`].
    End(ChannelName),
}

impl Mirrors {
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    pub(super) fn get_mut(&mut self, channel: &ChannelName) -> Option<&mut Followed> {
        self.channels.get_mut(channel)
    }

    /// Takes notice of a channel whose subscribers have changed, and whose home is not here.
    /// `knows_home` says whether some node is known to be its home.
    pub(super) fn note(
        &mut self,
        node: &Node,
        name: &ChannelName,
        knows_home: bool,
        wire: &Wire,
    ) -> Option<Subscribing> {
        let now = Instant::now();
        let is_watched = node.subscribers(name) > 0;
        match self.channels.get_mut(name) {
            Some(channel) if is_watched => channel.unwatched_since = None,
            Some(channel) => {
                channel.unwatched_since.get_or_insert(now);
            }
            None if is_watched => match node.mirror(name) {
                Ok(mirror) => {
                    let patience = if knows_home {
                        ANSWER_TIMEOUT
                    } else {
                        NO_HOME_TIMEOUT
                    };
                    let channel = Followed::new(name.clone(), mirror, now + patience);
                    self.channels.insert(name.clone(), channel);
                    wire.counters.mirrors.set(self.channels.len());
                    // What is being left is subscribed to again once it is left.
                    if !self.leaving.contains(name) {
                        return Some(Subscribing::Begin(name.clone()));
                    }
                }
                Err(error) => tracing::warn!(channel = name.as_str(), %error, "not followed"),
            },
            None => {}
        }
        None
    }

    /// Takes notice that the broker has confirmed a subscription, or will once it is connected.
    /// `home` is asked for the past.
    pub(super) fn subscribed(
        &mut self,
        name: &ChannelName,
        home: Option<&NodeId>,
        wire: &mut Wire,
    ) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.is_subscribed = true;
            if let Some(home) = home
                && channel.home().is_none()
            {
                channel.join(home, wire);
            }
        }
    }

    /// Takes notice that a subscription has ended. The channel may be wanted again by now.
    pub(super) fn left(&mut self, name: &ChannelName) -> Option<Subscribing> {
        self.leaving.remove(name);
        let is_wanted = self.channels.contains_key(name);
        is_wanted.then(|| Subscribing::Begin(name.clone()))
    }

    /// Follows a channel from the node that is known to be its home now.
    pub(super) fn home_known(&mut self, name: &ChannelName, home: &NodeId, wire: &mut Wire) {
        if let Some(channel) = self.channels.get_mut(name)
            && channel.is_subscribed
            && channel.home().is_none()
        {
            channel.join(home, wire);
        }
    }

    /// Takes notice that a node which was asked is not the home of a channel.
    pub(super) fn not_home(&mut self, name: &ChannelName, node: &NodeId, wire: &mut Wire) {
        if let Some(channel) = self.channels.get_mut(name)
            && channel.home() == Some(node)
        {
            channel.home_gone(wire);
        }
    }

    /// Goes on without a node that is gone.
    pub(super) fn node_gone(&mut self, node: &NodeId, wire: &mut Wire) {
        for channel in self.channels.values_mut() {
            if channel.home() == Some(node) {
                channel.home_gone(wire);
            }
        }
    }

    /// Asks the homes for what was lost with the connection to the broker.
    pub(super) fn reconnected(&mut self, wire: &mut Wire) {
        for channel in self.channels.values_mut() {
            if let Some(home) = channel.home().cloned() {
                channel.join(&home, wire);
            }
        }
    }

    /// Returns the channels that are subscribed to, for the renewal of the interest in them.
    pub(super) fn wanted(&self) -> Vec<ChannelName> {
        self.channels
            .iter()
            .filter(|(_, channel)| channel.is_subscribed)
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn block(&mut self, name: &ChannelName, block: Block, wire: &mut Wire) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.block(block, wire);
        }
    }

    pub(super) fn unreadable(&mut self, name: &ChannelName, header: &BlockHeader, wire: &mut Wire) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.unreadable(header, wire);
        }
    }

    pub(super) fn heads(&mut self, home: &NodeId, heads: &[Head], wire: &mut Wire) {
        for head in heads {
            if let Some(channel) = self.channels.get_mut(&head.channel)
                && channel.is_subscribed
            {
                channel.head(home, head, wire);
            }
        }
    }

    /// Returns whether nothing is missing of the channels that are taken from a node.
    pub(super) fn has_all_of(&self, home: &NodeId) -> bool {
        let channels = self.channels.values();
        let mut of_it = channels.filter(|channel| channel.home() == Some(home));
        of_it.all(Followed::has_all)
    }

    /// Takes a part of an answer. The number of a request belongs to one channel.
    pub(super) fn answer(&mut self, name: &ChannelName, id: u64, block: Block, wire: &mut Wire) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.answer(id, block, wire);
        }
    }

    pub(super) fn answered(
        &mut self,
        name: &ChannelName,
        from: &NodeId,
        answered: &Answered,
        wire: &mut Wire,
    ) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.answered(from, answered, wire);
        }
    }

    /// Stops following a channel whose home is here now.
    pub(super) fn end(&mut self, name: &ChannelName, wire: &Wire) -> Option<Subscribing> {
        self.channels.remove(name)?;
        wire.counters.mirrors.set(self.channels.len());
        self.leave(name)
    }

    fn leave(&mut self, name: &ChannelName) -> Option<Subscribing> {
        let is_first = self.leaving.insert(name.clone());
        is_first.then(|| Subscribing::End(name.clone()))
    }

    /// Keeps the deadlines of all channels. Returns those that are let go.
    pub(super) fn keep_deadlines(
        &mut self,
        now: Instant,
        node: &Node,
        is_connected: bool,
        wire: &mut Wire,
    ) -> Vec<Subscribing> {
        let mut unwatched = Vec::new();
        for (name, channel) in &mut self.channels {
            channel.keep_deadlines(now, is_connected, wire);
            if channel
                .unwatched_since
                .is_none_or(|since| since + LINGER > now)
            {
                continue;
            }
            // New subscribers wait from here on. One that came before this is found here.
            channel.hold_back();
            if node.subscribers(name) > 0 {
                channel.unwatched_since = None;
                channel.answer_viewers();
            } else {
                unwatched.push(name.clone());
            }
        }
        unwatched
            .iter()
            .filter_map(|name| self.end(name, wire))
            .collect()
    }
}
