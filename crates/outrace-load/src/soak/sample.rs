//! Readings of the server while a soak runs: its own stats, and those of the kernel.

use super::error::SoakError;
use crate::run::observer::RoundView;
use crate::server::usage::{CpuUsage, ProcessMemory};
use crate::wire::http::HttpConnection;
use crate::wire::target::Target;
use hdrhistogram::Histogram;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The figures of `GET /api/stats` that a soak checks.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct SoakStats {
    pub(super) clients: u64,
    pub(super) channels: u64,
    pub(super) offered: u64,
    pub(super) written: u64,
    pub(super) queued: u64,
    pub(super) skipped: u64,
    pub(super) discarded: u64,
    pub(super) connected: u64,
    pub(super) closed: BTreeMap<String, u64>,
    pub(super) panicked: u64,
}

impl SoakStats {
    pub(super) fn fetch(target: &Target) -> Result<SoakStats, SoakError> {
        fetch_json(target, "/api/stats")
    }

    /// Returns the number of connections that ended for `reason`.
    pub(super) fn closed_for(&self, reason: &str) -> u64 {
        self.closed.get(reason).copied().unwrap_or(0)
    }
}

fn fetch_json<T: DeserializeOwned>(target: &Target, path: &'static str) -> Result<T, SoakError> {
    let body = HttpConnection::connect(target)?.expect("GET", path, b"", 200)?;
    serde_json::from_slice(&body).map_err(|error| SoakError::Json { path, error })
}

/// The figures that must be the same before and after a soak.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerLevel {
    pub(super) stats: SoakStats,
    /// All channels, including those that only have a history.
    pub(super) known_channels: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

impl ServerLevel {
    /// Reads the level.
    ///
    /// The server may still count the descriptor of the connection that fetched the stats. A
    /// later reading is then lower.
    pub(super) fn read(view: &RoundView<'_>) -> Result<ServerLevel, SoakError> {
        let channels: Vec<IgnoredAny> = fetch_json(view.target, "/api/channels")?;
        let known_channels = channels.len() as u64;
        let stats = SoakStats::fetch(view.target)?;
        Ok(ServerLevel {
            stats,
            known_channels,
            descriptors: view.server.map_or(0, |server| server.descriptors()),
            threads: view.server.map_or(0, |server| server.threads()),
        })
    }

    /// Returns the descriptors that belong to no client.
    pub(super) fn own_descriptors(&self) -> u64 {
        self.descriptors.saturating_sub(self.stats.clients)
    }
}

/// One interval of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    /// Seconds since the soak began.
    pub(super) at: f64,
    /// The memory of the server in bytes that is no file.
    pub(super) anonymous: u64,
    /// The same of this generator.
    pub(super) generator_anonymous: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    pub(super) clients: u64,
    pub(super) channels: u64,
    pub(super) queued: u64,
    /// Messages x clients handed to the kernel in this interval.
    pub(super) delivered: u64,
    /// The server's CPU time per delivered message.
    pub(super) cpu_ns: Option<f64>,
    /// The skipped share of the messages x clients offered in this interval.
    pub(super) skipped_share: Option<f64>,
    /// Latencies in microseconds of the lines to clients that read as fast as they can.
    pub(super) p50: Option<u64>,
    pub(super) p99: Option<u64>,
    /// The lateness of the generator's own sleeps in microseconds. The machine adds as much to each
    /// step of a line.
    pub(super) late_p99: Option<u64>,
}

/// A reading of the server. A sample is the difference of two.
pub(super) struct ServerReading {
    at_ns: u64,
    usage: Option<CpuUsage>,
    stats: SoakStats,
    memory: ProcessMemory,
    descriptors: u64,
    threads: u64,
}

impl ServerReading {
    pub(super) fn take(view: &RoundView<'_>, at_ns: u64) -> Result<ServerReading, SoakError> {
        Ok(ServerReading {
            at_ns,
            // The CPU time comes first, since fetching the figures costs the server some.
            usage: view.server.map(|server| server.cpu_usage()),
            memory: view
                .server
                .map_or_else(ProcessMemory::default, |server| server.memory()),
            descriptors: view.server.map_or(0, |server| server.descriptors()),
            threads: view.server.map_or(0, |server| server.threads()),
            stats: SoakStats::fetch(view.target)?,
        })
    }

    /// Returns the sample of the interval from `earlier` to this reading.
    pub(super) fn since(
        &self,
        earlier: &ServerReading,
        began_ns: u64,
        latency_us: &Histogram<u64>,
        late_us: &Histogram<u64>,
    ) -> Sample {
        let quantile = |of: &Histogram<u64>, q| (!of.is_empty()).then(|| of.value_at_quantile(q));
        let grown = |figure: fn(&SoakStats) -> u64| {
            figure(&self.stats).saturating_sub(figure(&earlier.stats))
        };
        let (delivered, offered) = (grown(|f| f.written), grown(|f| f.offered));
        let cpu = self
            .usage
            .as_ref()
            .zip(earlier.usage.as_ref())
            .map(|(now, then)| now.used_ns_since(then));
        Sample {
            at: self.at_ns.saturating_sub(began_ns) as f64 / 1e9,
            anonymous: self.memory.anonymous,
            generator_anonymous: ProcessMemory::of_this_process().anonymous,
            descriptors: self.descriptors,
            threads: self.threads,
            clients: self.stats.clients,
            channels: self.stats.channels,
            queued: self.stats.queued,
            delivered,
            cpu_ns: cpu
                .filter(|_| delivered > 0)
                .map(|ns| ns as f64 / delivered as f64),
            skipped_share: (offered > 0).then(|| grown(|f| f.skipped) as f64 / offered as f64),
            p50: quantile(latency_us, 0.5),
            p99: quantile(latency_us, 0.99),
            late_p99: quantile(late_us, 0.99),
        }
    }
}
