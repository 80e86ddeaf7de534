//! The state that all channels of a hub share: settings, clock, totals.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::clock::Clock;
use super::history::{ByteChange, Keep};
use super::ingest::Waiting;
use super::interest::Interest;
use super::listing::Listing;
use super::partial::PartialClock;
use super::recorder::Recorder;
use super::sharing::Sharing;
use super::ticker::Ticker;
use crate::bridge::Exports;
use crate::config::Config;
use crate::encode::Timestamp;
use crate::outbox::MAX_MESSAGES;
use crate::stats::Totals;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// A busy channel is sealed without waiting for the tick once this many raw bytes wait.
const ENOUGH_BYTES: usize = 64 * 1024;

/// The shared part of a hub's channels.
#[derive(Debug)]
pub(crate) struct HubShared {
    pub(crate) config: Config,
    pub(crate) totals: Arc<Totals>,
    pub(crate) recorder: Recorder,
    /// Wakes the publishers that wait for some client's queue to become empty.
    pub(crate) room: Notify,
    pub(crate) listing: Listing,
    pub(super) clock: Arc<Clock>,
    pub(super) ticker: Arc<Ticker>,
    pub(super) partial_clock: Arc<PartialClock>,
    /// The bounds of one channel's history. Nothing is kept when they allow no messages.
    pub(super) keep: Keep,
    /// Bytes of all histories.
    history_bytes: AtomicUsize,
    /// Set when the hub's channels are mirrors.
    pub(crate) interest: Option<Interest>,
    /// Set when the hub has a bridge.
    pub(crate) exports: Option<Exports>,
    /// Set when the home of each of the hub's channels can be here.
    pub(crate) sharing: Option<Sharing>,
    epochs: AtomicU64,
    /// A channel with this much waiting is sealed by the publisher that filled it.
    pub(super) enough_waiting: Waiting,
    /// A channel with this much waiting takes no more. Without a history that is one client's
    /// queue: more would find no room there either.
    pub(super) most_waiting: Waiting,
}

/// The fewest messages that a channel with a history takes while another thread seals. The history
/// keeps them whatever room the clients have, so a burst must not end at the size of one queue. A
/// larger history takes as much as it keeps, in messages and in bytes.
const MIN_WAITING_WITH_HISTORY: usize = 64 * 1024;

impl HubShared {
    pub(crate) fn new(config: Config) -> Self {
        let totals = Arc::new(Totals::default());
        let clock = Arc::new(Clock::new(config.max_flush_interval));
        Self {
            enough_waiting: Waiting {
                messages: (config.queue / 2).max(1),
                bytes: ENOUGH_BYTES.min(config.queue_bytes / 2),
            },
            most_waiting: Waiting {
                messages: if config.history > 0 {
                    let kept = config.history.min(MAX_MESSAGES);
                    config.queue.max(MIN_WAITING_WITH_HISTORY).max(kept)
                } else {
                    config.queue.max(1024)
                },
                bytes: if config.history > 0 {
                    config.queue_bytes.max(config.history_bytes)
                } else {
                    config.queue_bytes
                },
            },
            recorder: Recorder::new(Arc::clone(&totals), Arc::clone(&clock)),
            ticker: Arc::new(Ticker::new(Arc::clone(&clock))),
            partial_clock: Arc::new(PartialClock::new(Arc::clone(&clock))),
            totals,
            clock,
            room: Notify::new(),
            listing: Listing::new(),
            keep: Keep {
                messages: config.history,
                bytes: config.history_bytes,
                age: u64::try_from(config.history_age.as_nanos()).unwrap_or(u64::MAX),
            },
            history_bytes: AtomicUsize::new(0),
            exports: config.bridged.then(Exports::default),
            interest: config.mirrors.then(Interest::default),
            sharing: config.shares.then(Sharing::default),
            epochs: AtomicU64::new(RandomState::new().hash_one(SystemTime::now())),
            config,
        }
    }

    /// Returns whether the task of the flush clock runs.
    pub(crate) fn is_ticking(&self) -> bool {
        self.ticker.is_running()
    }

    /// Returns whether channels keep a history.
    pub(crate) fn keeps_history(&self) -> bool {
        self.keep.messages > 0
    }

    /// Returns the bytes that all histories hold.
    pub(crate) fn history_bytes(&self) -> usize {
        self.history_bytes.load(Ordering::Relaxed)
    }

    /// Adds a change of one history to the total. Returns the total when it is over its bound.
    pub(super) fn charge_history(&self, change: ByteChange) -> Option<usize> {
        // Relaxed: a tally. A sum of changes never falls below zero.
        let before = self
            .history_bytes
            .fetch_add(change as usize, Ordering::Relaxed);
        let held = before.wrapping_add_signed(change);
        (held > self.config.history_total).then_some(held)
    }

    /// Returns a name for a numbering that differs from every other numbering's, in this process
    /// and in others: the names begin at a random place.
    pub(super) fn epoch(&self) -> String {
        format!("{:016x}", self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the timestamp of a message that is sealed now.
    pub(crate) fn timestamp() -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Drop for HubShared {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}
