//! Proves that no line is lost without a notice.
//!
//! Clients of every kind receive floods and have to account for every line. Everything that is to
//! be proved must have happened.

use crate::client::announced::AnnouncedTotals;
use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::report::format::{announced, count};
use crate::run::comparison::Comparison;
use crate::run::error::RunError;
use crate::run::outcome::Outcome;
use crate::run::plan::Plan;
use crate::server::system::System;
use crate::workload::{ClientRole, Rate, SlowReaders, Workload};
use std::time::Duration;

/// Runs all floods. `report` gets the text of each one as soon as it is over.
pub(crate) fn run<E: From<RunError>>(
    options: &LoadOptions,
    progress: &Progress,
    mut report: impl FnMut(String) -> Result<(), E>,
) -> Result<Vec<Comparison>, E> {
    let plan = Plan {
        program: &options.program,
        systems: vec![System::Engine],
        rounds: options.rounds.max(1),
        remote: None,
        floor_block_bytes: None,
    };
    let mut comparisons = Vec::new();
    for workload in floods(&options.workload) {
        let name = workload.name.clone();
        let mut comparison = plan
            .run(workload, progress)
            .map_err(|why| why.in_workload(name))?;
        for outcome in &mut comparison.outcomes {
            require_all_kinds_of_loss(&comparison.workload, outcome);
        }
        report(text(&comparison))?;
        comparisons.push(comparison);
    }
    Ok(comparisons)
}

fn floods(settings: &Workload) -> Vec<Workload> {
    // There are at least four stalled, slow, steady and churning clients, so that one of each
    // subscribes with each combination of options.
    let base = |name: &str| Workload {
        name: name.to_owned(),
        subscribers: 24,
        stalled: 4,
        slow: Some(SlowReaders {
            clients: 4,
            bytes_per_second: 100_000,
        }),
        churn: 8,
        churn_stay: Duration::from_millis(60),
        seconds: settings.seconds,
        warmup_seconds: 0.0,
        line_bytes: settings.line_bytes,
        threads: settings.threads,
        mixed_subscriptions: true,
        ..Workload::default()
    };
    vec![
        Workload {
            rate: Rate::Max,
            queue_messages: Some(256),
            history_messages: Some(1_000),
            ..base("as fast as it goes, queue 256, history 1,000")
        },
        Workload {
            rate: Rate::Lines(5_000),
            burst_lines: 200,
            queue_messages: Some(64),
            history_messages: Some(1_000),
            ..base("5,000 lines/s in bursts of 200, queue 64, history 1,000")
        },
        Workload {
            rate: Rate::Lines(20_000),
            burst_lines: 200,
            channels: 6,
            channels_per_client: 3,
            queue_messages: Some(64),
            history_messages: Some(0),
            ..base("20,000 lines/s over 6 channels, 3 for each client, queue 64, no history")
        },
    ]
}

/// Notes a fault for every kind of loss that did not happen, since the run then proves nothing
/// about it.
fn require_all_kinds_of_loss(workload: &Workload, outcome: &mut Outcome) {
    let AnnouncedTotals {
        gaps,
        resumed,
        replayed,
        lost,
        ..
    } = outcome.announced;
    let history = workload.history_messages != Some(0);
    let paced = matches!(workload.rate, Rate::Lines(_));
    for (happened, missing) in [
        (gaps > 0, "no gap was announced"),
        (resumed > 0, "no client resumed"),
        (lost > 0 || history && paced, "no resume lost anything"),
        (replayed > 0 || !history, "no resume replayed anything"),
    ] {
        if !happened {
            outcome.fault_count += 1;
            outcome.faults.push(format!(
                "{missing}, so that the run proves nothing about it; measure for more seconds"
            ));
        }
    }
}

fn text(comparison: &Comparison) -> String {
    let workload = &comparison.workload;
    let number = |n: u64| count(n as f64);
    let mut out = String::new();
    for outcome in &comparison.outcomes {
        let result = match outcome.fault_count {
            0 => "received + gaps + lost = published, for every client".to_owned(),
            faults => format!(
                "{} faults, the first of them:\n  {}",
                number(faults),
                outcome.faults.join("\n  ")
            ),
        };
        out.push_str(&format!(
            "{}\n  \
             {} lines to {} clients that read, {} slow, {} stalled, {} that come and go, \
             {} that come back and resume;\n  \
             a quarter each plain, gaps, gaps and batch, batch\n  \
             steady clients: {} received + {} skipped = {} due; \
             order, repetition and every byte checked\n  \
             {}\n  \
             {result}\n\n",
            workload.name,
            number(outcome.published),
            workload.count_role(|role| role == ClientRole::Reader),
            workload.count_role(|role| matches!(role, ClientRole::Slow(_))),
            workload.count_role(|role| role == ClientRole::Stalled),
            workload.count_role(|role| role == ClientRole::Churner),
            workload.count_role(|role| role == ClientRole::Resumer),
            number(outcome.received),
            number(outcome.skipped),
            number(outcome.expected),
            announced(&outcome.announced),
        ));
    }
    out
}
