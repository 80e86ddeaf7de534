//! The figures of one round. They are self-contained in JSON.

use crate::client::announced::AnnouncedTotals;
use crate::measure::timeline::{BUCKET_NS, Bucket};
use crate::server::system::System;
use hdrhistogram::Histogram;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) system: System,
    /// Lines fed in the whole run.
    pub(crate) published: u64,
    /// Lines fed in the measured time.
    pub(crate) published_measured: u64,
    /// Lines that were due and could not be fed in time.
    pub(crate) unsent: u64,
    /// Lines x steady clients of the whole run.
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) skipped: u64,
    /// The part of `skipped` that clients missed which read as fast as they could.
    pub(crate) skipped_by_readers: u64,
    /// The server's own count of skipped lines, if it has one.
    pub(crate) server_skipped: Option<u64>,
    /// The connections that churners made and ended.
    pub(crate) visits: u64,
    /// The server's announcements to the clients that asked for them. Their own counts agree.
    pub(crate) announced: AnnouncedTotals,
    /// Lines x clients that arrived within the measured time. The figures from here to
    /// `feeder_late_us` are of that time.
    pub(crate) delivered: u64,
    pub(crate) measured_seconds: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// All received bytes divided by the lines.
    pub(crate) bytes_per_delivered: Option<f64>,
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) server_cpu_ns_per_delivered: Option<f64>,
    pub(crate) server_cores: Option<f64>,
    pub(crate) generator_cores: f64,
    /// Seconds per second for which runnable threads of the server waited for a core, since other
    /// programs used it.
    pub(crate) server_waited: Option<f64>,
    /// The same for the generator.
    pub(crate) generator_waited: f64,
    pub(crate) bytes_per_write: Option<f64>,
    pub(crate) latency_us: Option<LatencySummary>,
    pub(crate) feeder_late_us: LatenessSummary,
    /// Milliseconds from the first connection attempt to the last confirmed subscription.
    pub(crate) join_ms: f64,
    pub(crate) memory: Option<MemoryUse>,
    /// The figures of each node of a cluster, and of its broker. Empty for other systems.
    pub(crate) nodes: Vec<NodeOutcome>,
    pub(crate) broker_fault: Option<BrokerFault>,
    pub(crate) timeline: Vec<TimelinePoint>,
    /// Quantiles and their latency in microseconds.
    pub(crate) percentiles: Vec<(f64, u64)>,
    /// The first few faults.
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

/// The figures of one node of a cluster, or of its broker, which has no clients.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeOutcome {
    pub(crate) name: String,
    /// The steady clients at this node, and their lines in the whole run.
    pub(crate) clients: usize,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) skipped: u64,
    /// Lines x clients that arrived within the measured time.
    pub(crate) delivered: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) cores: f64,
    /// Writes to the clients and relays of this node.
    pub(crate) writes_per_second: Option<f64>,
    pub(crate) cpu_ns_per_delivered: Option<f64>,
    /// Per line that was published on any node within the measured time.
    pub(crate) cpu_ns_per_published: Option<f64>,
    pub(crate) latency_us: Option<LatencySummary>,
}

/// A broker that stood still for a while.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct BrokerFault {
    pub(crate) stopped_seconds: f64,
    /// The time from the broker's return until every mirror's client had accounted for all lines
    /// that were published by then.
    pub(crate) caught_up_seconds: Option<f64>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LatencySummary {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
    pub(crate) lines: u64,
}

/// The lateness of writes in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LatenessSummary {
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// The resident memory of the server in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MemoryUse {
    pub(crate) before_clients: u64,
    pub(crate) with_clients: u64,
    /// The memory when the measured time began.
    pub(crate) at_start: u64,
    /// The memory when the measured time ended.
    pub(crate) at_end: u64,
    pub(crate) peak: u64,
}

/// A tenth of a second of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TimelinePoint {
    pub(crate) seconds: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) skipped_per_second: f64,
}

impl LatencySummary {
    pub(crate) fn of(histogram_us: &Histogram<u64>) -> Option<LatencySummary> {
        let at = |quantile| histogram_us.value_at_quantile(quantile);
        (!histogram_us.is_empty()).then(|| LatencySummary {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram_us.max(),
            lines: histogram_us.len(),
        })
    }
}

impl LatenessSummary {
    pub(crate) fn of(histogram_us: &Histogram<u64>) -> LatenessSummary {
        LatenessSummary {
            p99: histogram_us.value_at_quantile(0.99),
            max: histogram_us.max(),
        }
    }
}

/// A percentile means something only if more lines than this are above it.
const MIN_LINES_ABOVE: f64 = 10.0;

/// Returns the points of the latency plot.
///
/// Each step leaves the same part of the remaining lines, so that each further nine has its place.
pub(crate) fn percentiles(histogram_us: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram_us.is_empty() {
        return Vec::new();
    }
    let mut points = vec![(0.0, histogram_us.min())];
    let mut left = 1.0_f64;
    while left * histogram_us.len() as f64 > MIN_LINES_ABOVE && left > 1e-6 {
        left /= 10_f64.powf(0.1);
        points.push((1.0 - left, histogram_us.value_at_quantile(1.0 - left)));
    }
    points
}

pub(crate) fn timeline_points(buckets: &[Bucket]) -> Vec<TimelinePoint> {
    let width_seconds = BUCKET_NS as f64 / 1e9;
    buckets
        .iter()
        .enumerate()
        .map(|(i, bucket)| TimelinePoint {
            seconds: i as f64 * width_seconds,
            delivered_per_second: bucket.delivered as f64 / width_seconds,
            skipped_per_second: bucket.skipped as f64 / width_seconds,
        })
        .collect()
}

impl Outcome {
    pub(crate) fn skipped_share(&self) -> f64 {
        if self.expected == 0 {
            0.0
        } else {
            self.skipped as f64 / self.expected as f64
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.fault_count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram::empty_histogram;

    #[test]
    fn percentiles_rise_and_stop_where_too_few_lines_are_left() {
        let mut histogram = empty_histogram();
        for us in 1..=10_000 {
            histogram.record(us).unwrap();
        }
        let points = percentiles(&histogram);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1)
        );
        let last = points.last().unwrap();
        assert!((0.999..0.9999).contains(&last.0), "{last:?}");
        assert!(percentiles(&empty_histogram()).is_empty());
    }
}
