//! The conditions of the rows.

use crate::report::format::{count, milliseconds, percent};
use crate::run::comparison::Comparison;
use crate::run::outcome::{MemoryUse, Outcome};
use crate::server::system::System::{self, Baseline, Engine};

/// One condition of a row.
pub(super) struct Condition {
    /// The measured figure in words.
    pub(super) measured: String,
    pub(super) met: bool,
}

impl Condition {
    pub(super) fn new(measured: String, met: bool) -> Condition {
        Condition { measured, met }
    }
}

/// Requires that no reader missed a line.
pub(super) fn no_skips(comparison: &Comparison) -> Condition {
    let skipped = comparison
        .of(Engine)
        .map(|outcome| outcome.skipped_by_readers)
        .max()
        .unwrap_or(0);
    Condition::new(format!("{} skipped", count(skipped as f64)), skipped == 0)
}

/// Requires that at most this share of the deliveries was skipped.
pub(super) fn skips(comparison: &Comparison, max: f64) -> Condition {
    let shares = |system| {
        comparison
            .median(system, |o| Some(o.skipped_share()))
            .unwrap_or(0.0)
    };
    let share = shares(Engine);
    Condition::new(
        format!(
            "{} skipped (baseline {})",
            percent(share),
            percent(shares(Baseline))
        ),
        share <= max,
    )
}

/// Requires that the median of a latency figure is at most `max_ms`.
pub(super) fn latency(
    c: &Comparison,
    name: &str,
    figure: fn(&Outcome) -> Option<u64>,
    max_ms: f64,
) -> Condition {
    match c.median(Engine, |outcome| figure(outcome).map(|us| us as f64)) {
        Some(us) => Condition::new(format!("{name} {}", milliseconds(us)), us <= max_ms * 1e3),
        None => Condition::new(format!("no {name}: nothing was delivered"), false),
    }
}

pub(super) fn p99(comparison: &Comparison, max_ms: f64) -> Condition {
    latency(
        comparison,
        "p99",
        |outcome| Some(outcome.latency_us?.p99),
        max_ms,
    )
}

/// Requires that the engine uses at most `max` times the CPU of another system.
pub(super) fn cpu(comparison: &Comparison, other: System, max: f64) -> Condition {
    let ns = comparison
        .median(Engine, |o| o.server_cpu_ns_per_delivered)
        .unwrap_or(f64::NAN);
    let ratio = comparison
        .ratio(other, |o| o.server_cpu_ns_per_delivered)
        .unwrap_or(f64::NAN);
    Condition::new(
        format!("CPU {ns:.0} ns, {ratio:.2} x {other}"),
        ratio <= max,
    )
}

/// Requires that the engine delivers at least `min` times the lines of another system.
pub(super) fn delivered(comparison: &Comparison, other: System, min: f64) -> Condition {
    let rate = comparison
        .median(Engine, |o| Some(o.delivered_per_second))
        .unwrap_or(0.0);
    let ratio = comparison
        .ratio(other, |o| Some(o.delivered_per_second))
        .unwrap_or(f64::NAN);
    Condition::new(
        format!("{} lines/s, {ratio:.2} x {other}", count(rate)),
        ratio >= min,
    )
}

/// Memory that grows by at most a mebibyte while lines flow is flat.
pub(super) fn flat_memory(comparison: &Comparison) -> Condition {
    let growth = |memory: MemoryUse| memory.at_end as f64 - memory.at_start as f64;
    let grown = comparison
        .median(Engine, |outcome| outcome.memory.map(growth))
        .unwrap_or(f64::NAN);
    Condition::new(
        format!("memory {:+.0} KiB while measured", grown / 1024.0),
        grown <= 1024.0 * 1024.0,
    )
}

/// Requires that a client costs at most 4 KiB.
pub(super) fn memory_each(comparison: &Comparison) -> Condition {
    let each = |system| {
        let figure = |outcome: &Outcome| {
            let memory = outcome.memory?;
            let grown = memory.with_clients.saturating_sub(memory.before_clients);
            Some(grown as f64 / comparison.workload.subscribers as f64)
        };
        comparison.median(system, figure).unwrap_or(f64::NAN)
    };
    let words = format!(
        "{:.1} KiB each (baseline {:.1})",
        each(Engine) / 1024.0,
        each(Baseline) / 1024.0
    );
    Condition::new(words, each(Engine) <= 4096.0)
}

/// Requires that all clients join within 2 s.
pub(super) fn joins(comparison: &Comparison) -> Condition {
    let join = |system| {
        comparison
            .median(system, |outcome| Some(outcome.join_ms))
            .unwrap_or(f64::NAN)
    };
    let words = format!(
        "joined in {:.0} ms (baseline {:.0})",
        join(Engine),
        join(Baseline)
    );
    Condition::new(words, join(Engine) <= 2_000.0)
}
