//! The monotonic clock that the generator and its servers share.
//!
//! Times are nanoseconds since boot. Every process of one machine reads the same clock.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

pub(crate) const NS_PER_MS: u64 = 1_000_000;
pub(crate) const NS_PER_SECOND: u64 = 1_000_000_000;

/// Returns the nanoseconds since boot.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * NS_PER_SECOND + t.tv_nsec as u64
}

/// Sleeps until `deadline_ns`. Returns at once if the deadline has passed.
pub(crate) fn sleep_until_ns(deadline_ns: u64) {
    let at = timespec(deadline_ns);
    while now_ns() < deadline_ns {
        // An interrupted sleep continues with the same absolute deadline.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &at);
    }
}

/// Reduces the timer slack of the calling thread, so that its sleeps end on time.
///
/// The kernel's default slack lets a sleep end up to 50 us late.
pub(crate) fn reduce_timer_slack() {
    // Only a sandbox refuses this. Sleeps then end later, which the lateness figure shows.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / NS_PER_SECOND) as i64,
        tv_nsec: (ns % NS_PER_SECOND) as i64,
    }
}
