//! The settings of a hub, their defaults and bounds.

use std::time::Duration;

use crate::error::ConfigError;
use crate::outbox::{Limits, MOST_BYTES, MOST_MESSAGES};

/// The settings of a hub, as [`HubBuilder`](crate::HubBuilder) checked them.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) max_flush_interval: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) history_messages: usize,
    pub(crate) history_bytes: usize,
    pub(crate) history_age: Duration,
    pub(crate) history_total: usize,
    pub(crate) ping_interval: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) flush_timeout: Duration,
}

/// Inbound messages over this are refused with close code 1009.
pub(crate) const MOST_INBOUND_BYTES: usize = 64 * 1024;

/// The longest duration a setting may have: long beyond any use, short enough never to overflow a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: 256,
            queue_bytes: 4 * 1024 * 1024,
            max_flush_interval: Duration::from_millis(10),
            max_connections: 100_000,
            max_subscriptions: 1024,
            history_messages: 0,
            history_bytes: 1024 * 1024,
            history_age: Duration::from_secs(3600),
            history_total: 256 * 1024 * 1024,
            ping_interval: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(2),
            flush_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let within = |setting: &'static str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::OutOfRange {
                    setting,
                    value: value.to_string(),
                    least: least.to_string(),
                    most: most.to_string(),
                })
            }
        };
        within("queue", self.queue, 1, MOST_MESSAGES)?;
        within("queue_bytes", self.queue_bytes, 64 * 1024, MOST_BYTES)?;
        within("max_connections", self.max_connections, 1, usize::MAX >> 1)?;
        within("max_subscriptions", self.max_subscriptions, 1, 1 << 24)?;
        within("history_messages", self.history_messages, 0, 1 << 32)?;
        within("history_bytes", self.history_bytes, 1, MOST_BYTES)?;
        within("history_total", self.history_total, 1, MOST_BYTES)?;
        let lasts = |setting: &'static str, value: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::OutOfRange {
                    setting,
                    value: format!("{value:?}"),
                    least: format!("{least:?}"),
                    most: format!("{most:?}"),
                })
            }
        };
        lasts("max_flush_interval", self.max_flush_interval, Duration::ZERO, Duration::from_secs(10))?;
        lasts("history_age", self.history_age, Duration::from_secs(1), LONGEST)?;
        lasts("ping_interval", self.ping_interval, Duration::from_millis(10), LONGEST)?;
        lasts("idle_timeout", self.idle_timeout, self.ping_interval, LONGEST)?;
        lasts("close_timeout", self.close_timeout, Duration::from_millis(1), LONGEST)?;
        lasts("flush_timeout", self.flush_timeout, Duration::ZERO, LONGEST)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { messages: self.queue, bytes: self.queue_bytes }
    }
}
