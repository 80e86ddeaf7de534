//! The latencies of one interval of a run: asked of all receivers, gathered from each when it comes by.

use crate::tally::empty_histogram;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Receivers give what they have when the number has changed; who asked takes what was given.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Relaxed: a receiver that sees it late gives what it has a moment later; the histograms go through the lock.
    number: AtomicU64,
    given: Mutex<Given>,
}

#[derive(Debug)]
struct Given {
    latency: Histogram<u64>,
    /// How many receivers gave since it was taken.
    by: usize,
}

impl Interval {
    pub(crate) fn new() -> Interval {
        Interval {
            number: AtomicU64::new(0),
            given: Mutex::new(Given {
                latency: empty_histogram(),
                by: 0,
            }),
        }
    }

    /// Changes when the receivers are to give what they have.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Relaxed)
    }

    /// Asks all receivers.
    pub(crate) fn ask(&self) {
        self.number.fetch_add(1, Relaxed);
    }

    pub(crate) fn give(&self, latency: &Histogram<u64>) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given
            .latency
            .add(latency)
            .expect("all have the same bounds");
        given.by += 1;
    }

    /// How many receivers have given since the last [`Interval::take`].
    pub(crate) fn given_by(&self) -> usize {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).by
    }

    /// What was given, in microseconds, and begins again.
    pub(crate) fn take(&self) -> Histogram<u64> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.by = 0;
        std::mem::replace(&mut given.latency, empty_histogram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_receivers_give_is_taken_once() {
        let interval = Interval::new();
        let mut latency = empty_histogram();
        latency.record(7).unwrap();
        let number = interval.number();
        interval.ask();
        assert_ne!(interval.number(), number);
        interval.give(&latency);
        interval.give(&latency);
        assert_eq!(interval.given_by(), 2);
        assert_eq!(
            (
                interval.take().len(),
                interval.take().len(),
                interval.given_by()
            ),
            (2, 0, 0)
        );
    }
}
