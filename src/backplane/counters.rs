//! What a backplane of this crate counts while it runs.

use std::time::{Duration, Instant};

use super::{BackplaneStats, Report};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// The counters of a backplane. Every access is Relaxed: each is a
/// tally or a state of its own that orders nothing.
#[derive(Debug)]
pub(crate) struct Counters {
    kind: &'static str,
    links: usize,
    created: Instant,
    connected: AtomicUsize,
    stale_channels: AtomicUsize,
    /// When the backplane was heard last, in milliseconds after `created`, plus one. 0 is never.
    heard: AtomicU64,
    reconnects: AtomicU64,
    skipped: AtomicU64,
    repaired: AtomicU64,
    lost: AtomicU64,
    damaged: AtomicU64,
    lease_changes: AtomicU64,
}

#[allow(dead_code, reason = "each backplane counts what can happen to it")]
impl Counters {
    /// Creates the counters of a backplane with this many connections.
    pub(crate) fn new(kind: &'static str, links: usize) -> Self {
        Self {
            kind,
            links,
            created: Instant::now(),
            connected: AtomicUsize::new(0),
            stale_channels: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            repaired: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            lease_changes: AtomicU64::new(0),
        }
    }

    /// Counts a connection that has opened, for the first time or again.
    pub(crate) fn count_connected(&self, is_again: bool) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        self.reconnects
            .fetch_add(u64::from(is_again), Ordering::Relaxed);
        self.hear();
    }

    /// Counts a connection that has ended, after [`count_connected`](Self::count_connected).
    pub(crate) fn count_disconnected(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes a sign of life of the other side.
    pub(crate) fn hear(&self) {
        let since = self.created.elapsed().as_millis();
        let heard = u64::try_from(since).unwrap_or(u64::MAX - 1) + 1;
        self.heard.store(heard, Ordering::Relaxed);
    }

    pub(crate) fn set_stale_channels(&self, channels: usize) {
        self.stale_channels.store(channels, Ordering::Relaxed);
    }

    pub(crate) fn count_skipped(&self, blocks: u64) {
        self.skipped.fetch_add(blocks, Ordering::Relaxed);
    }

    pub(crate) fn count_repaired(&self, messages: u64) {
        self.repaired.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn count_lost(&self, messages: u64) {
        self.lost.fetch_add(messages, Ordering::Relaxed);
    }

    pub(crate) fn count_damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_lease_change(&self) {
        self.lease_changes.fetch_add(1, Ordering::Relaxed);
    }

    fn latest_age(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.created
                .elapsed()
                .saturating_sub(Duration::from_millis(heard)),
        )
    }
}

impl Report for Counters {
    fn stats(&self) -> BackplaneStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BackplaneStats {
            kind: self.kind,
            links: self.links,
            connected: self.connected.load(Ordering::Relaxed),
            stale_channels: self.stale_channels.load(Ordering::Relaxed),
            latest_age_ms: self
                .latest_age()
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            reconnects: read(&self.reconnects),
            skipped: read(&self.skipped),
            repaired: read(&self.repaired),
            lost: read(&self.lost),
            damaged: read(&self.damaged),
            lease_changes: read(&self.lease_changes),
            ..BackplaneStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_or_a_stale_channel_is_told_in_one_line() {
        let counters = Counters::new("relay", 2);
        assert_eq!(counters.stats().latest_age_ms, None);
        assert!(counters.stats().is_stale());
        counters.count_connected(false);
        counters.count_connected(false);
        assert!(!counters.stats().is_stale());
        assert!(counters.stats().latest_age_ms.is_some());
        counters.set_stale_channels(1);
        assert!(counters.stats().is_stale());
        counters.count_disconnected();
        assert_eq!(
            counters.stats().to_string(),
            "relay: 1 of 2 connections, 1 stale channel"
        );
        counters.set_stale_channels(2);
        counters.count_connected(true);
        let stats = counters.stats();
        assert_eq!(stats.reconnects, 1);
        assert_eq!(
            stats.to_string(),
            "relay: 2 of 2 connections, 2 stale channels"
        );
    }
}
