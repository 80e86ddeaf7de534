//! A load generator for Outrace and servers that speak its protocol.
//!
//! Many WebSocket clients load one server and account for every line. A line that arrives twice,
//! out of order or changed is a fault. So is a line that was published and neither received nor
//! counted as skipped.
//!
//! # Starting a load
//!
//! [`LoadOptions`] say what is measured, [`run`] measures it, and [`LoadReport`] says whether all
//! accounts balance. The library knows no command line. It starts the servers by a [`Program`] that
//! has the commands of the `outrace` binary.
//!
//! ```no_run
//! use outrace_load::{LoadMode, LoadOptions, Program, Rate, System, Workload};
//!
//! # fn main() -> Result<(), outrace_load::LoadError> {
//! let options = LoadOptions {
//!     mode: LoadMode::Compare {
//!         systems: vec![System::Engine, System::Baseline],
//!         rates: vec![Rate::Lines(10_000), Rate::Lines(40_000)],
//!     },
//!     workload: Workload {
//!         subscribers: 500,
//!         ..Workload::default()
//!     },
//!     ..LoadOptions::new(Program::new("/usr/local/bin/outrace"))
//! };
//! let report = outrace_load::run(&options, &mut std::io::stdout())?;
//! for failure in &report.failures {
//!     eprintln!("{failure}");
//! }
//! assert!(report.passed());
//! # Ok(())
//! # }
//! ```
//!
//! # Layers
//!
//! Each layer uses only those above it in this list:
//!
//! - `wire`: HTTP, WebSocket frames and stamped lines.
//! - `server`: the servers, their start, and their CPU time and memory.
//! - `measure`: the state and the counts that the threads of a round share.
//! - `client`: the clients and the threads that hold them.
//! - `run`: one round, and rounds in turns.
//! - `report`: tables and the page with plots.
//! - `cluster`: what mirrors and the common list of channels cost the nodes of a cluster.
//! - `simulate`: what larger clusters use, computed from measured costs.
//! - `suite`, `verify` and `soak`: the modes with workloads of their own.

mod client;
mod clock;
mod cluster;
mod cluster_layout;
mod error;
mod measure;
mod options;
mod progress;
mod report;
mod run;
mod server;
mod simulate;
mod soak;
mod suite;
mod verify;
mod wire;
mod workload;
mod workload_error;

pub use cluster_layout::{BrokerKind, ClusterLayout, Placement};
pub use error::{LoadError, MeasurementError};
pub use options::{LoadMode, LoadOptions};
pub use server::baseline::{BaselineError, BaselineOptions, serve_baseline};
pub use server::floor::{FloorError, FloorOptions, serve_floor};
pub use server::program::Program;
pub use server::system::System;
pub use wire::target::TargetError;
pub use workload::{Rate, SlowReaders, SubscribeOptions, Workload};
pub use workload_error::WorkloadError;

use progress::Progress;
use report::{html, machine, markdown::markdown, table};
use run::comparison::Comparison;
use run::plan::Plan;
use std::fmt;
use std::io::Write;
use std::path::Path;
use suite::Suite;
use wire::target::Target;

/// The verdict on a load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The rounds whose accounts do not balance.
    pub failures: Vec<RoundFailure>,
}

impl LoadReport {
    /// Returns whether the accounts of all rounds balance.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A round whose accounts do not balance.
///
/// It is displayed as one line that names the round, and one line per fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundFailure {
    /// The title of the workload.
    pub workload: String,
    /// The system that was measured.
    pub system: System,
    /// The first few faults.
    pub faults: Vec<String>,
    /// The number of all faults.
    pub fault_count: u64,
}

impl fmt::Display for RoundFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoundFailure {
            workload,
            system,
            fault_count,
            ..
        } = self;
        let plural = if *fault_count == 1 { "" } else { "s" };
        write!(
            f,
            "{workload}: the {system} failed its check with {fault_count} fault{plural}:"
        )?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

/// Runs a load, and writes its report to `out`.
///
/// It blocks the calling thread until the load is over. It raises the soft limit of open files of
/// this process to the hard limit, since every client needs one. Progress goes to standard error if
/// [`LoadOptions::show_progress`] is set.
///
/// # Errors
///
/// Fails if the workload is invalid, a server does not start or run as it should, or a report can't
/// be written. Accounts that do not balance are no error, but [failures](LoadReport::failures) of
/// the report.
pub fn run(options: &LoadOptions, out: &mut dyn Write) -> Result<LoadReport, LoadError> {
    raise_file_limit();
    match &options.mode {
        LoadMode::Compare { systems, rates } => compare(options, systems, rates, None, out),
        LoadMode::Remote {
            url,
            headers,
            rates,
        } => {
            let remote = || Target::parse(url, headers);
            compare(options, &[System::Remote], rates, Some(&remote), out)
        }
        LoadMode::Suite { only } => {
            options.workload.check()?;
            let progress = Progress::new(options.show_progress);
            let suite = suite::run(options, only, &progress)?;
            drop(progress);
            present(options, suite, out)
        }
        LoadMode::HomeCost => home_cost(options, out),
        LoadMode::Directory {
            channels,
            changes_per_second,
        } => directory(options, *channels, *changes_per_second, out),
        LoadMode::Simulate {
            nodes,
            node_cores,
            costs,
        } => simulate(options, *nodes, *node_cores, costs.as_deref(), out),
        LoadMode::Verify => verify(options, out),
        LoadMode::Soak { duration } => soak(options, *duration, out),
    }
}

/// Resolves the address of a remote server.
type ResolveTarget<'a> = &'a dyn Fn() -> Result<Target, TargetError>;

fn compare(
    options: &LoadOptions,
    systems: &[System],
    rates: &[Rate],
    remote: Option<ResolveTarget<'_>>,
    out: &mut dyn Write,
) -> Result<LoadReport, LoadError> {
    let workloads = options.workloads(rates);
    for workload in &workloads {
        workload.check()?;
    }
    let plan = Plan {
        program: &options.program,
        systems: systems.to_vec(),
        rounds: options.rounds.max(1),
        remote: remote.map(|resolve| resolve()).transpose()?,
        floor_block_bytes: options.floor_block_bytes,
    };
    let progress = Progress::new(options.show_progress);
    let mut suite = Suite::default();
    for workload in workloads {
        suite.comparisons.push(plan.run(workload, &progress)?);
    }
    drop(progress);
    present(options, suite, out)
}

/// Writes the tables to `out`, and the files that were asked for.
fn present(
    options: &LoadOptions,
    suite: Suite,
    out: &mut dyn Write,
) -> Result<LoadReport, LoadError> {
    let mut rows = Vec::new();
    let mut text = String::new();
    if !suite.rows.is_empty() {
        rows = suite.table();
        text = format!(
            "outrace {} · {}\n\n{}\n",
            env!("CARGO_PKG_VERSION"),
            machine::description(),
            markdown(&rows)
        );
    }
    text.push_str(&table::comparisons(&suite.comparisons));
    write_text(out, &text)?;
    write_json(options, &suite_json(&suite))?;
    if let Some(path) = &options.report {
        write_file(path, &html::page(&suite.comparisons, &rows))?;
    }
    Ok(verdict(&suite.comparisons))
}

fn home_cost(options: &LoadOptions, out: &mut dyn Write) -> Result<LoadReport, LoadError> {
    options.workload.check()?;
    let progress = Progress::new(options.show_progress);
    let cost = cluster::home_cost::run(options, &progress)?;
    drop(progress);
    write_text(out, &cost.text())?;
    let suite = Suite {
        comparisons: cost.comparisons,
        ..Suite::default()
    };
    write_json(options, &suite_json(&suite))?;
    Ok(verdict(&suite.comparisons))
}

fn directory(
    options: &LoadOptions,
    channels: usize,
    changes_per_second: u64,
    out: &mut dyn Write,
) -> Result<LoadReport, LoadError> {
    options.workload.check()?;
    if options.workload.cluster.broker == BrokerKind::Relay {
        return Err(WorkloadError::RelayWithoutBroker.into());
    }
    let progress = Progress::new(options.show_progress);
    let figures = cluster::directory::run(options, channels, changes_per_second, &progress)?;
    drop(progress);
    write_text(out, &figures.text())?;
    let json = serde_json::json!({ "machine": machine::description(), "directory": figures });
    write_json(options, &json)?;
    let faults = figures.faults();
    let failure = (!faults.is_empty()).then(|| RoundFailure {
        workload: "the list of channels".to_owned(),
        system: System::Cluster,
        fault_count: faults.len() as u64,
        faults,
    });
    Ok(LoadReport {
        failures: failure.into_iter().collect(),
    })
}

fn simulate(
    options: &LoadOptions,
    nodes: usize,
    node_cores: usize,
    costs: Option<&Path>,
    out: &mut dyn Write,
) -> Result<LoadReport, LoadError> {
    options.workload.check()?;
    let costs = costs.map(simulate::Costs::read).transpose()?;
    let progress = Progress::new(options.show_progress);
    let simulation = simulate::run(options, nodes.max(1), node_cores.max(1), costs, &progress)?;
    drop(progress);
    write_text(out, &simulation.text())?;
    write_json(options, &simulation.json())?;
    let mut small = Comparison::new(options.workload.clone());
    small.outcomes.push(simulation.into_measured());
    Ok(verdict(&[small]))
}

fn verify(options: &LoadOptions, out: &mut dyn Write) -> Result<LoadReport, LoadError> {
    options.workload.check()?;
    let progress = Progress::new(options.show_progress);
    let comparisons = verify::run(options, &progress, |text| {
        progress.suspend(|| write_text(out, &text))
    })?;
    drop(progress);
    let suite = Suite {
        comparisons,
        ..Suite::default()
    };
    write_json(options, &suite_json(&suite))?;
    let report = verdict(&suite.comparisons);
    let last_line = if report.passed() {
        "verified: every client accounts for every line\n"
    } else {
        "NOT verified\n"
    };
    write_text(out, last_line)?;
    Ok(report)
}

fn soak(
    options: &LoadOptions,
    duration: std::time::Duration,
    out: &mut dyn Write,
) -> Result<LoadReport, LoadError> {
    options.workload.check()?;
    let progress = Progress::new(options.show_progress);
    let result = soak::run(options, duration, &progress)?;
    drop(progress);
    write_text(out, &result.text())?;
    write_json(options, &result.json())?;
    write_text(out, &format!("{}\n", result.verdict()))?;
    Ok(verdict(&[result.into_comparison()]))
}

fn suite_json(suite: &Suite) -> serde_json::Value {
    serde_json::json!({ "machine": machine::description(), "suite": suite })
}

/// Collects the rounds that failed.
fn verdict(comparisons: &[Comparison]) -> LoadReport {
    let failures = comparisons.iter().flat_map(|comparison| {
        let failed = comparison.outcomes.iter().filter(|o| o.failed());
        failed.map(|outcome| RoundFailure {
            workload: comparison.workload.name.clone(),
            system: outcome.system,
            faults: outcome.faults.clone(),
            fault_count: outcome.fault_count,
        })
    });
    LoadReport {
        failures: failures.collect(),
    }
}

fn write_text(out: &mut dyn Write, text: &str) -> Result<(), LoadError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(LoadError::Output)
}

fn write_json(options: &LoadOptions, json: &serde_json::Value) -> Result<(), LoadError> {
    match &options.json {
        Some(path) => write_file(path, &format!("{json:#}\n")),
        None => Ok(()),
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), LoadError> {
    std::fs::write(path, text).map_err(|error| LoadError::File {
        path: path.to_owned(),
        error,
    })
}

/// Raises the limit of open files. The servers inherit it.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If this is refused, clients without a file report it when they connect.
    let _ = setrlimit(Resource::Nofile, limit);
}
