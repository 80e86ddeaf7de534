//! The delays between attempts to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential backoff with jitter.
///
/// It only computes delays; it does not sleep. By default the upper bounds are 1, 2, 4, 8, 16 s and
/// then 30 s. Each delay is drawn uniformly between half of its bound and the whole of it, so that
/// the watchers of a restarted server do not all reconnect at the same moment.
///
/// ```
/// use std::time::Duration;
/// use outrace::client::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(5));
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// assert!(backoff.next_delay() >= Duration::from_millis(100));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    factor: f64,
    max: Duration,
    failures: i32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), 2.0, Duration::from_secs(30))
    }
}

impl Backoff {
    /// Creates a backoff whose first delay is at most `initial`. Each failure multiplies the bound
    /// by `factor`, up to `max`.
    ///
    /// # Panics
    /// If `factor` is less than 1 or not a number.
    pub fn new(initial: Duration, factor: f64, max: Duration) -> Self {
        assert!(
            factor >= 1.0,
            "the factor of a backoff must be at least 1, but is {factor}"
        );
        Self {
            initial,
            factor,
            max,
            failures: 0,
        }
    }

    /// Counts one more failure and returns the delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        // The exponent stops at 64: 2^64 s is beyond any maximum.
        let growth = self.factor.powi(self.failures.min(64));
        self.failures = self.failures.saturating_add(1);
        let seconds = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        Duration::from_secs_f64(seconds * (0.5 + 0.5 * random()))
    }

    /// Forgets all failures, so that the next delay is the shortest again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Returns a number that is uniform in 0..1.
///
/// Every `RandomState` of the standard library has its own keys. That is random enough for jitter.
fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_with_jitter_below() {
        let mut backoff = Backoff::default();
        for bound in [1, 2, 4, 8, 16, 30, 30] {
            let delay = backoff.next_delay().as_secs_f64();
            let bound = f64::from(bound);
            assert!(
                (bound / 2.0..=bound).contains(&delay),
                "{delay} is not within {bound} and its half"
            );
        }
        for _ in 0..1000 {
            assert!(backoff.next_delay() <= Duration::from_secs(30));
        }
    }

    #[test]
    fn a_good_connection_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }

    #[test]
    fn two_watchers_do_not_wait_equally_long() {
        assert_ne!(
            Backoff::default().next_delay(),
            Backoff::default().next_delay()
        );
    }
}
