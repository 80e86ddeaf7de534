//! Who is home: the session of this node, and the home of each channel that is published to here.
//!
//! A node has one *session* at the broker, which expires [`LEASE_MS`] after its last renewal. Each
//! channel has one *record*, which names its home and the home's session. A record is valid as long
//! as its session is, so 10,000 channels cost one renewal. The broker changes a key only for who
//! knows its revision.
//!
//! A node counts on its session until [`HOLD_MS`] after it *sent* the last renewal that succeeded,
//! by its monotonic clock. The broker got the renewal later than that, so clocks whose rates differ
//! by a tenth keep the order: the old home has stopped before another node can become home.
//!
//! A session that ran out is never taken up again. The next one has another generation, which the
//! records of the earlier one do not name.
//!
//! Pure: the caller carries out the [`Effect`]s, and tells the outcome and the time.

mod channel;
#[cfg(test)]
mod model;
mod record;
#[cfg(test)]
mod release_tests;
mod session;

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::names::NodeId;
use crate::message::ChannelName;
use channel::ChannelLease;
pub(crate) use record::{HomeRecord, SessionRecord};
use session::{Session, SessionChange};

/// The time after which a session that is not renewed expires at the broker, in milliseconds.
pub(crate) const LEASE_MS: u64 = 10_000;
/// How long a node counts on its session after it sent a renewal, in milliseconds.
pub(crate) const HOLD_MS: u64 = LEASE_MS - 1_000;
/// The time between two renewals, in milliseconds.
pub(crate) const RENEW_MS: u64 = 3_300;
/// The time before a call that failed is made again, in milliseconds.
pub(crate) const RETRY_MS: u64 = 500;
/// The most calls for channels that are under way at a time.
const MAX_CALLS: usize = 64;

/// The time of one event, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The monotonic clock in milliseconds. Everything that waits or expires uses it.
    pub(crate) monotonic_ms: u64,
    /// The wall clock in milliseconds since 1970-01-01T00:00:00Z, for terms alone.
    pub(crate) unix_ms: u64,
}

/// A key at the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LeaseKey {
    /// The session of a node. It expires [`LEASE_MS`] after it was last written.
    Session(NodeId),
    /// The record of a channel's home. It does not expire.
    Home(ChannelName),
}

/// A call of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreCall {
    /// Writes the key if it does not exist.
    Create(Bytes),
    /// Writes the key if it has this revision.
    Replace(Bytes, u64),
    /// Reads the key.
    Read,
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreReply {
    /// The key was written, and has this revision.
    Written(u64),
    /// The key was not written: it exists, has another revision or is gone.
    Conflict,
    /// The value and the revision of the key, if it exists.
    Found(Option<(Bytes, u64)>),
    /// The call failed, or there was no reply in time. It may be carried out all the same, even
    /// later.
    Unknown,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Call the broker, and then [`Leases::replied`] within about two seconds.
    Call {
        /// The number to reply with.
        id: u64,
        /// The key.
        key: LeaseKey,
        /// The call.
        call: StoreCall,
    },
    /// This node is the home of the channel from now on.
    BecomeHome {
        /// The channel.
        channel: ChannelName,
        /// The term. It is greater than all that this node knows of.
        term: u64,
    },
    /// Another node is the home of the channel. If this node was home or stale, it yields.
    Elsewhere {
        /// The channel.
        channel: ChannelName,
        /// The home.
        node: NodeId,
        /// The home's term.
        term: u64,
    },
    /// This node can no longer count on being the channel's home. It goes on for its own viewers
    /// under an epoch of its own, and exports nothing.
    GoStale {
        /// The channel.
        channel: ChannelName,
    },
}

/// The home of a channel, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HomeState {
    /// Nothing is known.
    Unknown,
    /// This node tries to become home.
    Claiming,
    /// This node is home.
    Home {
        /// The term.
        term: u64,
    },
    /// Another node is home.
    Elsewhere {
        /// The home.
        node: NodeId,
        /// The home's term.
        term: u64,
    },
    /// This node was home, and goes on for its own viewers.
    Stale,
}

/// The session of this node and the homes of its channels.
#[derive(Debug)]
pub(crate) struct Leases {
    node: NodeId,
    session: Session,
    channels: HashMap<ChannelName, ChannelLease>,
    /// Channels that wait for their turn to call the broker, each once.
    waiting: VecDeque<ChannelName>,
    is_waiting: HashSet<ChannelName>,
    /// Channels whose last call failed, by the time of the next one.
    retries: VecDeque<(u64, ChannelName)>,
    /// The calls for channels that are under way.
    calls: HashMap<u64, ChannelName>,
    last_call: u64,
}

impl Leases {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            session: Session::new(node.clone()),
            node,
            channels: HashMap::new(),
            waiting: VecDeque::new(),
            is_waiting: HashSet::new(),
            retries: VecDeque::new(),
            calls: HashMap::new(),
            last_call: 0,
        }
    }

    /// Returns the home of a channel, as far as it is known.
    pub(crate) fn state(&self, channel: &ChannelName) -> HomeState {
        let lease = self.channels.get(channel);
        lease.map_or(HomeState::Unknown, |lease| lease.state.clone())
    }

    /// Returns the term in which this node may number the channel and export its blocks now.
    ///
    /// The caller asks before every block: this is `None` from the very moment on at which the
    /// session is no longer counted on, before any effect tells so.
    pub(crate) fn term(&self, channel: &ChannelName, now: Now) -> Option<u64> {
        match self.channels.get(channel)?.state {
            HomeState::Home { term } if self.session.holds(now) => Some(term),
            _ => None,
        }
    }

    /// Returns whether this node has no session that it can count on.
    pub(crate) fn is_stale(&self, now: Now) -> bool {
        !self.session.holds(now)
    }

    /// Says that this node publishes to a channel, or that the home it knows does not answer. It
    /// becomes home unless another node is. `epoch` is the numbering that it would go on with, for
    /// the record.
    pub(crate) fn want(
        &mut self,
        channel: &ChannelName,
        epoch: &str,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let lease = self.lease(channel);
        lease.want(epoch);
        if !matches!(lease.state, HomeState::Home { .. }) {
            self.enqueue(channel);
        }
        self.advance(now, effects);
    }

    /// Says that this node no longer publishes to a channel. If it is home, it gives the record up.
    /// The call for that is among the effects at once, and is repeated until its outcome is known.
    pub(crate) fn release(&mut self, channel: &ChannelName, now: Now, effects: &mut Vec<Effect>) {
        let Some(lease) = self.channels.get_mut(channel) else {
            return;
        };
        lease.release();
        let id = self.last_call + 1;
        if let Some((key, call)) = lease.call(id, channel, &self.session, now) {
            self.last_call = id;
            self.calls.insert(id, channel.clone());
            effects.push(Effect::Call { id, key, call });
        }
    }

    /// Forgets a channel that is neither published to nor watched here, once its record is given
    /// up.
    pub(crate) fn forget(&mut self, channel: &ChannelName, now: Now, effects: &mut Vec<Effect>) {
        self.release(channel, now, effects);
        self.forget_settled(channel, true);
    }

    fn forget_settled(&mut self, channel: &ChannelName, is_asked: bool) {
        if let Some(lease) = self.channels.get_mut(channel)
            && lease.is_forgotten(is_asked)
        {
            self.channels.remove(channel);
        }
    }

    /// Says that a node is gone, as far as its silence tells. The channels that it was home of, and
    /// that this node publishes to, get another home once the node's session has expired.
    ///
    /// Linear in the channels that this node publishes to.
    pub(crate) fn suspect(&mut self, node: &NodeId, now: Now, effects: &mut Vec<Effect>) {
        let is_there = |lease: &ChannelLease| match &lease.state {
            HomeState::Elsewhere { node: home, .. } => home == node && lease.is_wanted(),
            _ => false,
        };
        let channels = self.channels.iter().filter(|(_, lease)| is_there(lease));
        let channels: Vec<_> = channels.map(|(channel, _)| channel.clone()).collect();
        for channel in &channels {
            self.enqueue(channel);
        }
        self.advance(now, effects);
    }

    /// Takes note of a node that numbers a channel in a term: of a block, a heartbeat or the store.
    pub(crate) fn heard(
        &mut self,
        channel: &ChannelName,
        node: &NodeId,
        term: u64,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if *node == self.node {
            return;
        }
        if self.lease(channel).heard(node, term) {
            // This node is not the home that it takes itself for.
            self.enqueue(channel);
            self.advance(now, effects);
        }
    }

    /// Takes the outcome of a call.
    pub(crate) fn replied(
        &mut self,
        id: u64,
        reply: StoreReply,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.expire(now, effects);
        if let Some(change) = self.session.replied(id, &reply, now) {
            self.session_changed(change, effects);
        } else if let Some(channel) = self.calls.remove(&id)
            && let Some(lease) = self.channels.get_mut(&channel)
        {
            let outcome = lease.replied(id, reply, &channel, &self.session, now, effects);
            match outcome {
                channel::Next::Nothing => {}
                channel::Next::Call => self.enqueue(&channel),
                channel::Next::Retry => {
                    self.retries
                        .push_back((now.monotonic_ms + RETRY_MS, channel.clone()));
                }
            }
            self.forget_settled(&channel, false);
        }
        self.advance(now, effects);
    }

    /// Does what is due. To be called at [`Leases::due`].
    pub(crate) fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.expire(now, effects);
        self.advance(now, effects);
    }

    /// Returns when [`Leases::tick`] is due, by the monotonic clock.
    pub(crate) fn due(&self) -> Option<u64> {
        let retry = self.retries.front().map(|&(at, _)| at);
        [self.session.due(), retry].into_iter().flatten().min()
    }

    fn lease(&mut self, channel: &ChannelName) -> &mut ChannelLease {
        self.channels.entry(channel.clone()).or_default()
    }

    fn enqueue(&mut self, channel: &ChannelName) {
        if self.is_waiting.insert(channel.clone()) {
            self.waiting.push_back(channel.clone());
        }
    }

    fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Some(change) = self.session.expire(now) {
            self.session_changed(change, effects);
        }
    }

    /// Linear in the channels that this node publishes to, for each change of the session.
    fn session_changed(&mut self, change: SessionChange, effects: &mut Vec<Effect>) {
        match change {
            SessionChange::None => {}
            SessionChange::Began => {
                let wanted = self.channels.iter().filter(|(_, lease)| lease.is_wanted());
                let wanted: Vec<_> = wanted.map(|(channel, _)| channel.clone()).collect();
                for channel in &wanted {
                    self.enqueue(channel);
                }
            }
            SessionChange::Lost => {
                self.channels.retain(|channel, lease| {
                    if lease.session_lost() {
                        effects.push(Effect::GoStale {
                            channel: channel.clone(),
                        });
                    }
                    !lease.is_forgotten(false)
                });
            }
        }
    }

    /// Makes the calls that are due.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Some(call) = self.session.call(now, self.last_call + 1) {
            self.last_call += 1;
            effects.push(Effect::Call {
                id: self.last_call,
                key: LeaseKey::Session(self.node.clone()),
                call,
            });
        }
        while let Some((at, _)) = self.retries.front()
            && *at <= now.monotonic_ms
        {
            if let Some((_, channel)) = self.retries.pop_front() {
                self.enqueue(&channel);
            }
        }
        // Without a session nothing can be claimed. Its begin enqueues the channels again.
        while self.session.holds(now)
            && self.calls.len() < MAX_CALLS
            && let Some(channel) = self.waiting.pop_front()
        {
            self.is_waiting.remove(&channel);
            let Some(lease) = self.channels.get_mut(&channel) else {
                continue;
            };
            let id = self.last_call + 1;
            if let Some((key, call)) = lease.call(id, &channel, &self.session, now) {
                self.last_call = id;
                self.calls.insert(id, channel);
                effects.push(Effect::Call { id, key, call });
            }
        }
    }
}
