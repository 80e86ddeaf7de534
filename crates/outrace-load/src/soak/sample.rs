//! What is read of the server now and then: its own figures, and the kernel's about it.

use crate::http::Http;
use crate::server_process::{Memory, Usage};
use crate::target::Target;
use crate::watch::Scene;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of `GET /api/stats`, what a soak holds the server to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Figures {
    pub(crate) clients: u64,
    pub(crate) channels: u64,
    pub(crate) offered: u64,
    pub(crate) written: u64,
    pub(crate) queued: u64,
    pub(crate) skipped: u64,
    pub(crate) discarded: u64,
    pub(crate) connected: u64,
    pub(crate) closed: BTreeMap<String, u64>,
    pub(crate) panicked: u64,
}

impl Figures {
    pub(crate) fn ask(target: &Target) -> Result<Figures, String> {
        let body = get(target, "/api/stats")?;
        serde_json::from_slice(&body).map_err(|e| format!("could not read GET /api/stats: {e}"))
    }

    /// Connections that ended for `reason`.
    pub(crate) fn closed_for(&self, reason: &str) -> u64 {
        self.closed.get(reason).copied().unwrap_or(0)
    }
}

/// Channels that there are, with those that only have a history.
fn known_channels(target: &Target) -> Result<u64, String> {
    let body = get(target, "/api/channels")?;
    let channels: Vec<serde::de::IgnoredAny> = serde_json::from_slice(&body)
        .map_err(|e| format!("could not read GET /api/channels: {e}"))?;
    Ok(channels.len() as u64)
}

fn get(target: &Target, path: &str) -> Result<Vec<u8>, String> {
    match Http::connect(target)?.request("GET", path, b"")? {
        (200, body) => Ok(body),
        (status, _) => Err(format!("GET {path} is answered with {status}")),
    }
}

/// What must be the same before and after.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Level {
    pub(crate) figures: Figures,
    pub(crate) known_channels: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

impl Level {
    /// The connection that asks is gone when the descriptors are counted, or soon after: who wants to know looks again.
    pub(crate) fn read(scene: &Scene<'_>) -> Result<Level, String> {
        let known_channels = known_channels(scene.target)?;
        let figures = Figures::ask(scene.target)?;
        Ok(Level {
            figures,
            known_channels,
            descriptors: scene.server.map_or(0, |server| server.descriptors()),
            threads: scene.server.map_or(0, |server| server.threads()),
        })
    }

    /// Descriptors that are not a client's.
    pub(crate) fn own_descriptors(&self) -> u64 {
        self.descriptors.saturating_sub(self.figures.clients)
    }
}

/// One interval of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the first sample was begun.
    pub(crate) at: f64,
    /// Bytes of the server, and of this generator.
    pub(crate) anonymous: u64,
    pub(crate) generator_anonymous: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    pub(crate) clients: u64,
    pub(crate) channels: u64,
    pub(crate) queued: u64,
    /// Messages x clients handed to the kernel in this interval, and the server's CPU time for each.
    pub(crate) delivered: u64,
    pub(crate) cpu_ns: Option<f64>,
    /// Of the messages x clients offered in this interval, the share that was skipped.
    pub(crate) skipped_share: Option<f64>,
    /// Microseconds, of the lines to clients that read as fast as they can.
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    /// How late the generator's own sleeps ended, in microseconds: what the machine adds to each step of a line's way.
    pub(crate) late_p99: Option<u64>,
}

/// What differences are made of.
pub(crate) struct Reading {
    at: u64,
    usage: Option<Usage>,
    figures: Figures,
    memory: Memory,
    descriptors: u64,
    threads: u64,
}

impl Reading {
    pub(crate) fn take(scene: &Scene<'_>, at: u64) -> Result<Reading, String> {
        Ok(Reading {
            at,
            // The CPU first: asking for the figures costs the server some.
            usage: scene.server.map(|server| server.usage()),
            memory: scene
                .server
                .map_or_else(Memory::default, |server| server.memory()),
            descriptors: scene.server.map_or(0, |server| server.descriptors()),
            threads: scene.server.map_or(0, |server| server.threads()),
            figures: Figures::ask(scene.target)?,
        })
    }

    /// The interval from `earlier` to this.
    pub(crate) fn since(
        &self,
        earlier: &Reading,
        began: u64,
        latency: &Histogram<u64>,
        late: &Histogram<u64>,
    ) -> Sample {
        let quantile = |of: &Histogram<u64>, q| (!of.is_empty()).then(|| of.value_at_quantile(q));
        let grown = |figure: fn(&Figures) -> u64| {
            figure(&self.figures).saturating_sub(figure(&earlier.figures))
        };
        let (delivered, offered) = (grown(|f| f.written), grown(|f| f.offered));
        let cpu = self
            .usage
            .as_ref()
            .zip(earlier.usage.as_ref())
            .map(|(now, then)| now.since(then));
        Sample {
            at: self.at.saturating_sub(began) as f64 / 1e9,
            anonymous: self.memory.anonymous,
            generator_anonymous: Memory::of_this_process().anonymous,
            descriptors: self.descriptors,
            threads: self.threads,
            clients: self.figures.clients,
            channels: self.figures.channels,
            queued: self.figures.queued,
            delivered,
            cpu_ns: cpu
                .filter(|_| delivered > 0)
                .map(|ns| ns as f64 / delivered as f64),
            skipped_share: (offered > 0).then(|| grown(|f| f.skipped) as f64 / offered as f64),
            p50: quantile(latency, 0.5),
            p99: quantile(latency, 0.99),
            late_p99: quantile(late, 0.99),
        }
    }
}
