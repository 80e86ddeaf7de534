//! The figures of each node of a cluster.

use super::accounting::UsageReading;
use super::outcome::{LatencySummary, NodeOutcome};
use crate::client::load_client::LoadClient;
use crate::measure::tally::ReceiverTally;
use crate::workload::{ClientRole, Workload};

/// What the clients of one node measured, whose thread is that of the node.
pub(super) struct NodeTally {
    delivered: u64,
    latency_us: Option<LatencySummary>,
}

impl NodeTally {
    pub(super) fn of(tally: &mut ReceiverTally) -> NodeTally {
        NodeTally {
            delivered: tally.delivered,
            latency_us: LatencySummary::of(tally.latency_us()),
        }
    }
}

/// Returns the figures of each node, and of the broker after them if there is one.
pub(super) fn node_outcomes(
    tallies: &[NodeTally],
    clients: &[LoadClient],
    workload: &Workload,
    lines: u64,
    first: &UsageReading,
    last: &UsageReading,
) -> Vec<NodeOutcome> {
    let published = last.published.saturating_sub(first.published);
    let per = |ns: u64, lines: u64| (lines > 0).then(|| ns as f64 / lines as f64);
    let layout = &workload.cluster;
    let (last_stats, first_stats) = (&last.node_stats, &first.node_stats);
    let mut outcomes: Vec<NodeOutcome> = tallies
        .iter()
        .zip(last.servers.iter().zip(&first.servers))
        .enumerate()
        .map(|(node, (tally, (last, first)))| {
            let cpu_ns = last.used_ns_since(first);
            let writes = last_stats.get(node).zip(first_stats.get(node));
            let mut outcome = NodeOutcome {
                writes_per_second: writes
                    .and_then(|(last, first)| last.writes?.checked_sub(first.writes?))
                    .map(|writes| writes as f64 / workload.seconds),
                delivered: tally.delivered,
                latency_us: tally.latency_us,
                cpu_ns_per_delivered: per(cpu_ns, tally.delivered),
                ..without_clients(layout.name_of(node), cpu_ns, published, workload)
            };
            for client in clients.iter().filter(|client| {
                client.role != ClientRole::Resumer && layout.node_of(client.number) == node
            }) {
                outcome.clients += 1;
                outcome.expected += workload.due(lines, client.number);
                for account in &client.accounts {
                    outcome.received += account.received();
                    outcome.skipped += account.skipped();
                }
            }
            outcome
        })
        .collect();
    if let (Some(last), Some(first)) = (&last.broker, &first.broker) {
        let cpu_ns = last.used_ns_since(first);
        outcomes.push(without_clients(
            "broker".to_owned(),
            cpu_ns,
            published,
            workload,
        ));
    }
    outcomes
}

fn without_clients(name: String, cpu_ns: u64, published: u64, workload: &Workload) -> NodeOutcome {
    NodeOutcome {
        name,
        clients: 0,
        expected: 0,
        received: 0,
        skipped: 0,
        delivered: 0,
        cpu_ns,
        cores: cpu_ns as f64 / workload.seconds / 1e9,
        writes_per_second: None,
        cpu_ns_per_delivered: None,
        cpu_ns_per_published: (published > 0).then(|| cpu_ns as f64 / published as f64),
        latency_us: None,
    }
}
