//! Histograms of sizes and times.

use serde::Serialize;

use crate::sync::{AtomicU64, Ordering};

/// A histogram with fixed bounds. Counting a value takes a search among about ten bounds and two
/// relaxed additions.
///
/// Every access is Relaxed: it orders nothing. A reader may see a value in its bucket before it
/// sees the value in the sum.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [AtomicU64; N],
    overflow: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Creates an empty histogram. Each bound is the largest value of its bucket.
    pub(crate) fn new(bounds: &'static [u64; N]) -> Self {
        debug_assert!(
            bounds.is_sorted(),
            "a value belongs to the first bucket whose bound is not below it"
        );
        Self {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            overflow: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one value.
    pub(crate) fn count(&self, value: u64) {
        let index = self.bounds.partition_point(|&bound| bound < value);
        self.buckets
            .get(index)
            .unwrap_or(&self.overflow)
            .fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Returns the distribution of the counted values, each divided by `unit`.
    pub(crate) fn distribution(&self, unit: f64) -> Distribution {
        let buckets: Vec<Bucket> = self
            .bounds
            .iter()
            .zip(&self.buckets)
            .map(|(&bound, count)| Bucket {
                le: bound as f64 / unit,
                count: count.load(Ordering::Relaxed),
            })
            .collect();
        let overflow = self.overflow.load(Ordering::Relaxed);
        Distribution {
            count: buckets.iter().map(|bucket| bucket.count).sum::<u64>() + overflow,
            sum: self.sum.load(Ordering::Relaxed) as f64 / unit,
            buckets,
            overflow,
        }
    }
}

/// A distribution of values, in the unit of the field that holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// The number of values.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The buckets, in ascending order. Each holds the values above the previous bucket's bound, up
    /// to its own.
    #[serde(rename = "within")]
    pub buckets: Vec<Bucket>,
    /// The number of values above the last bound.
    #[serde(rename = "beyond")]
    pub overflow: u64,
}

/// One bucket of a [`Distribution`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Bucket {
    /// The upper bound, included: the largest value that the bucket holds.
    pub le: f64,
    /// The number of values in this bucket alone.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static BOUNDS: [u64; 3] = [10, 100, 1000];

    proptest! {
        #[test]
        fn every_value_is_counted_once_under_the_first_bound_that_holds_it(
            values in prop::collection::vec(0..2000u64, 0..50),
        ) {
            let histogram = Histogram::new(&BOUNDS);
            for &value in &values {
                histogram.count(value);
            }
            let seen = histogram.distribution(10.0);
            prop_assert_eq!(seen.count, values.len() as u64);
            prop_assert_eq!(seen.sum, values.iter().sum::<u64>() as f64 / 10.0);
            let mut below = 0;
            for (&bound, bucket) in BOUNDS.iter().zip(&seen.buckets) {
                prop_assert_eq!(bucket.le, bound as f64 / 10.0);
                below += bucket.count;
                let expected = values.iter().filter(|&&value| value <= bound).count();
                prop_assert_eq!(below, expected as u64);
            }
            prop_assert_eq!(below + seen.overflow, seen.count);
        }
    }
}
