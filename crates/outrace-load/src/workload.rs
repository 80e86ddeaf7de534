//! What is measured: how many listen to what, how the lines come, how long. Checked once, then only read.

use crate::stamp::STAMP_BYTES;
use serde::Serialize;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rate {
    /// Lines per second over all channels.
    Lines(u64),
    /// As fast as the server reads, whatever it skips.
    Max,
    /// As fast as every client keeps up with: at most this many lines on their way to the slowest.
    Window(u64),
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rate::Lines(n) => write!(f, "{n}/s"),
            Rate::Max => f.write_str("max"),
            Rate::Window(n) => write!(f, "max, {n} in flight"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Slow {
    pub(crate) clients: usize,
    pub(crate) bytes_per_second: u64,
}

/// What a client asks for when it subscribes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SubscribeOptions {
    pub(crate) gaps: bool,
    pub(crate) batch: bool,
}

impl SubscribeOptions {
    pub(crate) fn any(self) -> bool {
        self.gaps || self.batch
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Reader,
    /// Subscribes and does not read until the feeding is over.
    Stalled,
    /// Reads no more than this many bytes per second until the feeding is over.
    Slow(u64),
    /// Joins, stays a while, leaves, joins again.
    Churner,
    /// The same, but asks for what it missed meanwhile, and is there at the end.
    Resumer,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) subscribers: usize,
    pub(crate) channels: usize,
    /// Channels each client subscribes to.
    pub(crate) per_client: usize,
    pub(crate) rate: Rate,
    pub(crate) line_bytes: usize,
    /// Lines that are due at the same moment.
    pub(crate) burst: u64,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    /// Of the subscribers, how many never read while lines flow.
    pub(crate) stalled: usize,
    pub(crate) slow: Option<Slow>,
    /// Clients beside the subscribers that come and go.
    pub(crate) churn: usize,
    pub(crate) churn_stay: Duration,
    /// How long the stalled do not read before they read for a while; not at all while lines flow where this is not set.
    pub(crate) stall: Option<Duration>,
    /// There are messages for everybody: whose queue is full is disconnected, and comes back.
    pub(crate) comes_back: bool,
    pub(crate) pin: bool,
    pub(crate) queue: Option<usize>,
    pub(crate) queue_bytes: Option<usize>,
    pub(crate) max_flush_interval: Option<Duration>,
    /// Messages of a channel that the server keeps.
    pub(crate) history: Option<usize>,
    /// What clients ask for, in turn; with `mix`, all that there is.
    pub(crate) wish: SubscribeOptions,
    pub(crate) mix: bool,
    /// Receiver threads.
    pub(crate) threads: usize,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            name: "load".to_owned(),
            subscribers: 100,
            channels: 1,
            per_client: 1,
            rate: Rate::Lines(10_000),
            line_bytes: 100,
            burst: 1,
            seconds: 5.0,
            warmup: 1.0,
            stalled: 0,
            slow: None,
            churn: 0,
            churn_stay: Duration::from_millis(500),
            stall: None,
            comes_back: false,
            pin: false,
            queue: None,
            queue_bytes: None,
            max_flush_interval: None,
            history: None,
            wish: SubscribeOptions::default(),
            mix: false,
            threads: 1,
        }
    }
}

impl Workload {
    /// The reason this can't be run, as one sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let unreadable = self.stalled + self.slow.map_or(0, |slow| slow.clients);
        let wrong = if self.subscribers + self.churn == 0 {
            "nobody would listen: give --subscribers at least 1".to_owned()
        } else if self.channels == 0 || self.channels > 65_536 {
            format!(
                "--channels must be between 1 and 65536, not {}",
                self.channels
            )
        } else if self.per_client == 0 || self.per_client > self.channels {
            format!(
                "--per-client must be between 1 and --channels ({}), not {}",
                self.channels, self.per_client
            )
        } else if self.line_bytes < STAMP_BYTES || self.line_bytes > 1 << 20 {
            format!(
                "--line-bytes must be between {STAMP_BYTES} (the stamp) and 1048576, not {}",
                self.line_bytes
            )
        } else if matches!(self.rate, Rate::Lines(0) | Rate::Window(0)) {
            "--rate and --window must be at least 1".to_owned()
        } else if self.burst == 0 {
            "--burst must be at least 1".to_owned()
        } else if self.threads == 0 {
            "--threads must be at least 1".to_owned()
        } else if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            format!(
                "--seconds must be more than 0 and at most 86400, not {}",
                self.seconds
            )
        } else if !(self.warmup >= 0.0 && self.warmup <= 3_600.0) {
            format!(
                "--warmup must be between 0 and 3600 seconds, not {}",
                self.warmup
            )
        } else if unreadable > self.subscribers {
            format!(
                "--stalled and --slow name {unreadable} clients, but --subscribers is {}",
                self.subscribers
            )
        } else if matches!(self.rate, Rate::Window(_)) && unreadable > 0 {
            "--window waits for the slowest client: leave out --stalled and --slow".to_owned()
        } else if self.resumes() && self.subscribers * self.per_client < self.channels {
            // A channel may vanish with its last subscriber, and its numbering with it.
            "--gaps with --churn needs a client that stays in every channel: give more --subscribers"
                .to_owned()
        } else if self.slow.is_some_and(|slow| slow.bytes_per_second == 0) {
            "--slow with 0 bytes per second is --stalled".to_owned()
        } else {
            return Ok(());
        };
        Err(wrong)
    }

    pub(crate) fn process_id(&self, channel: usize) -> String {
        if self.channels == 1 {
            "load".to_owned()
        } else {
            format!("load-{channel}")
        }
    }

    pub(crate) fn channel_name(&self, channel: usize) -> String {
        format!("process:{}", self.process_id(channel))
    }

    /// The channels client `number` subscribes to: `per_client` in a row, round the end.
    pub(crate) fn first_channel(&self, number: usize) -> usize {
        number * self.per_client % self.channels
    }

    pub(crate) fn channels_of(&self, number: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, channels) = (self.first_channel(number), self.channels);
        (0..self.per_client).map(move |i| (first + i) % channels)
    }

    /// Where `channel` stands among those of a client whose first is `first`; beyond `per_client` if not at all.
    #[inline]
    pub(crate) fn slot(first: usize, channel: usize, channels: usize) -> usize {
        if channel >= first {
            channel - first
        } else {
            channel + channels - first
        }
    }

    pub(crate) fn role(&self, number: usize) -> Role {
        let slow = self.slow.map_or(0, |slow| slow.clients);
        if number >= self.subscribers {
            if self.wish(number).gaps {
                Role::Resumer
            } else {
                Role::Churner
            }
        } else if number < self.stalled {
            Role::Stalled
        } else if number < self.stalled + slow {
            Role::Slow(self.slow.map_or(0, |slow| slow.bytes_per_second))
        } else {
            Role::Reader
        }
    }

    /// What client `number` asks for.
    pub(crate) fn wish(&self, number: usize) -> SubscribeOptions {
        match (self.mix, number % 4) {
            (false, _) => self.wish,
            (true, turn) => SubscribeOptions {
                gaps: turn == 1 || turn == 2,
                batch: turn >= 2,
            },
        }
    }

    /// Whether there are clients that come and go and ask for what they missed.
    pub(crate) fn resumes(&self) -> bool {
        self.resumers().next().is_some()
    }

    pub(crate) fn resumers(&self) -> impl Iterator<Item = usize> + '_ {
        (self.subscribers..self.clients()).filter(|number| self.wish(*number).gaps)
    }

    /// Deliveries due to one client that is there all the time, when `total` lines were published.
    pub(crate) fn due(&self, total: u64, number: usize) -> u64 {
        self.channels_of(number)
            .map(|channel| self.published(total, channel))
            .sum()
    }

    pub(crate) fn clients(&self) -> usize {
        self.subscribers + self.churn
    }

    /// Lines of `channel` when `total` lines went round the channels.
    pub(crate) fn published(&self, total: u64, channel: usize) -> u64 {
        let channels = self.channels as u64;
        total / channels + u64::from((channel as u64) < total % channels)
    }

    /// Deliveries due to the clients that stay, when `total` lines were published.
    pub(crate) fn expected(&self, total: u64) -> u64 {
        (0..self.subscribers)
            .map(|number| self.due(total, number))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_client_finds_exactly_its_own_channels(
            channels in 1usize..60, share in 1usize..60, number in 0usize..200
        ) {
            let workload = Workload { channels, per_client: share.min(channels), ..Workload::default() };
            let own: Vec<usize> = workload.channels_of(number).collect();
            for channel in 0..channels {
                let slot = Workload::slot(workload.first_channel(number), channel, channels);
                match own.iter().position(|c| *c == channel) {
                    Some(at) => prop_assert_eq!(slot, at),
                    None => prop_assert!(slot >= workload.per_client),
                }
            }
        }

        #[test]
        fn the_channels_lines_add_up_to_all_lines(channels in 1usize..50, total in 0u64..5_000) {
            let workload = Workload { channels, ..Workload::default() };
            let sum: u64 = (0..channels).map(|c| workload.published(total, c)).sum();
            prop_assert_eq!(sum, total);
        }
    }

    #[test]
    fn roles_are_given_out_as_asked() {
        let workload = Workload {
            subscribers: 10,
            stalled: 2,
            slow: Some(Slow {
                clients: 3,
                bytes_per_second: 9,
            }),
            churn: 1,
            ..Workload::default()
        };
        workload.check().unwrap();
        let roles: Vec<Role> = (0..workload.clients()).map(|n| workload.role(n)).collect();
        assert_eq!(roles.iter().filter(|r| **r == Role::Stalled).count(), 2);
        assert_eq!(roles.iter().filter(|r| **r == Role::Slow(9)).count(), 3);
        assert_eq!(roles.iter().filter(|r| **r == Role::Reader).count(), 5);
        assert_eq!(roles[10], Role::Churner);
    }

    #[test]
    fn what_cannot_be_run_is_refused_in_one_sentence() {
        let base = Workload::default;
        for (workload, says) in [
            (
                Workload {
                    subscribers: 0,
                    ..base()
                },
                "--subscribers",
            ),
            (
                Workload {
                    line_bytes: 20,
                    ..base()
                },
                "--line-bytes",
            ),
            (
                Workload {
                    per_client: 2,
                    ..base()
                },
                "--per-client",
            ),
            (
                Workload {
                    stalled: 101,
                    ..base()
                },
                "--stalled",
            ),
            (
                Workload {
                    rate: Rate::Lines(0),
                    ..base()
                },
                "--rate",
            ),
            (
                Workload {
                    rate: Rate::Window(9),
                    stalled: 1,
                    ..base()
                },
                "--window",
            ),
            (
                Workload {
                    seconds: f64::NAN,
                    ..base()
                },
                "--seconds",
            ),
        ] {
            let refusal = workload.check().unwrap_err();
            assert!(refusal.contains(says), "{refusal}");
            assert!(!refusal.contains('\n'));
        }
    }
}
