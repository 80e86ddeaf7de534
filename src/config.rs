//! The settings of a hub, their defaults and bounds.

use std::time::Duration;

use crate::error::ConfigError;
use crate::outbox::{MAX_BYTES, MAX_MESSAGES, QueueLimits};

/// The settings of a hub, as [`HubBuilder`](crate::HubBuilder) checked them.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) queue: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) max_flush_interval: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) max_channels: usize,
    pub(crate) max_message: usize,
    pub(crate) max_fragments: usize,
    pub(crate) message_rate: u32,
    /// `None`: as many as bring back all subscriptions a client may have, twice.
    pub(crate) message_burst: Option<u32>,
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) history_messages: usize,
    pub(crate) history_bytes: usize,
    pub(crate) history_age: Duration,
    pub(crate) history_total: usize,
    pub(crate) ping_interval: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) shutdown_spread: Duration,
}

/// The longest duration a setting may have: long beyond any use, short enough never to overflow a clock.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// The most frames a second a client may be allowed to send, or at once: more than any sends.
const MAX_RATE: usize = 1_000_000_000;
/// What a client may send at once where nothing else is said: the subscriptions it has by default, twice.
const MIN_BURST: usize = 2048;

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: 256,
            queue_bytes: 4 * 1024 * 1024,
            max_flush_interval: Duration::from_millis(10),
            max_connections: 100_000,
            max_connections_per_address: 1000,
            max_subscriptions: 1024,
            max_channels: 100_000,
            max_message: 64 * 1024,
            max_fragments: 1024,
            message_rate: 100,
            message_burst: None,
            max_body: 4 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            history_messages: 0,
            history_bytes: 1024 * 1024,
            history_age: Duration::from_secs(3600),
            history_total: 256 * 1024 * 1024,
            ping_interval: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(2),
            flush_timeout: Duration::from_secs(5),
            shutdown_spread: Duration::ZERO,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        within("queue", self.queue, 1, MAX_MESSAGES)?;
        within("queue_bytes", self.queue_bytes, 64 * 1024, MAX_BYTES)?;
        within("max_connections", self.max_connections, 1, usize::MAX >> 1)?;
        within(
            "max_connections_per_address",
            self.max_connections_per_address,
            1,
            usize::MAX >> 1,
        )?;
        within("max_subscriptions", self.max_subscriptions, 1, 1 << 24)?;
        within("max_channels", self.max_channels, 1, usize::MAX >> 1)?;
        within("max_message", self.max_message, 1024, 1 << 30)?;
        within("max_fragments", self.max_fragments, 1, 1 << 30)?;
        within("message_rate", self.message_rate as usize, 1, MAX_RATE)?;
        within("message_burst", self.message_burst() as usize, 1, MAX_RATE)?;
        within("max_body", self.max_body, 1024, 1 << 40)?;
        within("history_messages", self.history_messages, 0, 1 << 32)?;
        within("history_bytes", self.history_bytes, 1, MAX_BYTES)?;
        within("history_total", self.history_total, 1, MAX_BYTES)?;
        lasts(
            "max_flush_interval",
            self.max_flush_interval,
            Duration::ZERO,
            Duration::from_secs(10),
        )?;
        lasts(
            "history_age",
            self.history_age,
            Duration::from_secs(1),
            MAX_DURATION,
        )?;
        lasts(
            "ping_interval",
            self.ping_interval,
            Duration::from_millis(10),
            MAX_DURATION,
        )?;
        lasts(
            "idle_timeout",
            self.idle_timeout,
            self.ping_interval,
            MAX_DURATION,
        )?;
        lasts(
            "close_timeout",
            self.close_timeout,
            Duration::from_millis(1),
            MAX_DURATION,
        )?;
        lasts(
            "flush_timeout",
            self.flush_timeout,
            Duration::ZERO,
            MAX_DURATION,
        )?;
        lasts(
            "handshake_timeout",
            self.handshake_timeout,
            Duration::from_millis(1),
            MAX_DURATION,
        )?;
        lasts(
            "body_timeout",
            self.body_timeout,
            Duration::from_millis(1),
            MAX_DURATION,
        )?;
        lasts(
            "shutdown_spread",
            self.shutdown_spread,
            Duration::ZERO,
            MAX_DURATION,
        )
    }

    /// What a client may send at once.
    pub(crate) fn message_burst(&self) -> u32 {
        let twice_all = self
            .max_subscriptions
            .saturating_mul(2)
            .clamp(MIN_BURST, MAX_RATE);
        self.message_burst.unwrap_or(twice_all as u32)
    }

    pub(crate) fn limits(&self) -> QueueLimits {
        QueueLimits {
            messages: self.queue,
            bytes: self.queue_bytes,
        }
    }
}

/// # Errors
/// A number is out of its range.
pub(crate) fn within(
    setting: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), ConfigError> {
    in_range(setting, value, least, most, |number| number.to_string())
}

/// # Errors
/// A time is out of its range.
pub(crate) fn lasts(
    setting: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    in_range(setting, value, least, most, |time| format!("{time:?}"))
}

fn in_range<T: PartialOrd>(
    setting: &'static str,
    value: T,
    least: T,
    most: T,
    show: impl Fn(T) -> String,
) -> Result<(), ConfigError> {
    if (&least..=&most).contains(&&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        setting,
        value: show(value),
        least: show(least),
        most: show(most),
    })
}
