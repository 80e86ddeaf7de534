//! Proves that no line is lost without a notice.
//!
//! Clients of every kind receive floods and have to account for every line. Everything that is to
//! be proved must have happened.

use crate::client::announced::AnnouncedTotals;
use crate::cluster_layout::{BrokerKind, ClusterLayout, Placement};
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
    let system = options.verified;
    let plan = Plan {
        program: &options.program,
        systems: vec![system],
        rounds: options.rounds.max(1),
        remote: None,
        floor_block_bytes: None,
    };
    let mut comparisons = Vec::new();
    for mut workload in floods(&options.workload) {
        if system == System::Cluster {
            workload = on_all_nodes(workload, options.workload.cluster);
        }
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

/// Publishes on one node, or on two if there are several channels, and lets clients of every kind
/// connect to every node.
fn on_all_nodes(workload: Workload, layout: ClusterLayout) -> Workload {
    let can_share = layout.broker != BrokerKind::Relay && workload.channels > 1;
    Workload {
        subscribers: workload.subscribers * layout.nodes,
        stalled: workload.stalled * layout.nodes,
        slow: workload.slow.map(|slow| SlowReaders {
            clients: slow.clients * layout.nodes,
            ..slow
        }),
        churn: workload.churn * layout.nodes,
        cluster: ClusterLayout {
            placement: Placement::Everywhere,
            homes: if can_share { 2 } else { 1 },
            ..layout
        },
        ..workload
    }
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
        let nodes: String = outcome
            .nodes
            .iter()
            .filter(|node| node.clients > 0)
            .map(|node| {
                format!(
                    "{}: {} received + {} skipped = {} due to {} steady clients\n  ",
                    node.name,
                    number(node.received),
                    number(node.skipped),
                    number(node.expected),
                    node.clients
                )
            })
            .collect();
        out.push_str(&format!(
            "{}\n  \
             {} lines to {} clients that read, {} slow, {} stalled, {} that come and go, \
             {} that come back and resume;\n  \
             a quarter each plain, gaps, gaps and batch, batch\n  \
             steady clients: {} received + {} skipped = {} due; \
             order, repetition and every byte checked\n  \
             {}\n  \
             {nodes}{result}\n\n",
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
