//! What all channels of a hub share: its settings, its clock, its totals.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::history::{self, Keep};
use super::ingest::Waiting;
use super::registry::Registry;
use super::ticker::Ticker;
use crate::config::Config;
use crate::encode::Timestamp;
use crate::stats::Totals;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A busy channel is sealed without waiting for the tick once this many raw bytes wait.
const ENOUGH_BYTES: usize = 64 * 1024;

/// The shared part of a hub's channels.
#[derive(Debug)]
pub(crate) struct HubShared {
    pub(crate) config: Config,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) totals: Totals,
    /// Tells publishers that wait for it that some client's queue has become empty.
    pub(crate) room: Notify,
    /// What one channel's history keeps; nothing when it keeps no messages.
    pub(super) keep: Keep,
    /// Bytes of all histories.
    history: AtomicUsize,
    /// One thread at a time makes room.
    evicting: AtomicBool,
    /// To find other channels when all histories together are too large.
    registry: OnceLock<Weak<Registry>>,
    epochs: AtomicU64,
    /// A channel with so much waiting is sealed by whoever filled it.
    pub(super) enough_waiting: Waiting,
    /// A channel with so much waiting takes no more: that is one client's queue, and more would find no room there either.
    pub(super) most_waiting: Waiting,
}

impl HubShared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            enough_waiting: Waiting {
                messages: (config.queue / 2).max(1),
                bytes: ENOUGH_BYTES.min(config.queue_bytes / 2),
            },
            most_waiting: Waiting {
                messages: config.queue.max(1024),
                bytes: config.queue_bytes,
            },
            ticker: Arc::new(Ticker::new(config.max_flush_interval)),
            totals: Totals::default(),
            room: Notify::new(),
            keep: Keep {
                messages: config.history,
                bytes: config.history_bytes,
                age: u64::try_from(config.history_age.as_nanos()).unwrap_or(u64::MAX),
            },
            history: AtomicUsize::new(0),
            evicting: AtomicBool::new(false),
            registry: OnceLock::new(),
            epochs: AtomicU64::new(RandomState::new().hash_one(SystemTime::now())),
            config,
        }
    }
}

impl HubShared {
    /// Starts the flush clock unless it runs. To be called within a tokio runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        self.ticker.start(Arc::downgrade(self));
    }

    /// Has every channel drop what is too old.
    pub(super) fn sweep(&self) {
        let Some(registry) = self.registry() else {
            return;
        };
        for channel in registry.all() {
            if channel.is_held() {
                channel.trim();
            }
        }
    }

    /// Whether channels keep a history.
    pub(crate) fn keeps_history(&self) -> bool {
        self.keep.messages > 0
    }

    /// Bytes that all histories hold.
    pub(crate) fn history_bytes(&self) -> usize {
        self.history.load(Ordering::Relaxed)
    }

    pub(crate) fn set_registry(&self, registry: &Arc<Registry>) {
        let _ = self.registry.set(Arc::downgrade(registry));
    }

    pub(super) fn registry(&self) -> Option<Arc<Registry>> {
        self.registry.get()?.upgrade()
    }

    /// A name for a numbering that no other numbering has, in this process or another: they begin at a random place.
    pub(super) fn epoch(&self) -> String {
        format!("{:016x}", self.epochs.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells by how much a history has changed. When all together are too large, the channels that were used the longest ago forget theirs,
    /// until a tenth is free: linear in channels, once for every tenth of the bound that is published.
    pub(super) fn charge_history(&self, change: history::Change) {
        if change == 0 {
            return;
        }
        // Relaxed: a tally. A sum of changes never falls below zero.
        let before = self.history.fetch_add(change as usize, Ordering::Relaxed);
        let now = before.wrapping_add_signed(change);
        if now <= self.config.history_total || self.evicting.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(registry) = self.registry() {
            let mut channels = registry.all();
            channels.retain(|channel| channel.kept_bytes() > 0);
            channels.sort_by_cached_key(|channel| channel.last_used());
            let mut excess = now - self.config.history_total / 10 * 9;
            for channel in channels {
                if excess == 0 {
                    break;
                }
                excess = excess.saturating_sub(channel.kept_bytes());
                channel.forget();
            }
        }
        self.evicting.store(false, Ordering::Release);
    }

    /// What a message sealed now is stamped with.
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
