//! What a node does as the home of channels, and on its way to become it or to cease to be it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::broker::Topic;
use super::durable::Storing;
use super::lease::HomeState;
use super::message::{ClusterMessage, Forwarded, ListedChannel, Request, Requested};
use super::names::NodeId;
use super::node_task::{MAX_HOMELESS, NodeTask};
use super::numbered::{Answering, Numbered};
use super::operations::{self, Done};
use crate::backplane::{HomeLimit, Numbering};
use crate::message::ChannelName;

/// How long a home is kept that nobody uses.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// The most requests of a channel that wait until its home is here. They are made again.
const MAX_EARLY: usize = 64;

impl NodeTask {
    /// Numbers a channel from now on, or again in a term.
    pub(super) fn become_home(&mut self, channel: &ChannelName, term: u64) {
        if !self.is_durable
            && let Some(home) = self.homes.get_mut(channel)
        {
            // It went on here without a lease, or its term is another one now.
            home.resume(term);
            tracing::debug!(%channel, epoch = home.epoch, term, "home again");
            self.update_export(channel);
            return;
        }
        let is_resigning = self.resigning.iter().any(|home| home.channel() == channel);
        if is_resigning || self.forwarding.is_taking(channel) {
            // What is being taken was published before everything that waits.
            self.ready.insert(channel.clone(), term);
            return;
        }
        if self.is_durable {
            return self.open_term(channel, term);
        }
        let epoch = new_epoch();
        let numbering = Numbering::Continue { epoch, seq: 0 };
        self.begin_home(channel, numbering, Some(term));
    }

    /// Makes the channel a home, in a term or without a lease.
    pub(super) fn begin_home(
        &mut self,
        channel: &ChannelName,
        numbering: Numbering,
        term: Option<u64>,
    ) {
        let first = self.forwarding.end(channel);
        // From the first block on: it is stored, and whoever waits for the channel gets it at once.
        let is_wanted = self.is_durable || self.peers.is_wanted(channel);
        let is_exported = is_wanted && term.is_some();
        let made = if is_exported {
            self.node.exported_home(channel, numbering, first)
        } else {
            self.node.home(channel, numbering, first)
        };
        match made {
            Ok(home) => {
                let home = Numbered::new(home, term, is_exported);
                tracing::debug!(%channel, epoch = home.epoch, term, "became the home");
                self.homes.insert(channel.clone(), home);
                self.wire.counters.lease_changes.add(1);
                self.count();
                let ended = self.mirrors.end(channel, &self.wire);
                self.subscribe(ended);
                self.update_export(channel);
            }
            Err(HomeLimit { first }) => {
                tracing::warn!(%channel, "there are as many channels as allowed");
                self.node.give_back(channel, first);
                self.lease(|leases, now, effects| leases.release(channel, now, effects));
            }
        }
    }

    /// Goes on for the viewers here, under an epoch that no other node is told of.
    pub(super) fn become_stale(&mut self, channel: &ChannelName) {
        if let Some(home) = self.homes.get_mut(channel) {
            tracing::warn!(%channel, "the lease has run out");
            home.become_stale();
            self.wire.counters.lease_changes.add(1);
            // The record of the next lease names the new epoch.
            let epoch = home.epoch.clone();
            self.lease(|leases, now, effects| leases.want(channel, &epoch, now, effects));
        }
    }

    /// Leaves a channel to the node that is its home.
    pub(super) fn yield_to(&mut self, channel: &ChannelName, node: &NodeId) {
        self.ready.remove(channel);
        self.early.remove(channel);
        if let Some(numbered) = self.homes.remove(channel) {
            tracing::debug!(%channel, %node, "another node is the home");
            self.wire.counters.lease_changes.add(1);
            self.resigning.push(numbered.home);
            self.count();
        }
        if self.peers.is_gone(node) {
            // Its session goes too, and the record is read again until then.
            return;
        }
        let next = self.forwarding.set_home(channel, node, &self.wire);
        self.forward(channel, next);
        self.mirrors.home_known(channel, node, &mut self.wire);
    }

    /// Gives up the channels that have had no subscribers, history or status for long, so that a
    /// channel that nobody uses does not exist.
    pub(super) fn release_idle(&mut self, now: Instant) {
        let node = &self.node;
        let mut idle = Vec::new();
        for (channel, home) in &mut self.homes {
            if home.is_exported || node.home_stats(channel).is_some() {
                home.idle_since = None;
            } else if *home.idle_since.get_or_insert(now) + MAX_IDLE <= now {
                idle.push(channel.clone());
            }
        }
        for channel in idle {
            if let Some(numbered) = self.homes.remove(&channel) {
                self.resigning.push(numbered.home);
            }
            self.lease(|leases, now, effects| leases.forget(&channel, now, effects));
        }
    }

    /// Ends the homes that nothing uses any more. Their channels are mirrors then.
    pub(super) fn finish_resigning(&mut self) {
        let mut at = 0;
        while at < self.resigning.len() {
            if Arc::strong_count(&self.resigning[at]) > 1 {
                at += 1;
                continue;
            }
            let home = self.resigning.swap_remove(at);
            let channel = home.channel().clone();
            // The mirror first: it keeps the channel.
            self.subscribers_changed(&channel);
            drop(home);
            if let Some(mirror) = self.mirrors.get_mut(&channel) {
                // Subscriptions wait until the mirror has caught up.
                mirror.hold_back();
            }
            if let Some(term) = self.ready.remove(&channel) {
                self.become_home(&channel, term);
            }
        }
    }

    /// Looks for homes of channels with messages, and goes on here where the broker is gone.
    pub(super) fn find_homes(&mut self, now: Instant) {
        let has_session = !self.leases.is_stale(self.clock.now());
        for (channel, since) in self.forwarding.homeless() {
            if self.ready.contains_key(&channel) || self.forwarding.is_taking(&channel) {
                continue;
            }
            let known = match self.leases.state(&channel) {
                HomeState::Elsewhere { node, .. } if !self.peers.is_gone(&node) => Some(node),
                _ => None,
            };
            if let Some(node) = known {
                let next = self.forwarding.set_home(&channel, &node, &self.wire);
                self.forward(&channel, next);
            } else if !has_session && since + MAX_HOMELESS <= now {
                tracing::warn!(%channel, "no lease can be had: it goes on here alone");
                self.begin_home(&channel, Numbering::New, None);
            } else {
                self.want_home(&channel);
            }
        }
    }

    /// Takes messages that another node forwards.
    pub(super) fn publish(&mut self, from: &NodeId, forwarded: Forwarded) {
        let has_lease = self
            .leases
            .term(&forwarded.channel, self.clock.now())
            .is_some();
        match self.homes.get_mut(&forwarded.channel) {
            Some(home) if has_lease => {
                let accept = home.publish(from, forwarded, &self.wire);
                self.accept(accept);
            }
            _ => self.tell_not_home(from, forwarded.run, forwarded.channel),
        }
    }

    fn accept(&mut self, accept: Option<super::numbered::Accept>) {
        if let Some(accept) = accept {
            self.begin(operations::accept(accept));
        }
    }

    /// Takes notice that forwarded messages were published.
    pub(super) fn accepted(&mut self, channel: &ChannelName, from: &NodeId, run: u64) {
        let accepted = ClusterMessage::Accepted {
            channel: channel.clone(),
            run,
        };
        self.wire.tell(from, &accepted);
        let next = self
            .homes
            .get_mut(channel)
            .and_then(super::numbered::Numbered::accepted);
        self.accept(next);
    }

    pub(super) fn tell_not_home(&mut self, to: &NodeId, id: u64, channel: ChannelName) {
        let home = self.known_home(&channel);
        let message = ClusterMessage::NotHome { id, channel, home };
        self.wire.tell(to, &message);
    }

    /// Answers a request for messages of a channel.
    pub(super) fn request(&mut self, asker: &NodeId, request: Request) {
        let channel = request.channel.clone();
        let has_lease = self.leases.term(&channel, self.clock.now()).is_some();
        if has_lease && self.is_durable && !self.homes.contains_key(&channel) {
            // The term is being opened. It is answered then, and it tells who has passed the store.
            let early = self.early.entry(channel).or_default();
            if early.len() < MAX_EARLY {
                early.push((asker.clone(), request));
            }
            return;
        }
        if !has_lease || !self.homes.contains_key(&channel) {
            return self.tell_not_home(asker, request.id, channel);
        }
        // Who asks follows the channel from the answer on.
        self.peers.wants(asker, &channel);
        self.update_export(&channel);
        if let Requested::After { epoch, seq, term } = &request.wanted
            && let Some(home) = self.homes.get(&channel)
            && home.has_repeated(epoch, *seq, *term)
        {
            return self.begin_epoch(&channel);
        }
        if let Some(home) = self.homes.get(&channel) {
            let stored = home.storing.as_ref().map(Storing::watch);
            if self.is_durable && stored.is_none() {
                // The term is being opened. It is asked for again.
                return;
            }
            let answering = Answering {
                stored,
                home: Arc::clone(&home.home),
                asker: asker.clone(),
                request,
                term: home.term,
            };
            let me = self.wire.me.clone();
            let outgoing = Arc::clone(&self.wire.outgoing);
            self.begin(async move {
                answering.run(me, outgoing).await;
                Done::Over
            });
        }
    }

    /// Has a channel's blocks sent if another node wants them.
    pub(super) fn update_export(&mut self, channel: &ChannelName) {
        let is_wanted = self.is_durable || self.peers.is_wanted(channel);
        if let Some(home) = self.homes.get_mut(channel) {
            home.set_exported(is_wanted);
        }
    }

    /// As [`NodeTask::update_export`], for all channels.
    pub(super) fn update_exports(&mut self) {
        let (peers, is_durable) = (&self.peers, self.is_durable);
        for (channel, home) in &mut self.homes {
            home.set_exported(is_durable || peers.is_wanted(channel));
        }
    }

    /// Tells the other nodes of channels that are listed here, or not any more.
    pub(super) fn homes_changed(&mut self, channels: Vec<ChannelName>) {
        let listed: Vec<_> = channels
            .into_iter()
            .map(|channel| {
                let stats = self.node.home_stats(&channel);
                (channel, stats.as_ref().map(ListedChannel::from))
            })
            .collect();
        for message in self.peers.own_changed(listed) {
            self.wire.send(Topic::Directory, &message);
        }
    }

    /// Tells the other nodes what the channels that are listed here count by now.
    pub(super) fn tell_figures(&mut self) {
        for message in self.peers.own_compared(&self.node.homes()) {
            self.wire.send(Topic::Directory, &message);
        }
    }

    /// Sends a node all channels that are listed here.
    pub(super) fn send_snapshot(&mut self, to: &NodeId) {
        for message in self.peers.own_snapshot() {
            self.wire.tell(to, &message);
        }
    }

    /// Goes on without a node that has ended or was not heard for too long.
    pub(super) fn node_gone(&mut self, node: &NodeId) {
        tracing::info!(%node, "a node is gone");
        self.mirrors.node_gone(node, &mut self.wire);
        for home in self.homes.values_mut() {
            home.node_gone(node);
        }
        let homeless = self.forwarding.node_gone(node);
        self.lease(|leases, now, effects| {
            for (channel, has_messages) in &homeless {
                if *has_messages {
                    leases.want(channel, "", now, effects);
                } else {
                    // What the node had is kept, and nothing here needs another home.
                    leases.release(channel, now, effects);
                }
            }
            leases.suspect(node, now, effects);
        });
        self.node.list_changed();
    }
}

/// Returns the name of a new numbering, which no other one has.
pub(super) fn new_epoch() -> String {
    // The keys of a `RandomState` are random, so the hash of anything is.
    let random = RandomState::new().hash_one(SystemTime::now());
    format!("{random:016x}")
}
