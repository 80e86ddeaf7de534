//! The report page: tables and plots, in a light or a dark theme.
//!
//! The page is one file that loads nothing else.

use super::axis::Scale;
use super::plot::{Plot, Series, escape};
use super::{machine, table};
use crate::run::comparison::Comparison;
use crate::run::outcome::{Outcome, TimelinePoint};
use crate::server::system::System;
use crate::workload::Rate;

const STYLE: &str = "
:root {
  color-scheme: light dark;
  --ink: #1c2330; --paper: #fbfbfa; --faint: #d9dce1; --quiet: #667085;
  --engine: #1666c5; --baseline: #c2571a; --floor: #3b8a4b; --server: #7a4fb5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e7ec; --paper: #14181f; --faint: #2c3440; --quiet: #98a2b3;
    --engine: #6db1ff; --baseline: #f2935c; --floor: #7fce8f; --server: #b79cf0;
  }
}
body {
  margin: 2rem auto; max-width: 1040px; padding: 0 1rem;
  font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
}
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table {
  margin: 1rem 0; border-collapse: collapse;
  font-variant-numeric: tabular-nums; font-size: .85rem;
}
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--faint); text-align: right; }
th { vertical-align: bottom; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.suite td, .suite th { text-align: left; vertical-align: top; white-space: normal; }
p.machine, figcaption, .legend { color: var(--quiet); font-size: .85rem; }
p.fault { color: #d92d20; }
figure { margin: 1.5rem 0; }
svg { width: 100%; height: auto; }
.legend span { margin-right: 1.5rem; }
.legend svg { width: 24px; height: 8px; margin-right: .4rem; }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.dashed { stroke-dasharray: 5 4; }
.grid { stroke: var(--faint); stroke-width: 1; }
text.axis { fill: var(--quiet); font: 11px system-ui, sans-serif; }
.engine { stroke: var(--engine); }
.baseline { stroke: var(--baseline); }
.floor { stroke: var(--floor); }
.server { stroke: var(--server); }
circle { stroke-width: 0; }
circle.engine { fill: var(--engine); }
circle.baseline { fill: var(--baseline); }
circle.floor { fill: var(--floor); }
circle.server { fill: var(--server); }
@media print { figure, tr { break-inside: avoid; } }
";

/// Returns the page. `suite` is the table of the suite, and is empty if another mode ran.
pub(crate) fn page(comparisons: &[Comparison], suite: &[Vec<String>]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>outrace load</title><style>{STYLE}</style></head><body>\n<h1>outrace load</h1>\n\
         <p class=\"machine\">outrace {} · {}</p>\n",
        env!("CARGO_PKG_VERSION"),
        escape(&machine::description())
    );
    if !suite.is_empty() {
        out.push_str(&html_table("suite", suite));
    }
    if comparisons.len() > 1 {
        out.push_str("<h2>CPU against rate</h2>\n");
        out.push_str(&cpu_against_rate(comparisons).svg());
    }
    for comparison in comparisons {
        out.push_str(&format!("<h2>{}</h2>\n", escape(&comparison.workload.name)));
        for rows in table::tables(comparison) {
            out.push_str(&html_table("figures", &rows));
        }
        for note in table::notes_of(comparison) {
            out.push_str(&format!("<p>{}</p>\n", escape(&note)));
        }
        for fault in comparison
            .outcomes
            .iter()
            .flat_map(|outcome| &outcome.faults)
        {
            out.push_str(&format!("<p class=\"fault\">{}</p>\n", escape(fault)));
        }
        out.push_str(&latency(comparison).svg());
        out.push_str(&over_time(comparison).svg());
    }
    out.push_str("</body></html>\n");
    out
}

fn html_table(class: &str, rows: &[Vec<String>]) -> String {
    let mut out = format!("<table class=\"{class}\">\n");
    for (number, row) in rows.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let cells: String = row
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect();
        out.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    out + "</table>\n"
}

/// Returns one line per system, from its last round.
fn series(
    comparison: &Comparison,
    name: &str,
    dashed: bool,
    points: fn(&Outcome) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let last = |system: System| comparison.of(system).last().map(points).unwrap_or_default();
    comparison
        .systems()
        .into_iter()
        .map(|system| Series {
            name: format!("{system}{name}"),
            class: system.to_string(),
            dashed,
            points: last(system),
        })
        .collect()
}

fn latency(comparison: &Comparison) -> Plot {
    let points = |outcome: &Outcome| {
        outcome
            .percentiles
            .iter()
            .map(|(quantile, us)| (*quantile, (*us as f64).max(1.0) / 1e3))
            .collect()
    };
    Plot {
        title: "Latency from the intended send time".to_owned(),
        x_label: "share of deliveries",
        y_label: "milliseconds",
        x_scale: Scale::Nines,
        y_scale: Scale::Log,
        series: series(comparison, "", false, points),
    }
}

fn over_time(comparison: &Comparison) -> Plot {
    let delivered = |outcome: &Outcome| {
        complete_points(outcome)
            .iter()
            .map(|point| (point.seconds, point.delivered_per_second))
            .collect()
    };
    let skipped = |outcome: &Outcome| {
        complete_points(outcome)
            .iter()
            .map(|point| (point.seconds, point.skipped_per_second))
            .collect()
    };
    let mut lines = series(comparison, "", false, delivered);
    if comparison
        .outcomes
        .iter()
        .any(|outcome| outcome.skipped > 0)
    {
        lines.extend(series(comparison, ", skipped", true, skipped));
    }
    Plot {
        title: "Deliveries over time, the warm-up first".to_owned(),
        x_label: "seconds",
        y_label: "per second",
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series: lines,
    }
}

/// Returns the timeline without its last point, which covers less than its width.
fn complete_points(outcome: &Outcome) -> &[TimelinePoint] {
    outcome
        .timeline
        .split_last()
        .map_or(&[], |(_, whole)| whole)
}

/// Plots the workloads that differ from the first one in little but their rate.
fn cpu_against_rate(comparisons: &[Comparison]) -> Plot {
    let shape = |c: &Comparison| {
        let w = &c.workload;
        (
            w.subscribers,
            w.channels,
            w.channels_per_client,
            w.line_bytes,
            w.stalled,
            w.churn,
            w.pin,
        )
    };
    let alike = || {
        let with_rate = |c: &&Comparison| matches!(c.workload.rate, Rate::Lines(_));
        comparisons
            .iter()
            .filter(|c| shape(c) == shape(&comparisons[0]))
            .filter(with_rate)
    };
    let mut systems: Vec<System> = alike().flat_map(Comparison::systems).collect();
    systems.sort_unstable();
    systems.dedup();
    let series = systems
        .into_iter()
        .map(|system| {
            let mut points: Vec<(f64, f64)> = alike()
                .filter_map(|comparison| {
                    let rate = comparison.median(system, |o| Some(o.delivered_per_second))?;
                    Some((
                        rate,
                        comparison.median(system, |o| o.server_cpu_ns_per_delivered)?,
                    ))
                })
                .collect();
            points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            Series {
                name: system.to_string(),
                class: system.to_string(),
                dashed: false,
                points,
            }
        })
        .collect();
    Plot {
        title: "Server CPU per delivered line".to_owned(),
        x_label: "deliveries per second",
        y_label: "nanoseconds",
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        series,
    }
}
