//! Counts and lists a hub's clients, channels and subscribers.

use std::sync::Arc;

use super::Hub;
use crate::bridge::Exports;
use crate::channel::{Client, Sharing};
use crate::stats::{ChannelStats, Queues, Stats};

impl Hub {
    /// Returns the number of connected clients.
    pub fn client_count(&self) -> usize {
        self.engine.everyone.listeners()
    }

    /// Returns the number of channels with at least one subscriber.
    pub fn channel_count(&self) -> usize {
        self.engine.registry.live()
    }

    /// Returns the number of subscribers of a channel: 0 if the channel does not exist or its name
    /// is not valid.
    pub fn channel_subscriber_count(&self, channel: &str) -> usize {
        self.engine
            .registry
            .find(channel)
            .map_or(0, |channel| channel.listeners())
    }

    /// Returns the hub's counters. Takes time linear in clients and channels.
    pub fn stats(&self) -> Stats {
        let engine = &self.engine;
        let mut queues = Queues::default();
        for client in engine.everyone.clients() {
            let used = client.outbox.used();
            queues.add(used.messages, used.bytes);
        }
        let subscribers = engine
            .registry
            .all()
            .iter()
            .map(|channel| channel.listeners())
            .sum();
        let mut stats = engine.totals().stats(
            self.client_count(),
            self.channel_count(),
            subscribers,
            queues,
            engine.shared.history_bytes(),
        );
        stats.bridge = engine.shared.exports.as_ref().map(Exports::stats);
        stats.backplane = engine.report.as_ref().map(|report| report.stats());
        stats.sharing = engine.shared.sharing.as_ref().map(Sharing::stats);
        stats
    }

    /// Returns the clients that are connected now.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = Arc<Client>> + use<> {
        self.engine.everyone.clients().into_iter()
    }

    /// Returns the channels that have subscribers, a history or a status now, ordered by name.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = ChannelStats> + use<> {
        let channels = self.engine.registry.all();
        let mut reports: Vec<_> = channels
            .iter()
            .filter_map(|channel| channel.report())
            .collect();
        reports.sort_unstable_by(|a, b| a.channel.as_str().cmp(b.channel.as_str()));
        reports.into_iter()
    }

    /// Returns the clients that are subscribed to a channel now.
    pub fn subscribers(&self, channel: &str) -> impl ExactSizeIterator<Item = Arc<Client>> + use<> {
        self.engine
            .registry
            .find(channel)
            .map(|channel| channel.clients())
            .unwrap_or_default()
            .into_iter()
    }
}
