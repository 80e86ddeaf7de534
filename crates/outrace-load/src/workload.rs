//! The workload: the clients and their channels, the lines and their schedule.

use crate::cluster_layout::ClusterLayout;
use serde::Serialize;
use std::time::Duration;

/// The speed at which lines are fed.
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
            Rate::Lines(n) => write!(f, "{n} lines/s"),
            Rate::Max => f.write_str("max"),
            Rate::Window(n) => write!(f, "max, {n} lines in flight"),
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
    /// The speed at which lines are fed.
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
    /// There are broadcasts, which disconnect a client whose queue is full. Such a client
    /// reconnects, and its disconnection is no fault.
    #[serde(rename = "comes_back")]
    pub reconnects: bool,
    /// The server runs on core 0 and the generator on core 1.
    pub pin: bool,
    /// The number of relays in a row between the engine and the clients of [`System::Relay`].
    pub relay_levels: usize,
    /// The nodes of [`System::Cluster`](crate::System::Cluster).
    pub cluster: ClusterLayout,
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
    /// Clients subscribe with each combination of options in turn, instead of with
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
            relay_levels: 1,
            cluster: ClusterLayout::default(),
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

impl Workload {
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
}
