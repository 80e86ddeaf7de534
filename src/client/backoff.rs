//! How long to wait before connecting again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Exponential backoff with jitter. Pure: it says how long to wait, and waits for nothing.
///
/// The pauses are drawn between half and all of 1, 2, 4 ... 30 s, so that the watchers of a server that
/// comes back do not all come back at once.
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
    /// Pauses of at most `initial` at first, and `factor` times more with every failure up to `max`.
    ///
    /// # Panics
    /// When `factor` is less than 1 or not a number: pauses would shrink.
    pub fn new(initial: Duration, factor: f64, max: Duration) -> Self {
        assert!(
            factor >= 1.0,
            "pauses must not shrink: the factor is {factor}"
        );
        Self {
            initial,
            factor,
            max,
            failures: 0,
        }
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        // Saturates: 2^64 s is past any maximum.
        let growth = self.factor.powi(self.failures.min(64));
        self.failures = self.failures.saturating_add(1);
        let seconds = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        Duration::from_secs_f64(seconds * (0.5 + 0.5 * random()))
    }

    /// A connection was good: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Uniform in 0..1. The standard library's hasher keys are random per value, which is all that jitter needs.
fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_with_jitter_below() {
        let mut backoff = Backoff::default();
        for most in [1, 2, 4, 8, 16, 30, 30] {
            let pause = backoff.next_pause().as_secs_f64();
            let most = f64::from(most);
            assert!(
                (most / 2.0..=most).contains(&pause),
                "{pause} is not within {most} and its half"
            );
        }
        for _ in 0..1000 {
            assert!(backoff.next_pause() <= Duration::from_secs(30));
        }
    }

    #[test]
    fn a_good_connection_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next_pause();
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_secs(1));
    }

    #[test]
    fn two_watchers_do_not_pause_alike() {
        assert_ne!(
            Backoff::default().next_pause(),
            Backoff::default().next_pause()
        );
    }
}
