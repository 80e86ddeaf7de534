//! A soak: all kinds of load at once for a long time, during which no figure may drift.
//!
//! Clients of every kind account for every line, as when verifying. Beside them, [`disturber`]s
//! perform the [`actions`]: they reset connections, violate the protocol, stream over HTTP, publish
//! and monitor. [`sample`] reads the server every few seconds, and [`observer`] does all of that
//! while a round runs. [`drift`] has the statistics. [`drift_checks`] and [`final_checks`] judge.

mod action_log;
mod actions;
mod check;
mod disturber;
mod drift;
mod drift_checks;
mod error;
mod final_checks;
mod observer;
mod peer;
mod report;
mod sample;

use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::run::comparison::Comparison;
use crate::run::error::RunError;
use crate::run::outcome::Outcome;
use crate::run::round::{self, ServerUnderTest};
use crate::server::system::System;
use crate::workload::{Rate, SlowReaders, Workload};
use action_log::ActionLog;
use check::{Check, CheckVerdict};
use observer::SoakObserver;
use sample::Sample;
use std::time::Duration;

/// The result of a soak.
pub(crate) struct SoakResult {
    workload: Workload,
    outcome: Outcome,
    samples: Vec<Sample>,
    checks: Vec<Check>,
    actions: ActionLog,
}

/// Runs a soak in which lines flow for `duration`.
pub(crate) fn run(
    options: &LoadOptions,
    duration: Duration,
    progress: &Progress,
) -> Result<SoakResult, RunError> {
    let workload = workload(&options.workload, duration);
    let server = ServerUnderTest {
        program: &options.program,
        system: System::Engine,
        remote: None,
        block_bytes: 0,
    };
    progress.begin_round(workload.name.clone());
    let mut observer = SoakObserver::new(&workload, duration);
    let mut outcome = round::run(&workload, &server, progress, &mut observer)?;
    let checks = observer.checks();
    add_faults(&mut outcome, &checks, &observer.actions, &observer.trouble);
    Ok(SoakResult {
        workload,
        outcome,
        samples: observer.samples,
        checks,
        actions: observer.actions,
    })
}

impl SoakResult {
    /// Returns the report without its last line.
    pub(crate) fn text(&self) -> String {
        report::text(self)
    }

    /// Returns the last line of the report.
    pub(crate) fn verdict(&self) -> &'static str {
        report::verdict(self.outcome.failed(), &self.checks)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        report::json(self)
    }

    pub(crate) fn into_comparison(self) -> Comparison {
        Comparison {
            workload: self.workload,
            outcomes: vec![self.outcome],
        }
    }
}

/// Adds a fault for each failed check, for each fault of a disturber, and for whatever could not be
/// measured.
fn add_faults(outcome: &mut Outcome, checks: &[Check], actions: &ActionLog, trouble: &[String]) {
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check.verdict == CheckVerdict::Fails)
        .map(|check| format!("{}: {}", check.name, check.measured))
        .collect();
    outcome.fault_count += failed.len() as u64 + actions.fault_count + trouble.len() as u64;
    // They precede the faults of clients, of which many may be alike.
    outcome
        .faults
        .splice(0..0, failed.into_iter().chain(trouble.iter().cloned()));
    outcome.faults.extend(actions.faults.iter().cloned());
}

/// Returns the workload of a soak.
///
/// There are at least four clients of every kind, so that one of each subscribes plain, with gaps,
/// with gaps and batches, and with batches. 64,000 deliveries a second keep two cores busy without
/// saturating them, so that a drift shows.
fn workload(settings: &Workload, duration: Duration) -> Workload {
    Workload {
        name: format!("soak of {duration:?}"),
        subscribers: 24,
        stalled: 4,
        slow: Some(SlowReaders {
            clients: 4,
            bytes_per_second: 100_000,
        }),
        churn: 8,
        churn_stay: Duration::from_millis(700).min(duration / 20),
        stall: Some(Duration::from_secs(15).min(duration / 6)),
        reconnects: true,
        rate: Rate::Lines(4_000),
        // A burst on one channel is half a queue. The bursts of both channels of a client together
        // just fit.
        burst_lines: 256,
        channels: 4,
        channels_per_client: 2,
        queue_messages: Some(128),
        history_messages: Some(1_000),
        seconds: duration.as_secs_f64(),
        warmup_seconds: 0.0,
        line_bytes: settings.line_bytes,
        threads: settings.threads,
        mixed_subscriptions: true,
        ..Workload::default()
    }
}
