//! A timer that is precise below a millisecond.
//!
//! The runtime's own timers tick in whole milliseconds and fire up to one millisecond late, but
//! flush intervals go down to a few hundred microseconds. On Linux a timerfd, waited for like a
//! socket, is exact. Elsewhere the runtime's timer serves.

use std::time::Duration;

/// One reusable timer, for one task.
pub(crate) struct Alarm {
    /// The timerfd. `None` if the system had no descriptor left.
    #[cfg(target_os = "linux")]
    timer: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Alarm {
    /// To be called within a runtime. Falls back to the runtime's timer when the system has no
    /// descriptor left.
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        {
            use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )
            .ok()
            .and_then(|fd| crate::descriptor::register_readable(fd).ok());
            Self { timer }
        }
        #[cfg(not(target_os = "linux"))]
        Self {}
    }

    /// Sleeps. Cancel safe: a dropped sleep leaves a timer that the next one sets anew.
    pub(crate) async fn sleep(&mut self, duration: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(timer) = &self.timer
            && linux::sleep(timer, duration).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(duration).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    use tokio::io::unix::AsyncFd;

    pub(super) async fn sleep(timer: &AsyncFd<OwnedFd>, duration: Duration) -> io::Result<()> {
        let value = Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            // A value of zero would disarm the timer.
            tv_nsec: i64::from(duration.subsec_nanos().max(1)),
        };
        let interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        timerfd_settime(
            timer.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval: interval,
                it_value: value,
            },
        )?;
        loop {
            let mut ready = timer.readable().await?;
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
            match read {
                Ok(read) => return read.map(|_| ()),
                // The readiness is left over from a sleep that was dropped.
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn sleeps_at_least_as_long_as_asked_again_and_again() {
        let mut alarm = Alarm::new();
        for micros in [0, 1, 300, 2_000, 50] {
            let asked = Duration::from_micros(micros);
            let start = Instant::now();
            alarm.sleep(asked).await;
            assert!(start.elapsed() >= asked);
        }
    }

    #[tokio::test]
    async fn a_dropped_sleep_does_not_shorten_the_next() {
        let mut alarm = Alarm::new();
        tokio::select! {
            biased;
            () = alarm.sleep(Duration::from_micros(1)) => {}
            () = std::future::ready(()) => {}
        }
        let start = Instant::now();
        alarm.sleep(Duration::from_millis(5)).await;
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
}
