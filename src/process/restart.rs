//! Whether a process that ended is started again, and how long after.

use std::time::Duration;

/// When a supervised process that ended by itself is started again. One that was stopped never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Never.
    #[default]
    Never,
    /// When it failed: an exit code other than 0, a signal, or it could not be started.
    OnFailure,
    /// Always.
    Always,
}

impl Restart {
    /// Whether one that ended so is started again.
    pub(super) fn applies(self, failed: bool) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => failed,
            Self::Always => true,
        }
    }
}

/// The pauses before restarts: `first`, and twice as long after each run in a row that was not healthy, up to `longest`. A run of at least
/// `healthy` begins anew.
///
/// Exact, without jitter: the processes of one supervisor are few, and a pause one can tell beforehand is worth more than one that spreads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartDelay {
    first: Duration,
    longest: Duration,
    healthy: Duration,
}

impl Default for RestartDelay {
    /// 1, 2, 4 ... 60 s; anew after a run of 10 s.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            healthy: Duration::from_secs(10),
        }
    }
}

impl RestartDelay {
    /// Pauses from `first`, 60 s at most (or `first`, if that is longer).
    pub fn new(first: Duration) -> Self {
        let default = Self::default();
        Self {
            first,
            longest: default.longest.max(first),
            ..default
        }
    }

    /// The longest pause. One shorter than the first is that.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest.max(self.first);
        self
    }

    /// How long a run has to be for the pauses to begin anew after it.
    #[must_use]
    pub fn healthy(mut self, healthy: Duration) -> Self {
        self.healthy = healthy;
        self
    }
}

/// The pauses of one process. Pure: it says how long, and waits for nothing.
#[derive(Debug)]
pub(super) struct Pauses {
    delay: RestartDelay,
    next: Duration,
}

impl Pauses {
    pub(super) fn new(delay: RestartDelay) -> Self {
        Self {
            delay,
            next: delay.first,
        }
    }

    /// The pause after a run that took so long.
    pub(super) fn after(&mut self, run: Duration) -> Duration {
        if run >= self.delay.healthy {
            self.next = self.delay.first;
        }
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.delay.longest);
        pause
    }

    /// The next failure is the first again.
    pub(super) fn reset(&mut self) {
        self.next = self.delay.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_healthy_run() {
        let mut pauses = Pauses::new(RestartDelay::default().longest(5 * SECOND));
        let short = |pauses: &mut Pauses| pauses.after(9 * SECOND).as_secs();
        assert_eq!([(); 5].map(|()| short(&mut pauses)), [1, 2, 4, 5, 5]);
        assert_eq!(pauses.after(10 * SECOND), SECOND);
        assert_eq!(short(&mut pauses), 2);
        pauses.reset();
        assert_eq!(short(&mut pauses), 1);
    }

    #[test]
    fn no_pause_stays_none() {
        let mut pauses = Pauses::new(RestartDelay::new(Duration::ZERO));
        assert_eq!(
            [(); 3].map(|()| pauses.after(Duration::ZERO)),
            [Duration::ZERO; 3]
        );
    }

    #[test]
    fn each_policy_restarts_what_it_says() {
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
        fn every_pause_is_within_its_bounds(
            first in 0..=u64::MAX, longest in 0..=u64::MAX, runs in prop::collection::vec(0..20_u32, 0..100),
        ) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let mut pauses = Pauses::new(RestartDelay::new(first).longest(longest));
            for run in runs {
                let pause = pauses.after(SECOND * run);
                prop_assert!(first <= pause && pause <= longest.max(first));
            }
        }
    }
}
