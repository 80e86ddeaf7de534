//! The tables of figures.

use super::format::{count, mebibytes, milliseconds, or_dash, percent};
use super::markdown::markdown;
use super::nodes::nodes;
use super::notes::notes;
use crate::run::comparison::Comparison;
use crate::run::outcome::Outcome;
use crate::server::system::System;

type Column = (&'static str, fn(&Comparison, System) -> String);

/// The columns about throughput and the cost of the server.
const COSTS: &[Column] = &[
    ("delivered/s", |c, s| {
        or_dash(c.median(s, |o| Some(o.delivered_per_second)), count)
    }),
    ("MB/s", |c, s| {
        or_dash(c.median(s, |o| Some(o.megabytes_per_second)), |v| {
            format!("{v:.1}")
        })
    }),
    ("skipped", |c, s| {
        or_dash(c.median(s, |o| Some(o.skipped_share())), percent)
    }),
    ("bytes/line", |c, s| {
        or_dash(c.median(s, |o| o.bytes_per_delivered), |v| {
            format!("{v:.1}")
        })
    }),
    ("CPU ns/line", |c, s| {
        or_dash(c.median(s, |o| o.server_cpu_ns_per_delivered), |v| {
            format!("{v:.0}")
        })
    }),
    ("server cores", |c, s| {
        or_dash(c.median(s, |o| o.server_cores), |v| format!("{v:.2}"))
    }),
    ("bytes/write", |c, s| {
        or_dash(c.median(s, |o| o.bytes_per_write), count)
    }),
    ("peak memory", |c, s| {
        or_dash(c.median(s, |o| Some(o.memory?.peak as f64)), mebibytes)
    }),
];

/// The columns about latency, and about what the generator adds to it.
const LATENCIES: &[Column] = &[
    ("p50", |c, s| latency(c, s, |o| Some(o.latency_us?.p50))),
    ("p90", |c, s| latency(c, s, |o| Some(o.latency_us?.p90))),
    ("p99", |c, s| latency(c, s, |o| Some(o.latency_us?.p99))),
    ("p99.9", |c, s| latency(c, s, |o| Some(o.latency_us?.p99_9))),
    ("max", |c, s| latency(c, s, |o| Some(o.latency_us?.max))),
    ("feeder late p99", |c, s| {
        latency(c, s, |o| Some(o.feeder_late_us.p99))
    }),
    ("generator cores", |c, s| {
        or_dash(c.median(s, |o| Some(o.generator_cores)), |v| {
            format!("{v:.2}")
        })
    }),
];

/// Returns the tables and the notes of all workloads.
pub(crate) fn comparisons(comparisons: &[Comparison]) -> String {
    let tables: Vec<String> = comparisons.iter().map(one).collect();
    tables.join("\n")
}

/// Returns two tables with one row per system, each narrower than 120 columns.
pub(super) fn tables(comparison: &Comparison) -> [Vec<Vec<String>>; 2] {
    [COSTS, LATENCIES].map(|columns| rows(comparison, columns))
}

/// Returns the notes below the tables.
pub(super) fn notes_of(comparison: &Comparison) -> Vec<String> {
    notes(comparison)
}

fn rows(comparison: &Comparison, columns: &[Column]) -> Vec<Vec<String>> {
    let head = columns.iter().map(|column| column.0.to_owned());
    let mut rows = vec![std::iter::once("system".to_owned()).chain(head).collect()];
    for system in comparison.systems() {
        let figures = columns.iter().map(|column| column.1(comparison, system));
        rows.push(std::iter::once(system.to_string()).chain(figures).collect());
    }
    rows
}

fn one(comparison: &Comparison) -> String {
    let mut out = title(comparison);
    for table in tables(comparison) {
        out.push_str(&format!("\n\n{}", markdown(&table).trim_end()));
    }
    out.push('\n');
    out.push_str(&nodes(comparison));
    for note in notes(comparison) {
        out.push_str(&format!("\n{note}\n"));
    }
    out
}

/// Returns the name of the workload and the settings that it does not contain.
fn title(comparison: &Comparison) -> String {
    let workload = &comparison.workload;
    let mut out = format!("{}, {} s", workload.name, workload.seconds);
    for (applies, text) in [
        (
            workload.channels > 1,
            format!(
                ", {} channels, {} per client",
                workload.channels, workload.channels_per_client
            ),
        ),
        (
            workload.burst_lines > 1,
            format!(", bursts of {}", workload.burst_lines),
        ),
        (
            workload.stalled > 0,
            format!(", {} stalled", workload.stalled),
        ),
        (
            workload.churn > 0,
            format!(", {} come and go", workload.churn),
        ),
        (workload.subscribe_options.gaps, ", gaps".to_owned()),
        (workload.subscribe_options.batch, ", batches".to_owned()),
        (
            workload.history_messages.is_some(),
            format!(", history {}", workload.history_messages.unwrap_or(0)),
        ),
        (
            workload.pin,
            ", server on one core, generator on another".to_owned(),
        ),
    ] {
        if applies {
            out.push_str(&text);
        }
    }
    out
}

fn latency(comparison: &Comparison, system: System, figure: fn(&Outcome) -> Option<u64>) -> String {
    or_dash(
        comparison.median(system, |o| figure(o).map(|us| us as f64)),
        milliseconds,
    )
}
