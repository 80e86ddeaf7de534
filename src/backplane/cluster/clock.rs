//! The clocks of the leases.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::{LEASE_MS, Now};
use super::wire::unix_ms;

/// Tells the leases the time. In tests, which have shorter leases, it runs faster.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseClock {
    begun: Instant,
    lease: Duration,
}

/// Far enough for a deadline that there is not.
const NEVER: Duration = Duration::from_secs(3600);

impl LeaseClock {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            begun: Instant::now(),
            lease,
        }
    }

    pub(super) fn now(&self) -> Now {
        let elapsed = self.begun.elapsed().as_secs_f64() / self.lease.as_secs_f64();
        Now {
            monotonic_ms: (elapsed * LEASE_MS as f64) as u64,
            unix_ms: u64::try_from(unix_ms()).unwrap_or(0),
        }
    }

    /// Returns the instant of a time of the leases.
    pub(super) fn instant(&self, monotonic_ms: Option<u64>) -> Instant {
        let Some(monotonic_ms) = monotonic_ms else {
            return Instant::now() + NEVER;
        };
        // One more, so that the time has come when it is asked for.
        let share = (monotonic_ms + 1) as f64 / LEASE_MS as f64;
        self.begun + self.lease.mul_f64(share)
    }
}
