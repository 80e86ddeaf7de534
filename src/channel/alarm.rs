//! A timer that is precise below a millisecond.
//!
//! The runtime's own timers tick in whole milliseconds and fire up to one millisecond late, but flush
//! intervals go down to a few hundred microseconds. On Linux a timerfd, waited for like a socket, is
//! exact. Elsewhere the runtime's timer serves.

use std::time::Duration;

/// One reusable timer, for one task.
pub(crate) struct Alarm {
    /// The timerfd. Waited for and read like a pipe's end: tokio's type for these takes any descriptor that can be polled.
    #[cfg(target_os = "linux")]
    timer: Option<tokio::net::unix::pipe::Receiver>,
}

impl Alarm {
    /// To be called within a runtime. Falls back to the runtime's timer when the system has no descriptor left.
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        {
            use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )
            .ok()
            .and_then(|fd| tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(fd).ok());
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
    use std::time::Duration;

    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    use tokio::net::unix::pipe::Receiver;

    pub(super) async fn sleep(timer: &Receiver, duration: Duration) -> io::Result<()> {
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
            timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval: interval,
                it_value: value,
            },
        )?;
        loop {
            timer.readable().await?;
            match timer.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                // Readiness left over from a sleep that was dropped.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
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
