//! The result of a soak in words and as JSON.

use super::SoakResult;
use super::check::{Check, CheckVerdict};
use super::drift::median;
use super::sample::Sample;
use crate::report::format::{announced, count, milliseconds, or_dash, percent};
use crate::report::machine;
use crate::report::markdown::markdown;
use crate::run::outcome::Outcome;

/// The number of rows of the table. Each covers the same number of samples.
const ROWS: usize = 10;

const HEAD: [&str; 10] = [
    "until",
    "memory",
    "descriptors",
    "threads",
    "clients",
    "CPU ns/message",
    "p50",
    "p99",
    "machine p99",
    "skipped",
];

pub(super) fn text(result: &SoakResult) -> String {
    let SoakResult {
        workload,
        outcome,
        samples,
        checks,
        actions,
    } = result;
    let number = |n: u64| count(n as f64);
    let done: Vec<String> = actions
        .counts
        .iter()
        .map(|(what, count)| format!("{} {what}", number(*count)))
        .collect();
    let mut out = format!(
        "outrace {} · {}\n\n{}: {} lines over {} channels to {} clients, \
         {} visits of those that come and go\n  \
         steady clients: {} received + {} missed = {} due; \
         order, repetition and every byte checked\n  \
         {}\n  \
         disturbances: {}\n\n",
        env!("CARGO_PKG_VERSION"),
        machine::description(),
        workload.name,
        number(outcome.published),
        workload.channels,
        workload.clients(),
        number(outcome.visits),
        number(outcome.received),
        number(outcome.skipped),
        number(outcome.expected),
        announced(&outcome.announced),
        if done.is_empty() {
            "none".to_owned()
        } else {
            done.join(", ")
        },
    );
    out.push_str(&table(samples));
    out.push('\n');
    for Check {
        name,
        measured,
        verdict,
    } in checks
    {
        let mark = match verdict {
            CheckVerdict::Holds => "holds",
            CheckVerdict::Fails => "FAILS",
            CheckVerdict::NotJudged => "  –  ",
        };
        out.push_str(&format!("{mark}  {name}: {measured}\n"));
    }
    out.push('\n');
    out
}

/// Returns a table with the medians of tenths of the run.
fn table(samples: &[Sample]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for part in samples.chunks(samples.len().div_ceil(ROWS).max(1)) {
        let of = |figure: &dyn Fn(&Sample) -> Option<f64>| median(part.iter().filter_map(figure));
        let shown = |figure: &dyn Fn(&Sample) -> Option<f64>, format: &dyn Fn(f64) -> String| {
            or_dash(of(figure), format)
        };
        let time = |us: Option<u64>| us.map(|us| us as f64);
        rows.push(vec![
            part.last()
                .map_or_else(String::new, |sample| format!("{:.0} s", sample.at)),
            shown(&|s| Some(s.anonymous as f64), &|bytes| {
                format!("{:.0} KiB", bytes / 1024.0)
            }),
            shown(&|s| Some(s.descriptors as f64), &count),
            shown(&|s| Some(s.threads as f64), &count),
            shown(&|s| Some(s.clients as f64), &count),
            shown(&|s| s.cpu_ns, &count),
            shown(&|s| time(s.p50), &milliseconds),
            shown(&|s| time(s.p99), &milliseconds),
            shown(&|s| time(s.late_p99), &milliseconds),
            shown(&|s| s.skipped_share, &percent),
        ]);
    }
    markdown(&rows)
}

/// Returns the last sample, for the progress.
pub(super) fn line(sample: &Sample, overflows: u64) -> String {
    let time = |us: Option<u64>| or_dash(us.map(|us| us as f64), milliseconds);
    format!(
        "{:.0} KiB, {} descriptors, {} clients, p50 {}, p99 {}, {} skipped, \
         {overflows} disconnected and back",
        sample.anonymous as f64 / 1024.0,
        sample.descriptors,
        sample.clients,
        time(sample.p50),
        time(sample.p99),
        percent(sample.skipped_share.unwrap_or(0.0)),
    )
}

/// Returns the last line of the report.
pub(super) fn verdict(failed: bool, checks: &[Check]) -> &'static str {
    let unjudged = checks
        .iter()
        .any(|check| check.verdict == CheckVerdict::NotJudged);
    match (failed, unjudged) {
        (false, false) => "soaked: nothing drifts, and every client accounts for every line",
        (false, true) => {
            "soaked: every client accounts for every line; too little was measured to judge drift"
        }
        (true, _) => "NOT sound",
    }
}

pub(super) fn json(result: &SoakResult) -> serde_json::Value {
    // The samples replace the timeline, which has every tenth of a second of an hour.
    let outcome = Outcome {
        timeline: Vec::new(),
        ..result.outcome.clone()
    };
    serde_json::json!({
        "machine": machine::description(),
        "soak": {
            "workload": result.workload,
            "outcome": outcome,
            "samples": result.samples,
            "checks": result.checks,
            "disturbances": result.actions,
        },
    })
}
