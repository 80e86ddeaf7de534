//! `GET /metrics`: [`Hub::stats`] in the OpenMetrics text format, for Prometheus.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::refusal::AdmittedPeer;
use crate::backplane::{BackplaneStats, SharingStats};
use crate::bridge::{BridgeDrop, BridgeStats};
use crate::{CloseReason, Distribution, Hub, PauseReason, RefusalReason, Stats};

/// Returns the metrics. Linear in clients and channels, like [`Hub::stats`].
pub(super) async fn metrics(State(hub): State<Hub>, _: AdmittedPeer) -> Response {
    let mut registry = Registry::with_prefix("outrace");
    registry.register_collector(Box::new(StatsCollector(hub.stats())));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => {
            const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, OPEN_METRICS)], body).into_response()
        }
        // Writing to a string does not fail; only the signature allows for it.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The counters of a hub at one moment.
#[derive(Debug)]
struct StatsCollector(Stats);

impl Collector for StatsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let stats = &self.0;
        gauge(out, "clients", "Clients connected now.", stats.clients)?;
        gauge(
            out,
            "channels",
            "Channels that have subscribers.",
            stats.channels,
        )?;
        gauge(
            out,
            "subscriptions",
            "Subscriptions of all clients together.",
            stats.subscribers,
        )?;
        gauge(
            out,
            "queued_messages",
            "Messages that wait in clients' queues.",
            stats.queued,
        )?;
        gauge(
            out,
            "queued_bytes",
            "Bytes that wait in clients' queues.",
            stats.queued_bytes,
        )?;
        gauge(
            out,
            "longest_queue_messages",
            "Messages in the fullest of the queues.",
            stats.longest_queue,
        )?;
        gauge(
            out,
            "history_bytes",
            "Bytes that all histories hold.",
            stats.history_bytes,
        )?;
        counter(out, "connections", "Connections accepted.", stats.connected)?;
        let closed = CloseReason::ALL.map(CloseReason::name);
        counters(
            out,
            "closed",
            "Connections ended, by reason.",
            &closed,
            &stats.closed,
        )?;
        let refused = RefusalReason::ALL.map(RefusalReason::name);
        counters(
            out,
            "refused",
            "Requests and subscriptions refused, by reason.",
            &refused,
            &stats.refused,
        )?;
        let paused = PauseReason::ALL.map(PauseReason::name);
        let help = "Times that accepting connections paused, by reason.";
        counters(out, "accept_paused", help, &paused, &stats.paused)?;
        counter(
            out,
            "panicked_seals",
            "Seals that ended in a panic.",
            stats.panicked,
        )?;
        counter(
            out,
            "ignored_messages",
            "Messages of clients that were no command.",
            stats.ignored,
        )?;
        counter(
            out,
            "offered_messages",
            "Messages x subscribers fanned out.",
            stats.offered,
        )?;
        counter(
            out,
            "delivered_messages",
            "Messages x subscribers handed to the kernel.",
            stats.written,
        )?;
        let skipped = BTreeMap::from([
            (
                "client queue full",
                stats.skipped.saturating_sub(stats.overrun),
            ),
            ("channel queue full", stats.overrun),
        ]);
        let reasons = ["client queue full", "channel queue full"];
        counters(
            out,
            "skipped_messages",
            "Messages x subscribers skipped, by reason.",
            &reasons,
            &skipped,
        )?;
        counter(
            out,
            "dropped_messages",
            "Messages that their channel could not take, each counted once.",
            stats.dropped,
        )?;
        let help =
            "Messages x subscribers accepted for clients that went before they were written.";
        counter(out, "discarded_messages", help, stats.discarded)?;
        if let Some(bridge) = &stats.bridge {
            bridge_counters(out, bridge)?;
        }
        if let Some(backplane) = &stats.backplane {
            backplane_counters(out, backplane)?;
        }
        if let Some(sharing) = &stats.sharing {
            sharing_counters(out, sharing)?;
        }
        let blocks = &stats.block_messages;
        histogram(
            out,
            "block_messages",
            "Messages in each block that was sealed.",
            None,
            blocks,
        )?;
        let help = "Bytes that the kernel took with each write.";
        histogram(
            out,
            "write_size",
            help,
            Some(&Unit::Bytes),
            &stats.write_sizes,
        )?;
        let help = "Time that each write took.";
        histogram(
            out,
            "write_duration",
            help,
            Some(&Unit::Seconds),
            &stats.write_seconds,
        )?;
        let help =
            "Time from the first message that a flush waited for until all were in the queues.";
        histogram(
            out,
            "flush_latency",
            help,
            Some(&Unit::Seconds),
            &stats.flush_seconds,
        )
    }
}

fn sharing_counters(out: &mut DescriptorEncoder<'_>, sharing: &SharingStats) -> fmt::Result {
    let help = "Whether other nodes of the cluster can be reached: 1 or 0.";
    gauge(
        out,
        "backplane_connected",
        help,
        u8::from(sharing.connected),
    )?;
    let help = "Messages for other nodes that were dropped, and that these can ask for again.";
    counter(out, "backplane_skipped_messages", help, sharing.skipped)?;
    let help = "Messages that wait for the home of their channel.";
    gauge(out, "backplane_pending_messages", help, sharing.pending)?;
    let help = "Memory of the messages that wait for the home of their channel.";
    gauge(out, "backplane_pending_bytes", help, sharing.pending_bytes)
}

fn bridge_counters(out: &mut DescriptorEncoder<'_>, bridge: &BridgeStats) -> fmt::Result {
    gauge(
        out,
        "bridge_connected",
        "Whether the bridge is connected: 1 or 0.",
        u8::from(bridge.connected),
    )?;
    let help = "Times that the bridge's connection came back after a loss.";
    counter(out, "bridge_reconnects", help, bridge.reconnects)?;
    let help = "Messages that came over the bridge.";
    counter(out, "bridge_imported_messages", help, bridge.imported)?;
    let help = "Messages that the bridge sent.";
    counter(out, "bridge_exported_messages", help, bridge.exported)?;
    let dropped = BridgeDrop::ALL.map(BridgeDrop::name);
    let help = "Messages that did not cross the bridge, by reason.";
    counters(
        out,
        "bridge_dropped_messages",
        help,
        &dropped,
        &bridge.dropped,
    )
}

/// Encodes the counters of a backplane. Each series names its kind, so that servers with different
/// backplanes can be told apart in one chart.
fn backplane_counters(out: &mut DescriptorEncoder<'_>, stats: &BackplaneStats) -> fmt::Result {
    let kind = [("kind", stats.kind)];
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let mut family = out.encode_descriptor(name, help, None, gauge.metric_type())?;
        gauge.encode(family.encode_family(&kind)?)
    };
    gauge(
        "backplane_links",
        "Connections of the backplane that there should be.",
        stats.links as u64,
    )?;
    gauge(
        "backplane_connected",
        "Connections of the backplane that are open.",
        stats.connected as u64,
    )?;
    gauge(
        "backplane_stale_channels",
        "Channels whose messages may be late.",
        stats.stale_channels as u64,
    )?;
    if let Some(age) = stats.latest_age_ms {
        let age = ConstGauge::new(age as f64 / 1000.0);
        let help = "Time since the backplane was heard last.";
        let (name, unit) = ("backplane_latest_age", Some(&Unit::Seconds));
        let mut family = out.encode_descriptor(name, help, unit, age.metric_type())?;
        age.encode(family.encode_family(&kind)?)?;
    }
    for (name, help, value) in [
        (
            "backplane_reconnects",
            "Times that a connection of the backplane came back after a loss.",
            stats.reconnects,
        ),
        (
            "backplane_skipped_blocks",
            "Blocks that the backplane was too slow to take.",
            stats.skipped,
        ),
        (
            "backplane_repaired_messages",
            "Messages that mirrors fetched afterwards.",
            stats.repaired,
        ),
        (
            "backplane_lost_messages",
            "Messages that mirrors could not fetch and told as a gap.",
            stats.lost,
        ),
        (
            "backplane_damaged",
            "Blocks and messages of the backplane that could not be read.",
            stats.damaged,
        ),
        (
            "backplane_lease_changes",
            "Times that this node became or ceased to be the home of a channel.",
            stats.lease_changes,
        ),
    ] {
        let counter = ConstCounter::new(value);
        let mut family = out.encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(family.encode_family(&kind)?)?;
    }
    Ok(())
}

fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl TryInto<i64>,
) -> fmt::Result {
    let gauge = ConstGauge::new(value.try_into().unwrap_or(i64::MAX));
    gauge.encode(out.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(out.encode_descriptor(name, help, None, counter.metric_type())?)
}

/// Encodes one counter for each reason, including those that are still 0: a series that appears
/// with its first event hides that event from `rate()`.
fn counters(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    reasons: &[&'static str],
    counts: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for &reason in reasons {
        let counter = ConstCounter::new(counts.get(reason).copied().unwrap_or(0));
        counter.encode(family.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}

fn histogram(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    seen: &Distribution,
) -> fmt::Result {
    let mut buckets: Vec<(f64, u64)> = seen
        .buckets
        .iter()
        .map(|bucket| (bucket.le, bucket.count))
        .collect();
    // The encoder writes `f64::MAX` as `+Inf`.
    buckets.push((f64::MAX, seen.overflow));
    let mut metric = out.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(seen.sum, seen.count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_series_before_anything_has_happened() {
        let mut registry = Registry::with_prefix("outrace");
        registry.register_collector(Box::new(StatsCollector(Hub::new().stats())));
        let mut body = String::new();
        text::encode(&mut body, &registry).unwrap();
        for reason in CloseReason::ALL {
            let series = format!("outrace_closed_total{{reason=\"{reason}\"}} 0\n");
            assert!(body.contains(&series), "{series} is not in\n{body}");
        }
        for reason in RefusalReason::ALL {
            let series = format!("outrace_refused_total{{reason=\"{reason}\"}} 0\n");
            assert!(body.contains(&series), "{series} is not in\n{body}");
        }
    }
}
