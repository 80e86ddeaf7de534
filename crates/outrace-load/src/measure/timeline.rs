//! Deliveries over time.

use crate::clock::{NS_PER_MS, NS_PER_SECOND};

/// The width of one bucket.
pub(crate) const BUCKET_NS: u64 = 100 * NS_PER_MS;

/// The longest run has a day of buckets.
const MAX_BUCKETS: usize = (86_400 * NS_PER_SECOND / BUCKET_NS) as usize;

/// The deliveries within [`BUCKET_NS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) delivered: u64,
    pub(crate) skipped: u64,
}

/// The buckets of a run, from its first line on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    buckets: Vec<Bucket>,
}

impl Timeline {
    /// Adds deliveries at `at_ns` after the first line.
    pub(crate) fn add(&mut self, at_ns: u64, delivered: u64, skipped: u64) {
        let index = (at_ns / BUCKET_NS) as usize;
        if index >= self.buckets.len() {
            self.buckets
                .resize((index + 1).min(MAX_BUCKETS), Bucket::default());
        }
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.delivered += delivered;
            bucket.skipped += skipped;
        }
    }

    /// Adds the timeline of another thread.
    pub(crate) fn merge(&mut self, other: &Timeline) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), Bucket::default());
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            mine.delivered += theirs.delivered;
            mine.skipped += theirs.skipped;
        }
    }

    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }
}
