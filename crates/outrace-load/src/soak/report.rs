//! What a soak came to, in words and as JSON.

use super::check::{Check, Verdict};
use super::disturber::Doings;
use super::drift::median;
use super::sample::Sample;
use crate::machine;
use crate::outcome::Outcome;
use crate::table::{count, markdown, milliseconds, percent};
use crate::workload::Workload;

/// Rows of the table, each of as many samples.
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

pub(super) fn text(
    workload: &Workload,
    outcome: &Outcome,
    samples: &[Sample],
    checks: &[Check],
    doings: &Doings,
) -> String {
    let number = |n: u64| count(n as f64);
    let done: Vec<String> = doings
        .counts
        .iter()
        .map(|(what, count)| format!("{} {what}", number(*count)))
        .collect();
    let mut out = format!(
        "outrace {} · {}\n\n{}: {} lines over {} channels to {} clients, {} visits of those that come and go\n  \
         steady clients: {} received + {} missed = {} due; order, repetition and every byte checked\n  \
         {}\n  \
         beside them: {}\n\n",
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
        outcome.announced,
        if done.is_empty() {
            "nothing".to_owned()
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
            Verdict::Holds => "holds",
            Verdict::Fails => "FAILS",
            Verdict::NotJudged => "  –  ",
        };
        out.push_str(&format!("{mark}  {name}: {measured}\n"));
    }
    out.push('\n');
    out
}

/// The medians of tenths of the run.
fn table(samples: &[Sample]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for part in samples.chunks(samples.len().div_ceil(ROWS).max(1)) {
        let of = |figure: &dyn Fn(&Sample) -> Option<f64>| median(part.iter().filter_map(figure));
        let shown = |figure: &dyn Fn(&Sample) -> Option<f64>, format: &dyn Fn(f64) -> String| {
            of(figure).map_or_else(|| "–".to_owned(), format)
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

/// The last sample, while it runs.
pub(super) fn line(sample: &Sample, overflows: u64) -> String {
    let time = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), |us| milliseconds(us as f64));
    format!(
        "{:.0} KiB, {} descriptors, {} clients, p50 {}, p99 {}, {} skipped, {overflows} disconnected and back",
        sample.anonymous as f64 / 1024.0,
        sample.descriptors,
        sample.clients,
        time(sample.p50),
        time(sample.p99),
        percent(sample.skipped_share.unwrap_or(0.0)),
    )
}

/// The last line of all.
pub(super) fn verdict(code: u8, checks: &[Check]) -> &'static str {
    let unjudged = checks
        .iter()
        .any(|check| check.verdict == Verdict::NotJudged);
    match (code, unjudged) {
        (0, false) => "soaked: nothing drifts, and every client accounts for every line",
        (0, true) => {
            "soaked: every client accounts for every line; too short or too little to judge drift by"
        }
        _ => "NOT sound",
    }
}

pub(super) fn json(
    workload: &Workload,
    outcome: &Outcome,
    samples: &[Sample],
    checks: &[Check],
    doings: &Doings,
) -> serde_json::Value {
    // The samples say it better than the tenths of a second of an hour.
    let outcome = Outcome {
        timeline: Vec::new(),
        ..outcome.clone()
    };
    serde_json::json!({
        "machine": machine::description(),
        "soak": {
            "workload": workload,
            "outcome": outcome,
            "samples": samples,
            "checks": checks,
            "disturbances": doings,
        },
    })
}
