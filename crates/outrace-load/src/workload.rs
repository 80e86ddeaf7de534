//! The workload: how many clients listen to what, how the lines arrive, and for how long.

use crate::wire::stamp::STAMP_BYTES;
use serde::Serialize;
use std::time::Duration;

/// How fast lines are fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// This many lines per second over all channels.
    Lines(u64),
    /// As fast as the server reads, whatever it skips.
    Max,
    /// As fast as every client keeps up with. At most this many lines are on their way to the
    /// slowest client.
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

/// Clients that read slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SlowReaders {
    /// The number of such clients.
    pub clients: usize,
    /// The bytes that each of them reads per second.
    pub bytes_per_second: u64,
}

/// The options with which a client subscribes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SubscribeOptions {
    /// The server announces each gap. The client checks the announcements, and resumes where it
    /// left off when it reconnects.
    pub gaps: bool,
    /// The server sends runs of lines in one message.
    pub batch: bool,
}

impl SubscribeOptions {
    pub(crate) fn any(self) -> bool {
        self.gaps || self.batch
    }
}

/// The behavior of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRole {
    /// Reads as fast as it can.
    Reader,
    /// Subscribes, and does not read until all lines are fed.
    Stalled,
    /// Reads at most this many bytes per second until all lines are fed.
    Slow(u64),
    /// Joins, stays a while, leaves, and joins again.
    Churner,
    /// Joins and leaves like a churner, but resumes where it left off, and is connected at the end.
    Resumer,
}

/// One load: the clients, the lines, and the settings of the server.
///
/// ```
/// use outrace_load::{Rate, Workload};
///
/// let workload = Workload {
///     subscribers: 500,
///     rate: Rate::Lines(2_000),
///     ..Workload::default()
/// };
/// assert!(workload.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// The title in reports. An empty title is replaced by the rate, the subscribers and the line
    /// length.
    pub name: String,
    /// Clients that stay for the whole run.
    pub subscribers: usize,
    /// Channels, with one publisher each.
    pub channels: usize,
    /// Channels to which each client subscribes.
    #[serde(rename = "per_client")]
    pub channels_per_client: usize,
    /// How fast lines are fed.
    pub rate: Rate,
    /// The length of a line in bytes, without its end. A line holds at least the stamp of 35 bytes.
    pub line_bytes: usize,
    /// Lines that are due at the same moment.
    #[serde(rename = "burst")]
    pub burst_lines: u64,
    /// The measured time in seconds.
    pub seconds: f64,
    /// The time before that in seconds. Its lines are checked and counted, but not measured.
    #[serde(rename = "warmup")]
    pub warmup_seconds: f64,
    /// The number of subscribers that do not read while lines flow.
    pub stalled: usize,
    /// The subscribers that read slowly.
    pub slow: Option<SlowReaders>,
    /// Clients beside the subscribers that join and leave all the time.
    pub churn: usize,
    /// The time for which such a client stays.
    pub churn_stay: Duration,
    /// The time after which a stalled client reads for a while. Without it, a stalled client reads
    /// nothing while lines flow.
    pub stall: Option<Duration>,
    /// Whether there are broadcasts, which disconnect a client whose queue is full. Such a client
    /// reconnects, and its disconnection is no fault.
    #[serde(rename = "comes_back")]
    pub reconnects: bool,
    /// Whether the server runs on core 0 and the generator on core 1.
    pub pin: bool,
    /// Messages that may wait for one client, in the engine and in the baseline.
    #[serde(rename = "queue")]
    pub queue_messages: Option<usize>,
    /// Bytes that may wait for one client, in the engine.
    pub queue_bytes: Option<usize>,
    /// The longest flush interval of the engine.
    pub max_flush_interval: Option<Duration>,
    /// Messages of a channel that the engine keeps.
    #[serde(rename = "history")]
    pub history_messages: Option<usize>,
    /// The options with which every client subscribes.
    #[serde(rename = "wish")]
    pub subscribe_options: SubscribeOptions,
    /// Whether clients subscribe with each combination of options in turn, instead of with
    /// `subscribe_options`.
    #[serde(rename = "mix")]
    pub mixed_subscriptions: bool,
    /// Receiver threads.
    pub threads: usize,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            name: String::new(),
            subscribers: 100,
            channels: 1,
            channels_per_client: 1,
            rate: Rate::Lines(10_000),
            line_bytes: 100,
            burst_lines: 1,
            seconds: 5.0,
            warmup_seconds: 1.0,
            stalled: 0,
            slow: None,
            churn: 0,
            churn_stay: Duration::from_millis(500),
            stall: None,
            reconnects: false,
            pin: false,
            queue_messages: None,
            queue_bytes: None,
            max_flush_interval: None,
            history_messages: None,
            subscribe_options: SubscribeOptions::default(),
            mixed_subscriptions: false,
            threads: 1,
        }
    }
}

/// The longest line in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
/// The most channels: a stamp has 16 bits for the publisher.
const MAX_CHANNELS: usize = 65_536;
const MAX_SECONDS: f64 = 86_400.0;
const MAX_WARMUP_SECONDS: f64 = 3_600.0;

/// The reason why a workload can't be run. Its message names the fields of [`Workload`] in
/// backticks, and a window rate `window`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// No client listens.
    #[error("no client would listen: `subscribers` must be at least 1")]
    NoClients,
    /// The number of channels is out of range.
    #[error("`channels` must be between 1 and {MAX_CHANNELS}, not {0}")]
    Channels(usize),
    /// A client can't subscribe to that many channels.
    #[error("`channels_per_client` must be between 1 and `channels` ({channels}), not {given}")]
    ChannelsPerClient {
        /// The number of channels.
        channels: usize,
        /// The number as given.
        given: usize,
    },
    /// The line length is out of range.
    #[error("`line_bytes` must be between {STAMP_BYTES} (the stamp) and {MAX_LINE_BYTES}, not {0}")]
    LineBytes(usize),
    /// The rate or the window is 0.
    #[error("`rate` and `window` must be at least 1")]
    Rate,
    /// The burst is empty.
    #[error("`burst_lines` must be at least 1")]
    Burst,
    /// There is no receiver thread.
    #[error("`threads` must be at least 1")]
    Threads,
    /// The measured time is out of range.
    #[error("`seconds` must be more than 0 and at most {MAX_SECONDS}, not {0}")]
    Seconds(f64),
    /// The warm-up is out of range.
    #[error("`warmup_seconds` must be between 0 and {MAX_WARMUP_SECONDS}, not {0}")]
    Warmup(f64),
    /// More subscribers are stalled or slow than there are.
    #[error("`stalled` and `slow` name {named} clients, but `subscribers` is {subscribers}")]
    TooManySpecialClients {
        /// The stalled and slow clients.
        named: usize,
        /// All subscribers.
        subscribers: usize,
    },
    /// A window waits for clients that do not read.
    #[error("`window` waits for the slowest client: leave out `stalled` and `slow`")]
    WindowWithSlowClients,
    /// A channel may disappear with its last subscriber, and its numbering with it.
    #[error("`gaps` with `churn` needs a client that stays in every channel: raise `subscribers`")]
    ResumeWithoutSteadyClient,
    /// Slow clients read nothing.
    #[error("`slow` with 0 bytes per second is the same as `stalled`")]
    SlowWithoutBytes,
}

impl Workload {
    /// Checks that the workload can be run.
    ///
    /// # Errors
    ///
    /// Fails with the first setting that is out of range or contradicts another one.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let special = self.stalled + self.slow.map_or(0, |slow| slow.clients);
        let error = if self.subscribers + self.churn == 0 {
            WorkloadError::NoClients
        } else if self.channels == 0 || self.channels > MAX_CHANNELS {
            WorkloadError::Channels(self.channels)
        } else if self.channels_per_client == 0 || self.channels_per_client > self.channels {
            WorkloadError::ChannelsPerClient {
                channels: self.channels,
                given: self.channels_per_client,
            }
        } else if self.line_bytes < STAMP_BYTES || self.line_bytes > MAX_LINE_BYTES {
            WorkloadError::LineBytes(self.line_bytes)
        } else if matches!(self.rate, Rate::Lines(0) | Rate::Window(0)) {
            WorkloadError::Rate
        } else if self.burst_lines == 0 {
            WorkloadError::Burst
        } else if self.threads == 0 {
            WorkloadError::Threads
        } else if !(self.seconds > 0.0 && self.seconds <= MAX_SECONDS) {
            WorkloadError::Seconds(self.seconds)
        } else if !(self.warmup_seconds >= 0.0 && self.warmup_seconds <= MAX_WARMUP_SECONDS) {
            WorkloadError::Warmup(self.warmup_seconds)
        } else if special > self.subscribers {
            WorkloadError::TooManySpecialClients {
                named: special,
                subscribers: self.subscribers,
            }
        } else if matches!(self.rate, Rate::Window(_)) && special > 0 {
            WorkloadError::WindowWithSlowClients
        } else if self.resumes() && self.subscribers * self.channels_per_client < self.channels {
            WorkloadError::ResumeWithoutSteadyClient
        } else if self.slow.is_some_and(|slow| slow.bytes_per_second == 0) {
            WorkloadError::SlowWithoutBytes
        } else {
            return Ok(());
        };
        Err(error)
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

    /// Returns the first channel of client `number`.
    pub(crate) fn first_channel(&self, number: usize) -> usize {
        number * self.channels_per_client % self.channels
    }

    /// Returns the channels of client `number`: consecutive ones, which wrap around at the end.
    pub(crate) fn channels_of(&self, number: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, channels) = (self.first_channel(number), self.channels);
        (0..self.channels_per_client).map(move |i| (first + i) % channels)
    }

    /// Returns the index of `channel` among the channels of a client whose first channel is
    /// `first`.
    ///
    /// The index is `channels_per_client` or more if the client has not subscribed to it.
    #[inline]
    pub(crate) fn channel_index(first: usize, channel: usize, channels: usize) -> usize {
        if channel >= first {
            channel - first
        } else {
            channel + channels - first
        }
    }

    pub(crate) fn role(&self, number: usize) -> ClientRole {
        let slow = self.slow.map_or(0, |slow| slow.clients);
        if number >= self.subscribers {
            if self.subscribe_options_of(number).gaps {
                ClientRole::Resumer
            } else {
                ClientRole::Churner
            }
        } else if number < self.stalled {
            ClientRole::Stalled
        } else if number < self.stalled + slow {
            ClientRole::Slow(self.slow.map_or(0, |slow| slow.bytes_per_second))
        } else {
            ClientRole::Reader
        }
    }

    /// Returns the options with which client `number` subscribes.
    pub(crate) fn subscribe_options_of(&self, number: usize) -> SubscribeOptions {
        match (self.mixed_subscriptions, number % 4) {
            (false, _) => self.subscribe_options,
            (true, turn) => SubscribeOptions {
                gaps: turn == 1 || turn == 2,
                batch: turn >= 2,
            },
        }
    }

    /// Returns whether some clients leave, join again and resume.
    pub(crate) fn resumes(&self) -> bool {
        self.resumers().next().is_some()
    }

    pub(crate) fn resumers(&self) -> impl Iterator<Item = usize> + '_ {
        (self.subscribers..self.clients()).filter(|number| self.subscribe_options_of(*number).gaps)
    }

    pub(crate) fn clients(&self) -> usize {
        self.subscribers + self.churn
    }

    /// Returns the number of clients that have a role.
    pub(crate) fn count_role(&self, wanted: fn(ClientRole) -> bool) -> usize {
        (0..self.clients())
            .filter(|number| wanted(self.role(*number)))
            .count()
    }

    /// Returns the lines of `channel` when `total` lines were distributed over the channels.
    pub(crate) fn published(&self, total: u64, channel: usize) -> u64 {
        let channels = self.channels as u64;
        total / channels + u64::from((channel as u64) < total % channels)
    }

    /// Returns the deliveries due to a steady client when `total` lines were published.
    pub(crate) fn due(&self, total: u64, number: usize) -> u64 {
        self.channels_of(number)
            .map(|channel| self.published(total, channel))
            .sum()
    }

    /// Returns the deliveries due to all steady clients when `total` lines were published.
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
            channels in 1usize..60, per_client in 1usize..60, number in 0usize..200
        ) {
            let workload = Workload { channels, channels_per_client: per_client.min(channels), ..Workload::default() };
            let own: Vec<usize> = workload.channels_of(number).collect();
            for channel in 0..channels {
                let index = Workload::channel_index(workload.first_channel(number), channel, channels);
                match own.iter().position(|c| *c == channel) {
                    Some(at) => prop_assert_eq!(index, at),
                    None => prop_assert!(index >= workload.channels_per_client),
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
            slow: Some(SlowReaders {
                clients: 3,
                bytes_per_second: 9,
            }),
            churn: 1,
            ..Workload::default()
        };
        workload.check().unwrap();
        let roles: Vec<ClientRole> = (0..workload.clients()).map(|n| workload.role(n)).collect();
        assert_eq!(
            roles.iter().filter(|r| **r == ClientRole::Stalled).count(),
            2
        );
        assert_eq!(
            roles.iter().filter(|r| **r == ClientRole::Slow(9)).count(),
            3
        );
        assert_eq!(
            roles.iter().filter(|r| **r == ClientRole::Reader).count(),
            5
        );
        assert_eq!(roles[10], ClientRole::Churner);
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
                "`subscribers`",
            ),
            (
                Workload {
                    line_bytes: 20,
                    ..base()
                },
                "`line_bytes`",
            ),
            (
                Workload {
                    channels_per_client: 2,
                    ..base()
                },
                "`channels_per_client`",
            ),
            (
                Workload {
                    stalled: 101,
                    ..base()
                },
                "`stalled`",
            ),
            (
                Workload {
                    rate: Rate::Lines(0),
                    ..base()
                },
                "`rate`",
            ),
            (
                Workload {
                    rate: Rate::Window(9),
                    stalled: 1,
                    ..base()
                },
                "`window`",
            ),
            (
                Workload {
                    seconds: f64::NAN,
                    ..base()
                },
                "`seconds`",
            ),
        ] {
            let refusal = workload.check().unwrap_err().to_string();
            assert!(refusal.contains(says), "{refusal}");
            assert!(!refusal.contains('\n'));
        }
    }
}
