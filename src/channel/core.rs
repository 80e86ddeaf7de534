//! What all channels of a hub share: its settings, its clock, its totals.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ingest::Waiting;
use super::ticker::Ticker;
use crate::config::Config;
use crate::encode::Timestamp;
use crate::stats::Totals;

/// A busy channel is sealed without waiting for the tick once this many raw bytes wait.
const ENOUGH_BYTES: usize = 64 * 1024;

/// The shared part of a hub's channels.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) totals: Totals,
    /// A channel with so much waiting is sealed by whoever filled it.
    pub(super) enough_waiting: Waiting,
    /// A channel with so much waiting takes no more: that is one client's queue, and more would find no room there either.
    pub(super) most_waiting: Waiting,
}

impl Core {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            enough_waiting: Waiting {
                messages: (config.queue / 2).max(1),
                bytes: ENOUGH_BYTES.min(config.queue_bytes / 2),
            },
            most_waiting: Waiting { messages: config.queue.max(1024), bytes: config.queue_bytes },
            ticker: Arc::new(Ticker::new(config.max_flush_interval)),
            totals: Totals::default(),
            config,
        }
    }
}

impl Core {
    /// What a message sealed now is stamped with.
    pub(crate) fn timestamp() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}
