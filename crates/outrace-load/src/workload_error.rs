//! Checks a workload before it runs.

use crate::cluster_layout::BrokerKind;
use crate::wire::stamp::STAMP_BYTES;
use crate::workload::{Rate, Workload};

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
    #[error(
        "`line_bytes` must be between {STAMP_BYTES} bytes (the stamp) and {MAX_LINE_BYTES} bytes, \
         not {0}"
    )]
    LineBytes(usize),
    /// The rate or the window is 0.
    #[error("`rate` must be at least 1 line per second, and `window` at least 1 line")]
    Rate,
    /// The burst is empty.
    #[error("`burst_lines` must be at least 1 line")]
    Burst,
    /// There is no receiver thread.
    #[error("`threads` must be at least 1")]
    Threads,
    /// The measured time is out of range.
    #[error("`seconds` must be more than 0 s and at most {MAX_SECONDS} s, not {0} s")]
    Seconds(f64),
    /// The warm-up is out of range.
    #[error("`warmup_seconds` must be between 0 s and {MAX_WARMUP_SECONDS} s, not {0} s")]
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
    /// A cluster has too few nodes.
    #[error("a cluster has at least 2 nodes, so `cluster` can't be {0}")]
    Nodes(usize),
    /// The homes are out of range.
    #[error("`homes` must be between 1 and the nodes ({nodes}) and the channels ({channels})")]
    Homes {
        /// The nodes.
        nodes: usize,
        /// The channels.
        channels: usize,
    },
    /// Relays have one home, no broker, and no list that they share.
    #[error(
        "relays have one home, no broker and no common list: leave out `homes`, `durable`, \
         `broker_stop` and `directory`"
    )]
    RelayWithoutBroker,
    /// The broker would not be back before the end.
    #[error("`broker_stop` must end within 0.7 of the measured `seconds`")]
    BrokerStop,
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
        } else if let Some(error) = self.check_cluster() {
            error
        } else if self.slow.is_some_and(|slow| slow.bytes_per_second == 0) {
            WorkloadError::SlowWithoutBytes
        } else {
            return Ok(());
        };
        Err(error)
    }

    fn check_cluster(&self) -> Option<WorkloadError> {
        let layout = &self.cluster;
        let stop = layout.broker_stop.map_or(0.0, |stop| stop.as_secs_f64());
        let needs_broker = layout.homes > 1 || layout.durable || stop > 0.0;
        if layout.nodes < 2 {
            Some(WorkloadError::Nodes(layout.nodes))
        } else if layout.homes == 0 || layout.homes > layout.nodes.min(self.channels) {
            Some(WorkloadError::Homes {
                nodes: layout.nodes,
                channels: self.channels,
            })
        } else if layout.broker == BrokerKind::Relay && needs_broker {
            Some(WorkloadError::RelayWithoutBroker)
        } else if stop > 0.7 * self.seconds {
            Some(WorkloadError::BrokerStop)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
