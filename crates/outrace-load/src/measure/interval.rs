//! The latencies of one interval of a run, collected from all receivers.

use super::histogram::empty_histogram;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Collects latencies on request.
///
/// Each receiver adds its latencies when the request number has changed. The requester takes what
/// was added.
#[derive(Debug)]
pub(crate) struct LatencyInterval {
    /// Relaxed: a receiver that sees a new number late adds its latencies a moment later. The
    /// histograms themselves are passed under the lock.
    request: AtomicU64,
    collected: Mutex<CollectedLatencies>,
}

#[derive(Debug)]
struct CollectedLatencies {
    latency_us: Histogram<u64>,
    /// The number of receivers that added latencies since the last [`LatencyInterval::take`].
    contributions: usize,
}

impl LatencyInterval {
    pub(crate) fn new() -> LatencyInterval {
        LatencyInterval {
            request: AtomicU64::new(0),
            collected: Mutex::new(CollectedLatencies {
                latency_us: empty_histogram(),
                contributions: 0,
            }),
        }
    }

    /// Returns a number that changes with every request.
    pub(crate) fn request_number(&self) -> u64 {
        self.request.load(Relaxed)
    }

    /// Requests the latencies of all receivers.
    pub(crate) fn request(&self) {
        self.request.fetch_add(1, Relaxed);
    }

    /// Adds the latencies of one receiver.
    pub(crate) fn add(&self, latency_us: &Histogram<u64>) {
        let mut collected = self.lock();
        collected
            .latency_us
            .add(latency_us)
            .expect("all histograms have the same bounds");
        collected.contributions += 1;
    }

    /// Returns the number of receivers that added latencies since the last
    /// [`take`](LatencyInterval::take).
    pub(crate) fn contributions(&self) -> usize {
        self.lock().contributions
    }

    /// Returns the collected latencies in microseconds and starts with an empty histogram.
    pub(crate) fn take(&self) -> Histogram<u64> {
        let mut collected = self.lock();
        collected.contributions = 0;
        std::mem::replace(&mut collected.latency_us, empty_histogram())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CollectedLatencies> {
        // A histogram is valid after any panic.
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_receivers_give_is_taken_once() {
        let interval = LatencyInterval::new();
        let mut latency = empty_histogram();
        latency.record(7).unwrap();
        let number = interval.request_number();
        interval.request();
        assert_ne!(interval.request_number(), number);
        interval.add(&latency);
        interval.add(&latency);
        assert_eq!(interval.contributions(), 2);
        assert_eq!(
            (
                interval.take().len(),
                interval.take().len(),
                interval.contributions()
            ),
            (2, 0, 0)
        );
    }
}
