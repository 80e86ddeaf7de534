//! What one round came to, in figures that stand for themselves in JSON.

use crate::control::BUCKET;
use crate::ledger::Announced;
use crate::system::System;
use crate::tally::Bucket;
use crate::workload::Workload;
use hdrhistogram::Histogram;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) system: System,
    /// Lines fed in the whole run.
    pub(crate) published: u64,
    /// Lines that were due and could not be fed in time.
    pub(crate) unsent: u64,
    /// Lines x steady clients, in the whole run.
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) skipped: u64,
    /// Of those, what clients missed that read as fast as they could.
    pub(crate) skipped_by_readers: u64,
    /// The server's own count of the same, where it has one.
    pub(crate) server_skipped: Option<u64>,
    /// Connections that churners made and left.
    pub(crate) visits: u64,
    /// What the server told those who had asked, and who counted the same.
    pub(crate) announced: Announced,
    /// Lines x clients that arrived within the measured time; the next figures are of that time too.
    pub(crate) delivered: u64,
    pub(crate) measured_seconds: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// All bytes received, by lines.
    pub(crate) bytes_per_delivered: Option<f64>,
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) server_cpu_ns_per_delivered: Option<f64>,
    pub(crate) server_cores: Option<f64>,
    pub(crate) generator_cores: f64,
    /// How long threads that could run waited for a core, in seconds per second: what others took.
    pub(crate) server_waited: Option<f64>,
    pub(crate) generator_waited: f64,
    pub(crate) bytes_per_write: Option<f64>,
    pub(crate) latency_us: Option<Latency>,
    pub(crate) feeder_late_us: Late,
    /// From the first connection attempt to the last proof of a subscription.
    pub(crate) join_ms: f64,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) timeline: Vec<Moment>,
    pub(crate) percentiles: Vec<(f64, u64)>,
    /// Everything that must not be; the first few in words.
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
    pub(crate) lines: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Late {
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MemoryUse {
    pub(crate) before_clients: u64,
    pub(crate) with_clients: u64,
    /// When the measured time began, and when it ended.
    pub(crate) at_start: u64,
    pub(crate) at_end: u64,
    pub(crate) peak: u64,
}

/// A tenth of a second of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Moment {
    pub(crate) seconds: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) skipped_per_second: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
            lines: histogram.len(),
        })
    }
}

impl Late {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Late {
        Late {
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        }
    }
}

/// Points of the latency plot: halves of what is left, so that each further nine has its place.
pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let mut points = vec![(0.0, histogram.min())];
    let mut left = 1.0_f64;
    // A percentile needs some lines beyond it to mean anything.
    while left * histogram.len() as f64 > 10.0 && left > 1e-6 {
        left /= 10_f64.powf(0.1);
        points.push((1.0 - left, histogram.value_at_quantile(1.0 - left)));
    }
    points
}

pub(crate) fn moments(timeline: &[Bucket]) -> Vec<Moment> {
    let width = BUCKET as f64 / 1e9;
    timeline
        .iter()
        .enumerate()
        .map(|(i, bucket)| Moment {
            seconds: i as f64 * width,
            delivered_per_second: bucket.delivered as f64 / width,
            skipped_per_second: bucket.skipped as f64 / width,
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

/// All rounds of one workload, in the order in which they ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: Workload,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Comparison {
    pub(crate) fn systems(&self) -> Vec<System> {
        let mut systems: Vec<System> = self.outcomes.iter().map(|outcome| outcome.system).collect();
        systems.sort_unstable();
        systems.dedup();
        systems
    }

    pub(crate) fn of(&self, system: System) -> impl Iterator<Item = &Outcome> {
        self.outcomes
            .iter()
            .filter(move |outcome| outcome.system == system)
    }

    /// The median over the rounds of `system`.
    pub(crate) fn median(
        &self,
        system: System,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        median(self.of(system).filter_map(figure).collect())
    }

    /// The median over the rounds of the engine's figure divided by that of `other` in the same round.
    pub(crate) fn ratio(
        &self,
        other: System,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        ratio(self.of(System::Engine), self.of(other), figure)
    }

    /// The median over the rounds of the engine's figure divided by that of the same round of another workload.
    pub(crate) fn ratio_to(
        &self,
        other: &Comparison,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        ratio(self.of(System::Engine), other.of(System::Engine), figure)
    }
}

fn ratio<'a>(
    ours: impl Iterator<Item = &'a Outcome>,
    theirs: impl Iterator<Item = &'a Outcome>,
    figure: impl Fn(&Outcome) -> Option<f64>,
) -> Option<f64> {
    let ratios = ours
        .zip(theirs)
        .filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?));
    median(ratios.filter(|ratio| ratio.is_finite()).collect())
}

/// The middle of `values`, or the mean of the two middles.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::empty_histogram;

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

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
