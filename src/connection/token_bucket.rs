//! Limits how many frames a peer sends. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket, with one token for each frame, that fills at a steady rate.
///
/// The bucket is stored as the moment at which it will be full again, so that no timer has to fill
/// it.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    full_at: Instant,
    /// The time in which one token comes.
    token_time: Duration,
    /// The time in which an empty bucket fills.
    fill_time: Duration,
}

impl TokenBucket {
    /// Creates a full bucket of `burst` tokens that gets `per_second` new ones each second. Both
    /// are at least 1.
    pub(crate) fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        let token_time = Duration::from_secs(1) / per_second;
        Self {
            full_at: now,
            token_time,
            fill_time: token_time * burst,
        }
    }

    /// Takes this many tokens. Returns false, and takes none, if there are fewer.
    pub(crate) fn take(&mut self, tokens: u32, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.token_time * tokens;
        let taken = full_at.saturating_duration_since(now) <= self.fill_time;
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
        let mut bucket = TokenBucket::new(start, 10, 5);
        for _ in 0..5 {
            assert!(bucket.take(1, start));
        }
        assert!(!bucket.take(1, start));
        let mut sent = 0;
        // 10 s in steps of 10 ms.
        for step in 1..=1000 {
            while bucket.take(1, start + Duration::from_millis(10) * step) {
                sent += 1;
            }
        }
        assert_eq!(sent, 100);
    }

    #[test]
    fn what_is_not_used_fills_the_bucket_and_no_more() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(start, 10, 5);
        let later = start + Duration::from_secs(3600);
        assert!(bucket.take(5, later));
        assert!(!bucket.take(1, later));
        assert!(bucket.take(1, later + Duration::from_millis(100)));
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
            let mut bucket = TokenBucket::new(now, per_second, burst);
            assert!(bucket.take(1, now));
            assert!(bucket.take(burst, now + Duration::from_secs(1) + bucket.fill_time));
            assert!(!bucket.take(u32::MAX, now), "{per_second} {burst}");
        }
    }
}
