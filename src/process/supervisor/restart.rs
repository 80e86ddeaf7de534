//! The restart policy: the condition for a restart, and the delay before it.

use std::time::Duration;

/// When a supervised process that ended by itself is started again. A process that was stopped is
/// never restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Restart {
    /// Never.
    #[default]
    Never,
    /// After a failure: an exit code other than 0, a signal, or a start that failed.
    OnFailure,
    /// Always.
    Always,
}

impl Restart {
    /// Returns whether a process that failed, or that did not, is started again.
    pub(super) fn applies(self, failed: bool) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => failed,
            Self::Always => true,
        }
    }
}

/// The delays before restarts: exponential backoff.
///
/// The first delay is `first`. Each further delay is twice as long, up to a
/// [maximum](Self::max_delay). A run that lasted at least as long as
/// [`reset_after`](Self::reset_after) starts again with `first`.
///
/// The delays have no jitter: a supervisor has few processes, and for them a predictable delay is
/// worth more than a spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartDelay {
    first: Duration,
    max: Duration,
    reset_after: Duration,
}

impl Default for RestartDelay {
    /// Returns delays of 1, 2, 4, … 60 s, which start again after a run of 10 s.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            reset_after: Duration::from_secs(10),
        }
    }
}

impl RestartDelay {
    /// Creates delays that start with `first`. The maximum is 60 s, or `first` if that is longer.
    pub fn new(first: Duration) -> Self {
        let default = Self::default();
        Self {
            first,
            max: default.max.max(first),
            ..default
        }
    }

    /// Sets the maximum delay. A maximum below the first delay is raised to it.
    #[must_use]
    pub fn max_delay(mut self, max: Duration) -> Self {
        self.max = max.max(self.first);
        self
    }

    /// Sets how long a run must last for the delays to start again with the first one.
    #[must_use]
    pub fn reset_after(mut self, run: Duration) -> Self {
        self.reset_after = run;
        self
    }
}

/// The backoff of one process. Pure: it computes delays and does not wait.
#[derive(Debug)]
pub(super) struct RestartBackoff {
    config: RestartDelay,
    next: Duration,
}

impl RestartBackoff {
    pub(super) fn new(config: RestartDelay) -> Self {
        Self {
            next: config.first,
            config,
        }
    }

    /// Returns the delay after a run of this duration.
    pub(super) fn after_run(&mut self, run: Duration) -> Duration {
        if run >= self.config.reset_after {
            self.next = self.config.first;
        }
        let delay = self.next;
        self.next = self.next.saturating_mul(2).min(self.config.max);
        delay
    }

    /// Starts again with the first delay.
    pub(super) fn reset(&mut self) {
        self.next = self.config.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_maximum_and_start_again_after_a_long_run() {
        let mut backoff = RestartBackoff::new(RestartDelay::default().max_delay(5 * SECOND));
        let short = |backoff: &mut RestartBackoff| backoff.after_run(9 * SECOND).as_secs();
        assert_eq!([(); 5].map(|()| short(&mut backoff)), [1, 2, 4, 5, 5]);
        assert_eq!(backoff.after_run(10 * SECOND), SECOND);
        assert_eq!(short(&mut backoff), 2);
        backoff.reset();
        assert_eq!(short(&mut backoff), 1);
    }

    #[test]
    fn a_delay_of_zero_stays_zero() {
        let mut backoff = RestartBackoff::new(RestartDelay::new(Duration::ZERO));
        assert_eq!(
            [(); 3].map(|()| backoff.after_run(Duration::ZERO)),
            [Duration::ZERO; 3]
        );
    }

    #[test]
    fn each_policy_applies_to_its_cases() {
        for (policy, after_success, after_failure) in [
            (Restart::Never, false, false),
            (Restart::OnFailure, false, true),
            (Restart::Always, true, true),
        ] {
            assert_eq!(
                (policy.applies(false), policy.applies(true)),
                (after_success, after_failure)
            );
        }
    }

    proptest! {
        #[test]
        fn every_delay_is_within_its_bounds(
            first in 0..=u64::MAX,
            max in 0..=u64::MAX,
            runs in prop::collection::vec(0..20_u32, 0..100),
        ) {
            let (first, max) = (Duration::from_millis(first), Duration::from_millis(max));
            let mut backoff = RestartBackoff::new(RestartDelay::new(first).max_delay(max));
            for run in runs {
                let delay = backoff.after_run(SECOND * run);
                prop_assert!(first <= delay && delay <= max.max(first));
            }
        }
    }
}
