//! What a node does for channels whose blocks the broker stores.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::block::Block;
use super::durable::{Opening, Outcome, StoredChannel, Storing};
use super::home_duties::new_epoch;
use super::message::Requested;
use super::names::Token;
use super::node_task::NodeTask;
use super::operations::Done;
use crate::backplane::Numbering;
use crate::message::ChannelName;

/// How long a home that goes on with a numbering waits for mirrors that have passed the store.
const OBJECTIONS: Duration = Duration::from_millis(300);
/// The pause before something is stored again that was not.
const RETRY: Duration = Duration::from_millis(500);

impl NodeTask {
    /// Returns a channel as the store has it.
    pub(super) fn stored(&self, channel: &ChannelName) -> StoredChannel {
        StoredChannel {
            broker: Arc::clone(&self.broker),
            token: Token::of_channel(channel),
            max_message: self.wire.max_message,
            history: self.wire.history,
        }
    }

    /// Opens a term in the store, before the channel is numbered in it.
    pub(super) fn open_term(&mut self, channel: &ChannelName, term: u64) {
        let own = self.homes.get(channel).map(|home| home.home.numbering());
        let (stored, me) = (self.stored(channel), self.wire.me.clone());
        let channel = channel.clone();
        let is_asked = own.is_none() && self.peers.alive() > 0;
        self.begin(async move {
            let opening = stored.open(&me, term, own, new_epoch()).await;
            if is_asked && opening.as_ref().is_some_and(|opening| opening.seq > 0) {
                tokio::time::sleep(OBJECTIONS).await;
            }
            if opening.is_none() {
                tokio::time::sleep(RETRY).await;
            }
            Done::Opened {
                channel,
                term,
                opening,
            }
        });
    }

    /// Numbers a channel whose term is open in the store.
    pub(super) fn opened(&mut self, channel: &ChannelName, term: u64, opening: Option<Opening>) {
        if self.leases.term(channel, self.clock.now()) != Some(term) {
            // The lease has run out meanwhile, or has another term, which is opened by itself.
            return;
        }
        let Some(opening) = opening else {
            return self.open_term(channel, term);
        };
        let Opening {
            epoch,
            seq,
            position,
            past,
        } = opening;
        let begins_after;
        if let Some(home) = self.homes.get_mut(channel) {
            home.resume(term);
            // What was numbered without a term is not exported any more.
            begins_after = home.home.numbering().1.max(seq);
        } else {
            // A mirror takes what the store has: so the home keeps it too.
            let followed = self.mirrors.get_mut(channel);
            let passed_here = followed.map_or(0, |followed| followed.passed(&epoch));
            let mirror = self.feed_past(channel, &epoch, seq, past);
            // What a mirror has passed was lost with the earlier home, and is not given again.
            let passed = self.passed(channel, &epoch, term);
            begins_after = seq.max(passed).max(passed_here);
            let numbering = Numbering::Continue {
                epoch,
                seq: begins_after,
            };
            self.begin_home(channel, numbering, Some(term));
            drop(mirror);
        }
        if let Some(home) = self.homes.get_mut(channel) {
            home.storing = Some(Storing::new(position, seq, begins_after));
            if begins_after > seq {
                home.mark(begins_after, &self.wire.me);
            }
        }
        self.update_export(channel);
        self.append(channel);
        for (asker, request) in self.early.remove(channel).unwrap_or_default() {
            self.request(&asker, request);
        }
    }

    /// Returns the greatest number that a mirror had of an earlier term of a numbering.
    fn passed(&self, channel: &ChannelName, epoch: &str, before: u64) -> u64 {
        let early = self.early.get(channel).into_iter().flatten();
        let passed = early.filter_map(|(_, request)| match &request.wanted {
            Requested::After {
                epoch: of,
                seq,
                term,
            } if of == epoch && *term < before => Some(*seq),
            _ => None,
        });
        passed.max().unwrap_or(0)
    }

    /// Gives a channel that is about to become a home the past that the store has.
    fn feed_past(
        &mut self,
        channel: &ChannelName,
        epoch: &str,
        seq: u64,
        past: Vec<Block>,
    ) -> Option<crate::backplane::Mirror> {
        let runs: Vec<_> = past.into_iter().filter_map(Block::numbered).collect();
        if let Some(followed) = self.mirrors.get_mut(channel) {
            let is_same = followed.epoch() == Some(epoch);
            let mirror = followed.mirror();
            if !is_same {
                let base = runs.first().map_or(seq, |run| run.first_seq() - 1);
                mirror.renumber(epoch, base);
            }
            runs.into_iter().for_each(|run| mirror.publish(run));
            return None;
        }
        let mirror = self.node.mirror(channel).ok()?;
        let base = runs.first().map_or(seq, |run| run.first_seq() - 1);
        mirror.renumber(epoch, base);
        runs.into_iter().for_each(|run| mirror.publish(run));
        Some(mirror)
    }

    /// Has the next block of a channel stored, if there is one and none is on its way.
    pub(super) fn append(&mut self, channel: &ChannelName) {
        let Some(home) = self.homes.get_mut(channel) else {
            return;
        };
        let Some(storing) = &mut home.storing else {
            return;
        };
        let Some(append) = storing.next(Instant::now()) else {
            return;
        };
        let term = home.term;
        let (stored, channel) = (self.stored(channel), channel.clone());
        self.begin(async move {
            let outcome = stored.append(append).await;
            Done::Appended {
                channel,
                term,
                outcome,
            }
        });
    }

    /// As [`NodeTask::append`], for all channels.
    pub(super) fn append_all(&mut self) {
        if self.is_durable {
            let homes: Vec<_> = self.homes.keys().cloned().collect();
            for channel in homes {
                if let Some(home) = self.homes.get_mut(&channel) {
                    home.mark_unstored(&self.wire.me);
                }
                self.append(&channel);
            }
        }
    }

    /// Begins another numbering in the same term: a mirror that was not heard in time has passed
    /// numbers that the store does not have, and that were given again since.
    pub(super) fn begin_epoch(&mut self, channel: &ChannelName) {
        if let Some(home) = self.homes.get_mut(channel) {
            home.begin_epoch();
            let (term, epoch) = (home.term, &home.epoch);
            tracing::warn!(%channel, epoch, term, "numbers were seen that are not stored");
            self.open_term(channel, term);
        }
    }

    /// Takes the outcome of storing a block.
    pub(super) fn appended(&mut self, channel: &ChannelName, term: u64, outcome: Outcome) {
        let Some(home) = self.homes.get_mut(channel) else {
            return;
        };
        let Some(storing) = home.storing.as_mut().filter(|_| home.term == term) else {
            // Of an earlier term.
            return;
        };
        match outcome {
            Outcome::Stored(position) => {
                let messages = storing.stored(position);
                self.wire.counters.exported.add(messages);
                self.append(channel);
            }
            Outcome::NotYet => storing.retry(Instant::now() + RETRY),
            Outcome::Fenced { home: node, term } => {
                storing.retry(Instant::now() + RETRY);
                self.heard(channel, &node, term);
            }
        }
    }
}
