//! The monotonic clock that generator and servers share: nanoseconds since boot, the same in every process of a machine.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since boot.
#[inline]
pub(crate) fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * SECOND + t.tv_nsec as u64
}

/// Sleeps until `deadline` (nanoseconds since boot); returns at once when it has passed.
pub(crate) fn sleep_until(deadline: u64) {
    let at = timespec(deadline);
    while now() < deadline {
        // An interrupted sleep goes on with the same absolute deadline.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &at);
    }
}

/// Lets the calling thread's sleeps end on time instead of up to 50 us later, the kernel's default slack.
pub(crate) fn sharpen_sleeps() {
    // Refused only by a sandbox; sleeps are then less sharp, which the lateness figure shows.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / SECOND) as i64,
        tv_nsec: (ns % SECOND) as i64,
    }
}
