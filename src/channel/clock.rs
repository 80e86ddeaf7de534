//! The hub's monotonic clock, and the pace at which it flushes.

use std::time::{Duration, Instant};

use super::pace::{Pace, Reached};

/// The time since the hub began, and the time of its next flush.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    pace: Pace,
}

impl Clock {
    pub(super) fn new(max_flush_interval: Duration) -> Self {
        Self {
            start: Instant::now(),
            pace: Pace::new(max_flush_interval),
        }
    }

    /// Returns the nanoseconds since the hub began.
    pub(super) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Returns whether the pace allows a flush at `now`.
    pub(super) fn is_flush_due(&self, now: u64) -> bool {
        self.pace.next() <= now
    }

    /// Returns the time until the pace allows a flush; `None` when it does so already.
    pub(super) fn until_flush(&self) -> Option<Duration> {
        let (next, now) = (self.pace.next(), self.now());
        (next > now).then(|| Duration::from_nanos(next - now))
    }

    /// Records that a pass at `now` reached these clients.
    pub(super) fn spent(&self, now: u64, reached: Reached) {
        self.pace.spent(now, reached);
    }

    /// Records the cost of one write, in nanoseconds.
    pub(super) fn wrote(&self, nanoseconds: u64) {
        self.pace.wrote(nanoseconds);
    }
}
