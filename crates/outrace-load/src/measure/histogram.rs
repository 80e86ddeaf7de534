//! The histogram of every latency and lateness, in microseconds.

use hdrhistogram::Histogram;

/// The highest latency that is distinguished. Higher ones count as this one.
const MAX_LATENCY_US: u64 = 120_000_000;

/// Returns an empty histogram. All of them have the same bounds, so that they can be added.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are constant and in order")
}
