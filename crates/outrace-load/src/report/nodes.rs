//! The table of the nodes of a cluster, beside a server that runs alone.

use super::format::{count, milliseconds, or_dash};
use super::markdown::markdown;
use crate::run::comparison::{Comparison, median};
use crate::run::outcome::{NodeOutcome, Outcome};
use crate::server::system::System;

/// Returns the table with one row per node, and the sentences below it. It is empty unless a
/// cluster was measured.
pub(super) fn nodes(comparison: &Comparison) -> String {
    let Some(first) = comparison.of(System::Cluster).next() else {
        return String::new();
    };
    let head = [
        "node",
        "clients",
        "received",
        "skipped",
        "CPU ns/delivered",
        "x alone",
        "CPU ns/published",
        "cores",
        "p50",
        "p99",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (index, node) in first.nodes.iter().enumerate() {
        let figure = |figure: fn(&NodeOutcome) -> Option<f64>| {
            let rounds = comparison.of(System::Cluster);
            median(
                rounds
                    .filter_map(|outcome| figure(outcome.nodes.get(index)?))
                    .collect(),
            )
        };
        rows.push(vec![
            node.name.clone(),
            node.clients.to_string(),
            or_dash(figure(|n| Some(n.received as f64)), count),
            or_dash(figure(|n| Some(n.skipped as f64)), count),
            or_dash(figure(|n| n.cpu_ns_per_delivered), |ns| format!("{ns:.0}")),
            or_dash(times_alone(comparison, index), |ratio| {
                format!("{ratio:.2}")
            }),
            or_dash(figure(|n| n.cpu_ns_per_published), |ns| format!("{ns:.0}")),
            or_dash(figure(|n| Some(n.cores)), |cores| format!("{cores:.3}")),
            or_dash(figure(|n| Some(n.latency_us?.p50 as f64)), milliseconds),
            or_dash(figure(|n| Some(n.latency_us?.p99 as f64)), milliseconds),
        ]);
    }
    let layout = &comparison.workload.cluster;
    let mut out = format!(
        "\nThe {} nodes of the cluster, connected by {}{}:\n\n{}",
        layout.nodes,
        layout.broker,
        if layout.durable { ", durable" } else { "" },
        markdown(&rows)
    );
    for outcome in comparison.of(System::Cluster) {
        if let Some(sentence) = fault(outcome) {
            out.push_str(&format!("\n{sentence}\n"));
        }
    }
    out
}

/// Returns the median over the rounds of a node's CPU per delivered line, beside that of the
/// engine alone in the same round.
pub(crate) fn times_alone(comparison: &Comparison, node: usize) -> Option<f64> {
    let pairs = comparison
        .of(System::Cluster)
        .zip(comparison.of(System::Engine));
    median(
        pairs
            .filter_map(|(cluster, alone)| {
                let node = cluster.nodes.get(node)?.cpu_ns_per_delivered?;
                Some(node / alone.server_cpu_ns_per_delivered?)
            })
            .collect(),
    )
}

fn fault(outcome: &Outcome) -> Option<String> {
    let fault = outcome.broker_fault?;
    let stopped = fault.stopped_seconds;
    Some(match fault.caught_up_seconds {
        Some(seconds) => format!(
            "the broker stood still for {stopped:.2} s; the mirrors had everything {seconds:.2} s \
             after its return"
        ),
        None => format!(
            "the broker stood still for {stopped:.2} s, and the mirrors never caught up after that"
        ),
    })
}
