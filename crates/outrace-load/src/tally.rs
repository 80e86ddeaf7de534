//! What one receiver thread counts: latency, throughput over time, and everything that went wrong.

use crate::clock::SECOND;
use crate::control::BUCKET;
use crate::interval::Interval;
use hdrhistogram::Histogram;
use std::ops::Range;

/// Faults that are kept in words; the rest is only counted.
const FAULTS_KEPT: usize = 8;

/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 120_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) delivered: u64,
    pub(crate) skipped: u64,
}

pub(crate) struct Tally {
    /// Microseconds from the intended send time, of the lines intended within the window.
    latency: Histogram<u64>,
    /// Of those, what was given to an interval already.
    given: Option<Histogram<u64>>,
    /// Lines of one intended time that came in one read have one latency: counted, then recorded once.
    run: (u64, u64),
    run_length: u64,
    window: Range<u64>,
    origin: u64,
    pub(crate) timeline: Vec<Bucket>,
    /// What arrived within the window.
    pub(crate) delivered: u64,
    pub(crate) bytes: u64,
    /// Per publisher, how many lines are known to have been published. Not merged: it serves the thread's own clients.
    pub(crate) published: Vec<u64>,
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are constants and in order")
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            latency: empty_histogram(),
            given: None,
            run: (0, 0),
            run_length: 0,
            window: u64::MAX..u64::MAX,
            origin: u64::MAX,
            timeline: Vec::new(),
            delivered: 0,
            bytes: 0,
            published: Vec::new(),
            faults: Vec::new(),
            fault_count: 0,
        }
    }

    /// Once per wake-up: the window does not change within one.
    pub(crate) fn set_window(&mut self, origin: u64, window: Range<u64>) {
        self.origin = origin;
        self.window = window;
    }

    #[inline]
    pub(crate) fn latency(&mut self, sent: u64, now: u64) {
        if self.run == (sent, now) {
            self.run_length += 1;
        } else {
            self.record_run();
            self.run = (sent, now);
            self.run_length = 1;
        }
    }

    #[inline]
    fn record_run(&mut self) {
        let (sent, now) = self.run;
        if self.run_length > 0 && self.window.contains(&sent) {
            let micros = now.saturating_sub(sent).div_ceil(1_000);
            self.latency.saturating_record_n(micros, self.run_length);
        }
    }

    /// Gives the latencies since the last time to `interval`, and keeps them for the whole run's.
    pub(crate) fn give(&mut self, interval: &Interval) {
        interval.give(&self.latency);
        let given = self.given.get_or_insert_with(empty_histogram);
        given.add(&self.latency).expect("both have the same bounds");
        self.latency.reset();
    }

    /// A line was published, since it came.
    #[inline]
    pub(crate) fn seen(&mut self, publisher: u16, sequence: u64) {
        let at = usize::from(publisher);
        if at >= self.published.len() {
            self.published.resize(at + 1, 0);
        }
        self.published[at] = self.published[at].max(sequence + 1);
    }

    /// What one read brought.
    #[inline]
    pub(crate) fn arrived(&mut self, now: u64, lines: u64, skipped: u64, bytes: u64) {
        if self.window.contains(&now) {
            self.delivered += lines;
            self.bytes += bytes;
        }
        if now < self.origin {
            return;
        }
        let bucket = ((now - self.origin) / BUCKET) as usize;
        if bucket >= self.timeline.len() {
            // A day of buckets is the longest run.
            self.timeline.resize(
                (bucket + 1).min((86_400 * SECOND / BUCKET) as usize),
                Bucket::default(),
            );
        }
        if let Some(bucket) = self.timeline.get_mut(bucket) {
            bucket.delivered += lines;
            bucket.skipped += skipped;
        }
    }

    #[cold]
    pub(crate) fn fault(&mut self, what: impl FnOnce() -> String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(what());
        }
    }

    pub(crate) fn into_latency(mut self) -> (Histogram<u64>, Tally) {
        self.record_run();
        self.run_length = 0;
        if let Some(given) = self.given.take() {
            self.latency.add(given).expect("both have the same bounds");
        }
        (
            std::mem::replace(&mut self.latency, empty_histogram()),
            self,
        )
    }

    /// Adds another thread's.
    pub(crate) fn merge(&mut self, other: Tally) {
        let (latency, other) = other.into_latency();
        self.latency
            .add(latency)
            .expect("both have the same bounds");
        if self.timeline.len() < other.timeline.len() {
            self.timeline
                .resize(other.timeline.len(), Bucket::default());
        }
        for (mine, theirs) in self.timeline.iter_mut().zip(&other.timeline) {
            mine.delivered += theirs.delivered;
            mine.skipped += theirs.skipped;
        }
        self.delivered += other.delivered;
        self.bytes += other.bytes;
        self.fault_count += other.fault_count;
        self.faults.extend(other.faults);
        self.faults.truncate(FAULTS_KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tally_of(latencies: &[(u64, u64)]) -> Tally {
        let mut tally = Tally::new();
        tally.set_window(0, 1_000..2_000_000_000);
        for (sent, took) in latencies {
            tally.latency(*sent, sent + took);
            tally.arrived(sent + took, 1, 0, 100);
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
            let interval = Interval::new();
            tally.give(&interval);
            tally.give(&interval);
            let (after, _) = tally.into_latency();
            prop_assert_eq!(&after, &whole);
            // The last run of lines is not over before the tally is.
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
        let mut tally = Tally::new();
        tally.set_window(0, 0..u64::MAX);
        for _ in 0..500 {
            tally.latency(7_000, 1_007_000);
        }
        let (latency, _) = tally.into_latency();
        assert_eq!((latency.len(), latency.max()), (500, 1_000));
    }

    #[test]
    fn faults_beyond_those_kept_are_still_counted() {
        let mut tally = Tally::new();
        for i in 0..100 {
            tally.fault(|| format!("fault {i}"));
        }
        assert_eq!((tally.fault_count, tally.faults.len()), (100, FAULTS_KEPT));
    }
}
