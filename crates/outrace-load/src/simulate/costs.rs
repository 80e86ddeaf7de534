//! The costs of blocks, lines, viewers and hops, measured on this machine.

use super::fit::fit;
use super::model::MIN_FLUSHES_PER_SECOND;
use crate::cluster_layout::{BrokerKind, ClusterLayout, Placement};
use crate::error::LoadError;
use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::run::error::RunError;
use crate::run::outcome::{LatencySummary, NodeOutcome, Outcome};
use crate::run::plan::Plan;
use crate::server::system::System;
use crate::workload::{Rate, Workload};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The rates and the viewers of the runs that measure one server.
const RATES: [u64; 2] = [2_000, 10_000];
const VIEWERS: [usize; 3] = [10, 50, 150];

/// The viewers at each mirror of the runs that measure a hop, and the numbers of mirrors.
const MIRROR_VIEWERS: usize = 30;
const MIRRORS: [usize; 2] = [1, 3];

/// Constants of one machine, one length of lines and one kind of broker. All times are CPU time
/// unless they are latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    pub(crate) broker: BrokerKind,
    pub(crate) line_bytes: usize,
    /// Nanoseconds of a server with viewers per line, per flushed block, per block and viewer, and
    /// per line and viewer.
    pub(crate) line_ns: f64,
    pub(crate) block_ns: f64,
    pub(crate) viewer_block_ns: f64,
    pub(crate) viewer_line_ns: f64,
    /// Nanoseconds of a mirror per line and per block, beside those of its viewers.
    pub(crate) hop_line_ns: f64,
    pub(crate) hop_block_ns: f64,
    /// Nanoseconds of a home without viewers per line, per block, and per block and mirror.
    pub(crate) home_line_ns: f64,
    pub(crate) home_block_ns: f64,
    pub(crate) link_block_ns: f64,
    /// Nanoseconds of the broker per line that comes or goes, per block, and per block and mirror.
    pub(crate) broker_line_ns: f64,
    pub(crate) broker_block_ns: f64,
    pub(crate) broker_link_block_ns: f64,
    /// Bytes of a line to a viewer.
    pub(crate) viewer_line_bytes: f64,
    /// Microseconds of latency of one server with few viewers, and those that a hop adds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) hop_p50_us: f64,
    pub(crate) hop_p99_us: f64,
    /// The viewers of the server whose latency that is.
    pub(crate) latency_viewers: usize,
}

impl Costs {
    /// Reads the costs from the JSON of an earlier simulation.
    pub(crate) fn read(path: &Path) -> Result<Costs, LoadError> {
        #[derive(Deserialize)]
        struct Earlier {
            costs: Costs,
        }
        let failed = |error| LoadError::Costs {
            path: path.to_owned(),
            error,
        };
        let text = std::fs::read(path).map_err(failed)?;
        let earlier: Earlier =
            serde_json::from_slice(&text).map_err(|error| failed(std::io::Error::other(error)))?;
        Ok(earlier.costs)
    }
}

/// Measures all costs.
pub(super) fn measure(options: &LoadOptions, progress: &Progress) -> Result<Costs, RunError> {
    let settings = &options.workload;
    let mut factors = Vec::new();
    let mut cpu = Vec::new();
    let mut viewer_line_bytes = 0.0;
    let mut alone = None;
    for rate in RATES {
        for viewers in VIEWERS {
            let workload = Workload {
                name: format!("costs of one server, {rate} lines/s to {viewers} viewers"),
                rate: Rate::Lines(rate),
                subscribers: viewers,
                ..settings.clone()
            };
            let outcome = run(options, System::Engine, workload, progress)?;
            let blocks = blocks_per_second(&outcome, viewers);
            let (lines, viewers) = (rate as f64, viewers as f64);
            factors.push([lines, blocks, viewers * blocks, viewers * lines]);
            cpu.push(outcome.server_cores.unwrap_or(0.0) * 1e9);
            viewer_line_bytes = outcome.bytes_per_delivered.unwrap_or(viewer_line_bytes);
            if rate == RATES[1] && viewers as usize == VIEWERS[0] {
                alone = outcome.latency_us;
            }
        }
    }
    let [line_ns, block_ns, viewer_block_ns, viewer_line_ns] = fit(&factors, &cpu);

    let mut home = (Vec::new(), Vec::new());
    let mut broker = (Vec::new(), Vec::new());
    let mut mirror = (Vec::new(), Vec::new());
    let mut hop = None;
    for (rate, mirrors) in [
        (RATES[0], MIRRORS[0]),
        (RATES[0], MIRRORS[1]),
        (RATES[1], MIRRORS[0]),
        (RATES[1], MIRRORS[1]),
    ] {
        let outcome = run(
            options,
            System::Cluster,
            with_mirrors(settings, rate, mirrors, MIRROR_VIEWERS),
            progress,
        )?;
        let lines = rate as f64;
        let per_second = |node: &NodeOutcome| node.cores * 1e9;
        for node in &outcome.nodes {
            let links = mirrors as f64;
            let is_home = node.name == "home";
            let readers = if is_home {
                links
            } else {
                MIRROR_VIEWERS as f64
            };
            let has_broker = settings.cluster.broker != BrokerKind::Relay;
            let blocks = match node.writes_per_second {
                // Blocks for a broker are no writes to clients.
                Some(writes) if writes > 0.0 && !(is_home && has_broker) => writes / readers,
                _ => MIN_FLUSHES_PER_SECOND,
            };
            match node.name.as_str() {
                "home" => {
                    home.0.push([lines, blocks, blocks * links]);
                    home.1.push(per_second(node));
                }
                "broker" => {
                    broker
                        .0
                        .push([lines * (1.0 + links), blocks, blocks * links]);
                    broker.1.push(per_second(node));
                }
                _ => {
                    let viewers = MIRROR_VIEWERS as f64;
                    let viewing = viewers * (viewer_block_ns * blocks + viewer_line_ns * lines);
                    mirror.0.push([lines, blocks]);
                    mirror.1.push(per_second(node) - viewing);
                    if rate == RATES[1] && mirrors == MIRRORS[0] {
                        hop = node.latency_us;
                    }
                }
            }
        }
    }
    let [home_line_ns, home_block_ns, link_block_ns] = fit(&home.0, &home.1);
    let [broker_line_ns, broker_block_ns, broker_link_block_ns] = fit(&broker.0, &broker.1);
    let [hop_line_ns, hop_block_ns] = fit(&mirror.0, &mirror.1);
    let us = |latency: Option<LatencySummary>, of: fn(&LatencySummary) -> u64| {
        latency.as_ref().map_or(0.0, |latency| of(latency) as f64)
    };
    let (p50_us, p99_us) = (us(alone, |l| l.p50), us(alone, |l| l.p99));
    Ok(Costs {
        broker: settings.cluster.broker,
        line_bytes: settings.line_bytes,
        line_ns,
        block_ns,
        viewer_block_ns,
        viewer_line_ns,
        hop_line_ns,
        hop_block_ns,
        home_line_ns,
        home_block_ns,
        link_block_ns,
        broker_line_ns,
        broker_block_ns,
        broker_link_block_ns,
        viewer_line_bytes,
        p50_us,
        p99_us,
        hop_p50_us: (us(hop, |l| l.p50) - p50_us).max(0.0),
        hop_p99_us: (us(hop, |l| l.p99) - p99_us).max(0.0),
        latency_viewers: VIEWERS[0],
    })
}

/// Returns the workload of a home without viewers, and mirrors with so many viewers each.
pub(super) fn with_mirrors(
    settings: &Workload,
    rate: u64,
    mirrors: usize,
    viewers: usize,
) -> Workload {
    Workload {
        name: format!("{rate} lines/s to {mirrors} mirrors with {viewers} viewers each"),
        rate: Rate::Lines(rate),
        subscribers: mirrors * viewers,
        cluster: ClusterLayout {
            nodes: 1 + mirrors,
            homes: 1,
            placement: Placement::Home(0),
            broker_stop: None,
            ..settings.cluster
        },
        ..settings.clone()
    }
}

/// Measures one workload on one system, once.
pub(super) fn run(
    options: &LoadOptions,
    system: System,
    workload: Workload,
    progress: &Progress,
) -> Result<Outcome, RunError> {
    let plan = Plan {
        program: &options.program,
        systems: vec![system],
        rounds: 1,
        remote: None,
        floor_block_bytes: None,
    };
    let name = workload.name.clone();
    let mut comparison = plan
        .run(workload, progress)
        .map_err(|why| why.in_workload(name))?;
    Ok(comparison.outcomes.remove(0))
}

/// Returns the writes to each viewer in a second: the blocks of its channel.
fn blocks_per_second(outcome: &Outcome, viewers: usize) -> f64 {
    let bytes_per_second = outcome.megabytes_per_second * 1e6;
    outcome
        .bytes_per_write
        .map_or(MIN_FLUSHES_PER_SECOND, |bytes| {
            bytes_per_second / bytes / viewers as f64
        })
}
