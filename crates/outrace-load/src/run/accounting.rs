//! Compares what was fed, what the clients received and what the server counted.

use super::line_sink::LineSink;
use super::node_accounting::{NodeTally, node_outcomes};
use super::outcome::{
    BrokerFault, LatencySummary, LatenessSummary, MemoryUse, Outcome, percentiles, timeline_points,
};
use super::skip_counts::SkipCounts;
use crate::client::announced::AnnouncedTotals;
use crate::client::load_client::LoadClient;
use crate::client::receiver::ReceiverResult;
use crate::measure::tally::ReceiverTally;
use crate::server::stats::ServerStats;
use crate::server::system::System;
use crate::server::usage::CpuUsage;
use crate::workload::{ClientRole, Workload};
use hdrhistogram::Histogram;

/// A reading of the server and the generator, at the begin or at the end of the measured time.
pub(super) struct UsageReading {
    /// Each server. A server that is no child has none.
    pub(super) servers: Vec<CpuUsage>,
    pub(super) broker: Option<CpuUsage>,
    /// The totals of each node of a cluster.
    pub(super) node_stats: Vec<ServerStats>,
    /// Lines fed so far.
    pub(super) published: u64,
    /// The resident memory of the server in bytes.
    pub(super) memory: u64,
    pub(super) generator: CpuUsage,
    pub(super) stats: ServerStats,
}

/// The result of the feeding.
pub(super) struct FeedResult {
    /// Keeps the server's input open.
    pub(super) input: Option<LineSink>,
    pub(super) lines: u64,
    pub(super) unsent: u64,
    pub(super) late_us: Histogram<u64>,
    pub(super) first: UsageReading,
    pub(super) last: UsageReading,
}

/// Everything that is known before the receivers return their results.
pub(super) struct RoundMeasurements {
    pub(super) feed: FeedResult,
    pub(super) memory: Option<MemoryUse>,
    /// The server's own count of this round.
    pub(super) skips: SkipCounts,
    pub(super) broker_fault: Option<BrokerFault>,
    pub(super) faults: Vec<String>,
}

/// The sums over the clients that stay for the whole round.
#[derive(Default)]
struct SteadyTotals {
    received: u64,
    skipped: u64,
    skipped_by_readers: u64,
    skipped_by_channel: Vec<u64>,
}

impl RoundMeasurements {
    /// Closes all accounts, and notes a fault for whatever does not add up.
    pub(super) fn into_outcome(
        self,
        workload: &Workload,
        system: System,
        received: Vec<ReceiverResult>,
        began_ns: u64,
        visits: u64,
    ) -> Outcome {
        let lines = self.feed.lines;
        let mut tally = ReceiverTally::new();
        let mut clients = Vec::new();
        let mut joined_at_ns = began_ns;
        let mut node_tallies = Vec::new();
        for mut thread in received {
            joined_at_ns = joined_at_ns.max(thread.joined_at_ns);
            if system == System::Cluster {
                node_tallies.push(NodeTally::of(&mut thread.tally));
            }
            tally.merge(thread.tally);
            clients.extend(thread.clients);
        }
        // The lines that a churner should have received are unknown.
        clients.retain(|client| client.role != ClientRole::Churner);
        for fault in self.faults {
            tally.fault(|| fault);
        }
        let totals = close_accounts(&mut clients, workload, system, lines, &mut tally);
        let announced = close_ledgers(&clients, workload, lines, &mut tally);
        check_skip_counts(
            system,
            &self.skips,
            &totals,
            announced,
            workload,
            &mut tally,
        );
        let SteadyTotals {
            received,
            skipped,
            skipped_by_readers,
            ..
        } = totals;
        let expected = workload.expected(lines);
        if received + skipped != expected {
            tally.fault(|| {
                format!(
                    "the totals do not add up: {received} received and {skipped} skipped are not \
                     the {expected} published"
                )
            });
        }
        if let Some(fault) = self.broker_fault
            && fault.caught_up_seconds.is_none()
        {
            tally.fault(|| {
                "the broker did not stop and return, or the mirrors never caught up after that"
                    .to_owned()
            });
        }
        let (latency_us, tally) = tally.into_latency();
        let seconds = workload.seconds;
        let FeedResult {
            unsent,
            late_us,
            first,
            last,
            ..
        } = self.feed;
        let usage = || last.servers.iter().zip(&first.servers);
        let has_usage = !last.servers.is_empty();
        let server_cpu_ns =
            has_usage.then(|| usage().map(|(last, first)| last.used_ns_since(first)).sum());
        let per_second = |ns: u64| ns as f64 / seconds / 1e9;
        let per_delivered =
            |figure: f64| (tally.delivered > 0).then(|| figure / tally.delivered as f64);
        Outcome {
            system,
            published: lines,
            published_measured: last.published.saturating_sub(first.published),
            unsent,
            expected,
            received,
            skipped,
            skipped_by_readers,
            server_skipped: self.skips.total,
            visits,
            announced,
            bytes_per_delivered: per_delivered(tally.bytes as f64),
            delivered: tally.delivered,
            measured_seconds: seconds,
            delivered_per_second: tally.delivered as f64 / seconds,
            megabytes_per_second: tally.bytes as f64 / seconds / 1e6,
            server_cpu_ns,
            server_cpu_ns_per_delivered: server_cpu_ns.and_then(|ns| per_delivered(ns as f64)),
            server_cores: server_cpu_ns.map(per_second),
            server_waited: has_usage.then(|| {
                per_second(
                    usage()
                        .map(|(last, first)| last.waited_ns_since(first))
                        .sum(),
                )
            }),
            generator_waited: per_second(last.generator.waited_ns_since(&first.generator)),
            generator_cores: per_second(last.generator.used_ns_since(&first.generator)),
            bytes_per_write: last.stats.bytes_per_write_since(&first.stats),
            latency_us: LatencySummary::of(&latency_us),
            feeder_late_us: LatenessSummary::of(&late_us),
            join_ms: (joined_at_ns - began_ns) as f64 / 1e6,
            memory: self.memory,
            nodes: node_outcomes(&node_tallies, &clients, workload, lines, &first, &last),
            broker_fault: self.broker_fault,
            timeline: timeline_points(tally.timeline.buckets()),
            percentiles: percentiles(&latency_us),
            faults: tally.faults,
            fault_count: tally.fault_count,
        }
    }
}

/// Closes the accounts of all clients, and returns the sums over the steady ones.
fn close_accounts(
    clients: &mut [LoadClient],
    workload: &Workload,
    system: System,
    lines: u64,
    tally: &mut ReceiverTally,
) -> SteadyTotals {
    let mut totals = SteadyTotals {
        skipped_by_channel: vec![0; workload.channels],
        ..SteadyTotals::default()
    };
    for client in clients {
        let number = client.number;
        // Of several homes, one ends with its clients before another has published its last status.
        let layout = &workload.cluster;
        let may_miss_the_end = match system {
            System::Remote => true,
            System::Cluster => layout.homes > 1 && layout.node_of(number) < layout.homes,
            _ => false,
        };
        if !may_miss_the_end && !client.has_ended() {
            tally.fault(|| {
                format!("client {number} never got the exit status, which must not be lost")
            });
        }
        for (channel, account) in workload.channels_of(number).zip(&mut client.accounts) {
            let published = workload.published(lines, channel);
            if let Err(sequence) = account.close(published) {
                tally.fault(|| {
                    format!(
                        "client {number} got line {sequence} of {published} that were published"
                    )
                });
            }
            if client.role == ClientRole::Resumer {
                continue;
            }
            totals.received += account.received();
            totals.skipped += account.skipped();
            if client.role == ClientRole::Reader {
                totals.skipped_by_readers += account.skipped();
            }
            totals.skipped_by_channel[channel] += account.skipped();
        }
    }
    totals
}

/// Closes the ledgers of all clients, and returns what was announced to them.
fn close_ledgers(
    clients: &[LoadClient],
    workload: &Workload,
    lines: u64,
    tally: &mut ReceiverTally,
) -> AnnouncedTotals {
    let mut announced = AnnouncedTotals::default();
    for client in clients {
        let number = client.number;
        let accounts = client.ledgers.iter().zip(&client.accounts);
        for ((ledger, account), channel) in accounts.zip(workload.channels_of(number)) {
            announced.add(ledger.totals());
            let published = workload.published(lines, channel);
            if let Err(fault) = ledger.close(published, account.received(), account.skipped()) {
                tally.fault(|| format!("client {number}, publisher {channel}: {fault}"));
            }
        }
    }
    announced
}

/// Compares the server's count of skipped lines with that of the clients.
///
/// They must agree. Lines that churners missed without noticing make the server's count larger.
fn check_skip_counts(
    system: System,
    skips: &SkipCounts,
    totals: &SteadyTotals,
    announced: AnnouncedTotals,
    workload: &Workload,
    tally: &mut ReceiverTally,
) {
    let churn = workload.churn > 0;
    if system == System::Cluster {
        // What was lost between two nodes is in the gaps, and in no node's count of skips.
        return;
    }
    let mut compare = |place: &str, clients: u64, server: u64| {
        if clients != server && !(churn && server > clients) {
            tally.fault(|| {
                format!(
                    "clients miss {clients} lines {place}, \
                     but the server counted {server} as skipped"
                )
            });
        }
    };
    if let Some(server) = skips.total {
        // Lines that clients miss while they reconnect are not skipped. Announced lines are.
        let clients = if workload.reconnects {
            announced.skipped
        } else {
            totals.skipped
        };
        compare("in all", clients, server);
    }
    if workload.reconnects {
        return;
    }
    for (channel, clients) in totals.skipped_by_channel.iter().enumerate() {
        let name = workload.channel_name(channel);
        if let Some(server) = skips.by_channel.get(&name) {
            compare(&format!("on {name}"), *clients, *server);
        }
    }
}
