//! The settings of a hub, their defaults and ranges.

use std::time::Duration;

use crate::error::ConfigError;
use crate::outbox::{MAX_BYTES, MAX_MESSAGES, QueueLimits};

/// The settings of a hub. [`HubBuilder`](crate::HubBuilder) has a setter of the same name for each
/// field, and documents it.
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
    pub(crate) max_outgoing_message: usize,
    pub(crate) max_fragments: usize,
    pub(crate) message_rate: u32,
    /// `None` stands for the default, which depends on `max_subscriptions`.
    pub(crate) message_burst: Option<u32>,
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) history: usize,
    pub(crate) history_bytes: usize,
    pub(crate) history_age: Duration,
    pub(crate) history_total: usize,
    pub(crate) ping_interval: Duration,
    pub(crate) idle_timeout: Duration,
    /// `None` waits for ever.
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) shutdown_spread: Duration,
    /// Whether the numbers of the channels come from elsewhere.
    pub(crate) mirrors: bool,
    /// Whether the numbers of each channel can come from here all the same.
    pub(crate) shares: bool,
    /// Whether what is published goes to a bridge.
    pub(crate) bridged: bool,
}

/// The longest duration of a setting: longer than any use needs, and short enough never to overflow
/// a clock.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// The largest count of things that there is no other bound for.
const MAX_COUNT: usize = usize::MAX >> 1;
/// Returns a bound as a number of things in memory. Where addresses have 32 bits, half of them is
/// the limit.
const fn at_most(bound: u64) -> usize {
    if bound > MAX_COUNT as u64 {
        MAX_COUNT
    } else {
        bound as usize
    }
}

/// The largest rate and burst, in frames: more than any client sends.
const MAX_FRAMES: usize = 1_000_000_000;
/// The smallest default burst, in frames: twice the default number of subscriptions.
const MIN_DEFAULT_BURST: usize = 2048;

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
            max_outgoing_message: 64 * 1024,
            max_fragments: 1024,
            message_rate: 100,
            message_burst: None,
            max_body: 4 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            history: 0,
            history_bytes: 1024 * 1024,
            history_age: Duration::from_secs(3600),
            history_total: 256 * 1024 * 1024,
            ping_interval: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            write_timeout: None,
            close_timeout: Duration::from_secs(2),
            flush_timeout: Duration::from_secs(5),
            shutdown_spread: Duration::ZERO,
            mirrors: false,
            shares: false,
            bridged: false,
        }
    }
}

impl Config {
    /// Checks each setting against its range. The error names the setter.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_numbers()?;
        self.check_durations()
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let burst = self.message_burst() as usize;
        for (setting, value, min, max) in [
            ("queue", self.queue, 1, MAX_MESSAGES),
            ("queue_bytes", self.queue_bytes, 64 * 1024, MAX_BYTES),
            ("max_connections", self.max_connections, 1, MAX_COUNT),
            (
                "max_connections_per_address",
                self.max_connections_per_address,
                1,
                MAX_COUNT,
            ),
            ("max_subscriptions", self.max_subscriptions, 1, 1 << 24),
            ("max_channels", self.max_channels, 1, MAX_COUNT),
            ("max_message", self.max_message, 1024, 1 << 30),
            (
                "max_outgoing_message",
                self.max_outgoing_message,
                4096,
                1 << 30,
            ),
            ("max_fragments", self.max_fragments, 1, 1 << 30),
            ("message_rate", self.message_rate as usize, 1, MAX_FRAMES),
            ("message_burst", burst, 1, MAX_FRAMES),
            ("max_body", self.max_body, 1024, at_most(1 << 40)),
            ("history", self.history, 0, at_most(1 << 32)),
            ("history_bytes", self.history_bytes, 1, MAX_BYTES),
            ("history_total", self.history_total, 1, MAX_BYTES),
        ] {
            check_range(setting, value, min, max)?;
        }
        Ok(())
    }

    fn check_durations(&self) -> Result<(), ConfigError> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        const SECOND: Duration = Duration::from_secs(1);
        check_duration(
            "max_flush_interval",
            self.max_flush_interval,
            Duration::ZERO,
            10 * SECOND,
        )?;
        for (setting, value, min) in [
            ("history_age", self.history_age, SECOND),
            ("ping_interval", self.ping_interval, 10 * MILLISECOND),
            ("idle_timeout", self.idle_timeout, self.ping_interval),
            ("close_timeout", self.close_timeout, MILLISECOND),
            ("flush_timeout", self.flush_timeout, Duration::ZERO),
            ("handshake_timeout", self.handshake_timeout, MILLISECOND),
            ("body_timeout", self.body_timeout, MILLISECOND),
            ("shutdown_spread", self.shutdown_spread, Duration::ZERO),
        ] {
            check_duration(setting, value, min, MAX_DURATION)?;
        }
        match self.write_timeout {
            Some(timeout) => check_duration("write_timeout", timeout, MILLISECOND, MAX_DURATION),
            None => Ok(()),
        }
    }

    /// Returns how many frames a client may send at once.
    pub(crate) fn message_burst(&self) -> u32 {
        self.message_burst.unwrap_or_else(|| {
            let twice_all = self.max_subscriptions.saturating_mul(2);
            // At most 10^9, which fits.
            twice_all.clamp(MIN_DEFAULT_BURST, MAX_FRAMES) as u32
        })
    }

    /// Returns the bounds of each client's queue.
    pub(crate) fn limits(&self) -> QueueLimits {
        QueueLimits {
            messages: self.queue,
            bytes: self.queue_bytes,
        }
    }
}

/// Checks that a number is between `min` and `max`, both included.
pub(crate) fn check_range(
    setting: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), ConfigError> {
    check(setting, value, min, max, |number| number.to_string())
}

/// Checks that a duration is between `min` and `max`, both included.
pub(crate) fn check_duration(
    setting: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), ConfigError> {
    check(setting, value, min, max, |time| format!("{time:?}"))
}

fn check<T: PartialOrd>(
    setting: &'static str,
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<(), ConfigError> {
    if (&min..=&max).contains(&&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        setting,
        value: show(value),
        min: show(min),
        max: show(max),
        unit: unit(setting),
    })
}

/// Returns what a setting counts, after a space.
fn unit(setting: &str) -> &'static str {
    match setting {
        "queue" | "history" => " messages",
        "queue_bytes" | "history_bytes" | "history_total" | "max_message" | "max_body"
        | "header_bytes" => " bytes",
        "max_connections" | "max_connections_per_address" => " clients",
        "max_subscriptions" | "max_channels" => " channels",
        "max_fragments" => " fragments",
        "message_rate" => " frames a second",
        "message_burst" => " frames",
        "max_requests" => " requests",
        _ => "",
    }
}
