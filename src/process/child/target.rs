//! Signals a process and its group, never one that got its number later.

use std::io;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::sync::watch;

use super::{ExitReport, Signal, group};
use crate::message::Status;
use crate::sync::lock;

/// The receiver of signals: a process and, if it leads one, its process group.
#[derive(Debug)]
pub(super) struct SignalTarget {
    pid: Pid,
    leads_group: bool,
    /// Set once the process was reaped. Locked while a signal is sent and while the process is
    /// reaped, so no signal goes to a pid that the system may have given to another process.
    reaped: Mutex<bool>,
    exited: watch::Sender<bool>,
    /// Set once a stop was requested, which makes the final status `stopped`.
    stop_requested: AtomicBool,
}

impl SignalTarget {
    pub(super) fn new(pid: Pid, leads_group: bool) -> Self {
        Self {
            pid,
            leads_group,
            reaped: Mutex::new(false),
            exited: watch::Sender::new(false),
            stop_requested: AtomicBool::new(false),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Marks the end of the process as requested. Must precede the signal that ends it.
    pub(super) fn request_stop(&self) {
        // Relaxed: the signal follows in this thread, and the load in `report` follows the exit
        // that the signal causes. The order goes through the system.
        self.stop_requested.store(true, Ordering::Relaxed);
    }

    /// Reports how the process ended: as `stopped` if that was requested.
    pub(super) fn report(&self, exit: io::Result<ExitStatus>) -> ExitReport {
        let report = ExitReport::new(exit);
        // Relaxed: see `request_stop`.
        if self.stop_requested.load(Ordering::Relaxed) {
            return ExitReport {
                status: Status::Stopped,
                ..report
            };
        }
        report
    }

    /// Sends a signal to the group, or to the process alone if it leads no group.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] after the process was reaped, without sending anything.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let reaped = lock(&self.reaped);
        if *reaped {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process has ended",
            ));
        }
        if self.leads_group {
            kill_process_group(self.pid, signal.native())?;
        } else {
            kill_process(self.pid, signal.native())?;
        }
        Ok(())
    }

    /// Sends a signal to the remaining members of the group, whether the process is one of them or
    /// not. Ignores errors.
    pub(super) fn signal_group(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if self.leads_group && (!*reaped || group::has_members(self.pid)) {
            let _ = kill_process_group(self.pid, signal.native());
        }
    }

    /// Returns whether the process or a member of its group still runs.
    pub(super) fn has_group(&self) -> bool {
        let reaped = lock(&self.reaped);
        !*reaped || self.leads_group && group::has_members(self.pid)
    }

    /// Waits until the process was reaped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn wait_exit(&self) {
        let mut exited = self.exited.subscribe();
        // Fails only without the sender, which `self` holds.
        let _ = exited.wait_for(|exited| *exited).await;
    }

    /// Runs `reap`, which may take the exit status from the system, and records whether it did.
    pub(super) fn reap<T>(&self, reap: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let mut reaped = lock(&self.reaped);
        let polled = reap();
        if polled.is_ready() {
            *reaped = true;
            self.exited.send_replace(true);
        }
        polled
    }
}
