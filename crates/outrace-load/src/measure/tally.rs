//! The counts of one receiver thread: latencies, throughput over time, and faults.

use super::histogram::empty_histogram;
use super::interval::LatencyInterval;
use super::timeline::Timeline;
use hdrhistogram::Histogram;
use std::ops::Range;

/// The number of faults that are kept as text. Further faults are only counted.
const MAX_KEPT_FAULTS: usize = 8;

/// The counts of one receiver thread, or of several after [`merge`](ReceiverTally::merge).
pub(crate) struct ReceiverTally {
    /// Microseconds from the intended send time, for the lines intended within the window.
    latency_us: Histogram<u64>,
    /// The part of the latencies that was shared with an interval.
    shared_latency_us: Option<Histogram<u64>>,
    /// Lines with one intended time that arrive in one read have one latency. They are counted
    /// here and recorded once. The pair is the send time and the arrival time.
    run: (u64, u64),
    run_length: u64,
    window_ns: Range<u64>,
    origin_ns: u64,
    pub(crate) timeline: Timeline,
    /// The lines that arrived within the window.
    pub(crate) delivered: u64,
    /// The bytes that arrived within the window.
    pub(crate) bytes: u64,
    /// The number of lines that each publisher is known to have published.
    ///
    /// It serves the clients of this thread and is not merged.
    pub(crate) published: Vec<u64>,
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

impl ReceiverTally {
    pub(crate) fn new() -> ReceiverTally {
        ReceiverTally {
            latency_us: empty_histogram(),
            shared_latency_us: None,
            run: (0, 0),
            run_length: 0,
            window_ns: u64::MAX..u64::MAX,
            origin_ns: u64::MAX,
            timeline: Timeline::default(),
            delivered: 0,
            bytes: 0,
            published: Vec::new(),
            faults: Vec::new(),
            fault_count: 0,
        }
    }

    /// Sets the time of the first line and the measured window.
    ///
    /// A receiver calls it once per wake-up, since the window does not change within one.
    pub(crate) fn set_window(&mut self, origin_ns: u64, window_ns: Range<u64>) {
        self.origin_ns = origin_ns;
        self.window_ns = window_ns;
    }

    /// Adds the latency of one line.
    #[inline]
    pub(crate) fn add_latency(&mut self, sent_ns: u64, now_ns: u64) {
        if self.run == (sent_ns, now_ns) {
            self.run_length += 1;
        } else {
            self.record_run();
            self.run = (sent_ns, now_ns);
            self.run_length = 1;
        }
    }

    #[inline]
    fn record_run(&mut self) {
        let (sent_ns, now_ns) = self.run;
        if self.run_length > 0 && self.window_ns.contains(&sent_ns) {
            let latency_us = now_ns.saturating_sub(sent_ns).div_ceil(1_000);
            self.latency_us
                .saturating_record_n(latency_us, self.run_length);
        }
    }

    /// Adds the latencies since the previous call to `interval`. They still count for the run.
    pub(crate) fn share(&mut self, interval: &LatencyInterval) {
        interval.add(&self.latency_us);
        let shared = self.shared_latency_us.get_or_insert_with(empty_histogram);
        shared
            .add(&self.latency_us)
            .expect("all histograms have the same bounds");
        self.latency_us.reset();
    }

    /// Notes that a publisher has published the line `sequence`.
    #[inline]
    pub(crate) fn note_published(&mut self, publisher: u16, sequence: u64) {
        let at = usize::from(publisher);
        if at >= self.published.len() {
            self.published.resize(at + 1, 0);
        }
        self.published[at] = self.published[at].max(sequence + 1);
    }

    /// Adds the result of one read.
    #[inline]
    pub(crate) fn add_arrival(&mut self, now_ns: u64, lines: u64, skipped: u64, bytes: u64) {
        if self.window_ns.contains(&now_ns) {
            self.delivered += lines;
            self.bytes += bytes;
        }
        if now_ns >= self.origin_ns {
            self.timeline.add(now_ns - self.origin_ns, lines, skipped);
        }
    }

    /// Counts a fault and keeps its text if few have been kept.
    #[cold]
    pub(crate) fn fault(&mut self, text: impl FnOnce() -> String) {
        self.fault_count += 1;
        if self.faults.len() < MAX_KEPT_FAULTS {
            self.faults.push(text());
        }
    }

    /// Returns the latencies in microseconds that are not shared with an interval.
    pub(crate) fn latency_us(&mut self) -> &Histogram<u64> {
        self.record_run();
        self.run_length = 0;
        &self.latency_us
    }

    /// Returns all latencies in microseconds, and the tally without them.
    pub(crate) fn into_latency(mut self) -> (Histogram<u64>, ReceiverTally) {
        self.record_run();
        self.run_length = 0;
        if let Some(shared) = self.shared_latency_us.take() {
            self.latency_us
                .add(shared)
                .expect("all histograms have the same bounds");
        }
        (
            std::mem::replace(&mut self.latency_us, empty_histogram()),
            self,
        )
    }

    /// Adds the tally of another thread.
    pub(crate) fn merge(&mut self, other: ReceiverTally) {
        let (latency_us, other) = other.into_latency();
        self.latency_us
            .add(latency_us)
            .expect("all histograms have the same bounds");
        self.timeline.merge(&other.timeline);
        self.delivered += other.delivered;
        self.bytes += other.bytes;
        self.fault_count += other.fault_count;
        self.faults.extend(other.faults);
        self.faults.truncate(MAX_KEPT_FAULTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tally_of(latencies: &[(u64, u64)]) -> ReceiverTally {
        let mut tally = ReceiverTally::new();
        tally.set_window(0, 1_000..2_000_000_000);
        for (sent, took) in latencies {
            tally.add_latency(*sent, sent + took);
            tally.add_arrival(sent + took, 1, 0, 100);
        }
        tally
    }

    proptest! {
        #[test]
        fn threads_merged_are_one_thread_that_saw_everything(
            a in prop::collection::vec((0u64..3_000_000_000, 0u64..1_000_000_000), 0..50),
            b in prop::collection::vec((0u64..3_000_000_000, 0u64..1_000_000_000), 0..50),
        ) {
            let whole = tally_of(&[a.clone(), b.clone()].concat());
            let mut merged = tally_of(&a);
            merged.merge(tally_of(&b));
            prop_assert_eq!(&merged.timeline, &whole.timeline);
            prop_assert_eq!((merged.delivered, merged.bytes), (whole.delivered, whole.bytes));
            let (merged, _) = merged.into_latency();
            let (whole, _) = whole.into_latency();
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn what_was_given_to_an_interval_counts_for_the_run_too(
            a in prop::collection::vec((0u64..3_000_000_000, 0u64..1_000_000_000), 0..50),
        ) {
            let (whole, _) = tally_of(&a).into_latency();
            let mut tally = tally_of(&a);
            let interval = LatencyInterval::new();
            tally.share(&interval);
            tally.share(&interval);
            let (after, _) = tally.into_latency();
            prop_assert_eq!(&after, &whole);
            // The last run of lines ends with the tally.
            prop_assert!(interval.take().len() + 1 >= whole.len());
        }

        #[test]
        fn only_lines_intended_within_the_window_have_a_latency(
            latencies in prop::collection::vec((0u64..3_000_000_000, 0u64..1_000_000_000), 0..50),
        ) {
            let within = latencies.iter().filter(|(sent, _)| (1_000..2_000_000_000).contains(sent)).count();
            let (latency, _) = tally_of(&latencies).into_latency();
            prop_assert_eq!(latency.len(), within as u64);
        }
    }

    #[test]
    fn a_run_of_one_moment_counts_every_line() {
        let mut tally = ReceiverTally::new();
        tally.set_window(0, 0..u64::MAX);
        for _ in 0..500 {
            tally.add_latency(7_000, 1_007_000);
        }
        let (latency, _) = tally.into_latency();
        assert_eq!((latency.len(), latency.max()), (500, 1_000));
    }

    #[test]
    fn faults_beyond_those_kept_are_still_counted() {
        let mut tally = ReceiverTally::new();
        for i in 0..100 {
            tally.fault(|| format!("fault {i}"));
        }
        assert_eq!(
            (tally.fault_count, tally.faults.len()),
            (100, MAX_KEPT_FAULTS)
        );
    }
}
