//! A tally of sizes or times by magnitude.

use serde::Serialize;

use crate::sync::{AtomicU64, Ordering};

/// A tally of values under fixed bounds. Counting costs a search among a dozen bounds and two relaxed additions.
///
/// Relaxed throughout: it orders nothing, and a reader may see a value's place before its amount.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [AtomicU64; N],
    overflow: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Of values that are told apart by `bounds`, each of which holds what is equal to it.
    pub(crate) fn new(bounds: &'static [u64; N]) -> Self {
        debug_assert!(
            bounds.is_sorted(),
            "a value belongs to the first bound that holds it"
        );
        Self {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            overflow: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn count(&self, value: u64) {
        let place = self.bounds.partition_point(|&bound| bound < value);
        self.buckets
            .get(place)
            .unwrap_or(&self.overflow)
            .fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted, each value divided by `unit`.
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

/// How values were spread, in the unit that the field says which holds it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// How many values there were.
    pub count: u64,
    /// What they add up to.
    pub sum: f64,
    /// How many there were up to each bound, and above the one before.
    #[serde(rename = "within")]
    pub buckets: Vec<Bucket>,
    /// How many were above the last bound.
    #[serde(rename = "beyond")]
    pub overflow: u64,
}

/// One part of a [`Distribution`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Bucket {
    /// The largest value it holds.
    pub le: f64,
    /// How many values it holds.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static BOUNDS: [u64; 3] = [10, 100, 1000];

    proptest! {
        #[test]
        fn every_value_is_counted_once_under_the_first_bound_that_holds_it(values in prop::collection::vec(0..2000u64, 0..50)) {
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
                prop_assert_eq!(below, values.iter().filter(|&&value| value <= bound).count() as u64);
            }
            prop_assert_eq!(below + seen.overflow, seen.count);
        }
    }
}
