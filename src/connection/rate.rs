//! How much a peer may send. Pure: the clock comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of tokens, one for each frame, that fills at a steady rate.
///
/// It is kept as the moment at which it will be full again, so that nothing has to fill it.
#[derive(Debug)]
pub(crate) struct Rate {
    full_at: Instant,
    each: Duration,
    /// How long an empty bucket takes to fill.
    whole: Duration,
}

impl Rate {
    /// A full bucket of `burst` tokens, into which come `per_second`. Both are at least 1.
    pub(crate) fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        let each = Duration::from_secs(1) / per_second;
        Self {
            full_at: now,
            each,
            whole: each * burst,
        }
    }

    /// Takes so many tokens; false when there are not so many.
    pub(crate) fn take(&mut self, frames: u32, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.each * frames;
        let taken = full_at.saturating_duration_since(now) <= self.whole;
        if taken {
            self.full_at = full_at;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_no_more_than_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(start, 10, 5);
        for _ in 0..5 {
            assert!(rate.take(1, start));
        }
        assert!(!rate.take(1, start));
        let mut sent = 0;
        // 10 s in steps of 10 ms.
        for step in 1..=1000 {
            while rate.take(1, start + Duration::from_millis(10) * step) {
                sent += 1;
            }
        }
        assert_eq!(sent, 100);
    }

    #[test]
    fn what_is_not_used_fills_the_bucket_and_no_more() {
        let start = Instant::now();
        let mut rate = Rate::new(start, 10, 5);
        let later = start + Duration::from_secs(3600);
        assert!(rate.take(5, later));
        assert!(!rate.take(1, later));
        assert!(rate.take(1, later + Duration::from_millis(100)));
    }

    #[test]
    fn the_least_and_the_most_that_can_be_configured_are_harmless() {
        let now = Instant::now();
        for (per_second, burst) in [
            (1, 1),
            (1, 1_000_000_000),
            (1_000_000_000, 1),
            (1_000_000_000, 1_000_000_000),
        ] {
            let mut rate = Rate::new(now, per_second, burst);
            assert!(rate.take(1, now));
            assert!(rate.take(burst, now + Duration::from_secs(1) + rate.whole));
            assert!(!rate.take(u32::MAX, now), "{per_second} {burst}");
        }
    }
}
