//! The proof that nothing is lost in silence: floods with clients of every kind, each of which must account for every
//! line, and in which all that is to be proved did happen.

use crate::args::LoadArgs;
use crate::compare::Plan;
use crate::ledger::Announced;
use crate::outcome::{Comparison, Outcome};
use crate::progress::Progress;
use crate::system::System;
use crate::table::count;
use crate::workload::{Rate, Role, Slow, Workload};
use std::time::Duration;

/// Runs all floods; 0 if every book closes.
pub(crate) fn run(args: &LoadArgs, progress: &Progress) -> Result<u8, String> {
    let plan = Plan {
        systems: vec![System::Engine],
        rounds: args.rounds.max(1),
        remote: None,
        floor_block: None,
    };
    let mut comparisons = Vec::new();
    for workload in floods(args) {
        let name = workload.name.clone();
        let mut comparison = plan
            .run(workload, progress)
            .map_err(|why| format!("{name}: {why}"))?;
        for outcome in &mut comparison.outcomes {
            prove_something(&comparison.workload, outcome);
        }
        progress.suspend(|| print!("{}", report(&comparison)));
        comparisons.push(comparison);
    }
    if let Some(file) = &args.json {
        let suite = crate::suite::Suite {
            comparisons: comparisons.clone(),
            ..Default::default()
        };
        let json = serde_json::json!({ "machine": crate::machine::description(), "suite": suite });
        crate::write(file, &format!("{json:#}\n"))?;
    }
    let code = crate::verdict(&comparisons);
    println!(
        "{}",
        if code == 0 {
            "verified: every client accounts for every line"
        } else {
            "NOT verified"
        }
    );
    Ok(code)
}

fn floods(args: &LoadArgs) -> Vec<Workload> {
    // Of stalled, slow, steady and coming clients there are four each and more: one of each kind.
    let base = |name: &str| Workload {
        name: name.to_owned(),
        subscribers: 24,
        stalled: 4,
        slow: Some(Slow {
            clients: 4,
            bytes_per_second: 100_000,
        }),
        churn: 8,
        churn_stay: Duration::from_millis(60),
        seconds: args.seconds,
        warmup: 0.0,
        line_bytes: args.line_bytes,
        threads: args.threads,
        mix: true,
        ..Workload::default()
    };
    vec![
        Workload {
            rate: Rate::Max,
            queue: Some(256),
            history: Some(1_000),
            ..base("as fast as it goes, queue 256, history 1,000")
        },
        Workload {
            rate: Rate::Lines(5_000),
            burst: 200,
            queue: Some(64),
            history: Some(1_000),
            ..base("5,000 lines/s in bursts of 200, queue 64, history 1,000")
        },
        Workload {
            rate: Rate::Lines(20_000),
            burst: 200,
            channels: 6,
            per_client: 3,
            queue: Some(64),
            history: Some(0),
            ..base("20,000 lines/s over 6 channels, 3 for each client, queue 64, no history")
        },
    ]
}

/// What must have happened for the run to prove anything.
fn prove_something(workload: &Workload, outcome: &mut Outcome) {
    let Announced {
        gaps,
        resumed,
        replayed,
        lost,
        ..
    } = outcome.announced;
    let history = workload.history != Some(0);
    let paced = matches!(workload.rate, Rate::Lines(_));
    for (happened, what) in [
        (gaps > 0, "no gap was announced"),
        (resumed > 0, "nobody resumed"),
        (lost > 0 || history && paced, "no resume lost anything"),
        (replayed > 0 || !history, "no resume replayed anything"),
    ] {
        if !happened {
            outcome.fault_count += 1;
            outcome.faults.push(format!(
                "{what}, so that nothing is proved of it; run longer, with more --seconds"
            ));
        }
    }
}

fn report(comparison: &Comparison) -> String {
    let workload = &comparison.workload;
    let clients = |wanted: fn(Role) -> bool| {
        (0..workload.clients())
            .filter(|n| wanted(workload.role(*n)))
            .count()
    };
    let number = |n: u64| count(n as f64);
    let mut out = String::new();
    for outcome in &comparison.outcomes {
        out.push_str(&format!(
            "{}\n  {} lines to {} clients that read, {} slow, {} stalled, {} that come and go, {} that come back and resume;\n  \
             a quarter each plain, gaps, gaps and batch, batch\n  \
             steady clients: {} received + {} skipped = {} due; order, repetition and every byte checked\n  \
             {}\n  \
             {}\n\n",
            workload.name,
            number(outcome.published),
            clients(|role| role == Role::Reader),
            clients(|role| matches!(role, Role::Slow(_))),
            clients(|role| role == Role::Stalled),
            clients(|role| role == Role::Churner),
            clients(|role| role == Role::Resumer),
            number(outcome.received),
            number(outcome.skipped),
            number(outcome.expected),
            outcome.announced,
            match outcome.fault_count {
                0 => "received + gaps + lost = published, for every client".to_owned(),
                faults => format!("{} faults, the first of them:\n  {}", number(faults), outcome.faults.join("\n  ")),
            }
        ));
    }
    out
}
