//! Signals a process and its group, never one that got its number later.

use std::io;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use rustix::process::{Pid, getpgrp, kill_process, kill_process_group, test_kill_process_group};
use tokio::sync::watch;

use super::{ExitReport, Signal, Suspension};
use crate::message::Status;
use crate::process::ownership::{Lineage, Listing, Member, OwnedChild};
use crate::sync::lock;

/// The receiver of signals: a process, its process group if it leads one, and its descendants if
/// they are known.
#[derive(Debug)]
pub(in crate::process) struct SignalTarget {
    pid: Pid,
    leads_group: bool,
    /// The mark of the descendants. `None`: only the group belongs to the process.
    lineage: Option<Lineage>,
    /// `None` once the process was reaped. Locked while a signal is sent and while the process is
    /// reaped, so no signal goes to a pid that the system may have given to another process.
    running: Mutex<Option<OwnedChild>>,
    exited: watch::Sender<Option<ExitReport>>,
    pub(super) suspension: watch::Sender<Option<Suspension>>,
    /// Set once a stop was requested, which makes the final status `stopped`.
    stop_requested: AtomicBool,
}

impl SignalTarget {
    pub(super) fn new(owned: OwnedChild, leads_group: bool, lineage: Option<Lineage>) -> Self {
        Self {
            pid: owned.pid(),
            leads_group,
            lineage,
            running: Mutex::new(Some(owned)),
            exited: watch::Sender::new(None),
            suspension: watch::Sender::new(None),
            stop_requested: AtomicBool::new(false),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn leads_group(&self) -> bool {
        self.leads_group
    }

    /// Marks the end of the process as requested. Must precede the signal that ends it.
    pub(super) fn request_stop(&self) {
        // Relaxed: the signal follows in this thread, and the load in `report` follows the exit
        // that the signal causes. The order goes through the system.
        self.stop_requested.store(true, Ordering::Relaxed);
    }

    /// Returns how the process ended, as `stopped` if that was requested, or `None` if it runs.
    pub(super) fn report(&self) -> Option<ExitReport> {
        let report = self.exited.borrow().clone()?;
        // Relaxed: see `request_stop`.
        if self.stop_requested.load(Ordering::Relaxed) {
            return Some(ExitReport {
                status: Status::Stopped,
                ..report
            });
        }
        Some(report)
    }

    /// Sends a signal to the group, or to the process alone if it leads no group.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] after the process was reaped, without sending anything.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let running = lock(&self.running);
        if running.is_none() {
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

    /// Sends a signal to the process, to the members of its group and to its descendants if they
    /// are known. Ignores errors.
    pub(in crate::process) fn signal_all(&self, signal: Signal) {
        let _ = self.signal(signal);
        for member in self.members().unwrap_or_default() {
            if !member.in_group || !self.leads_group {
                let _ = member.signal(signal);
            }
        }
    }

    /// Sends a signal to the process itself. Returns the system's refusal, and `None` if the signal
    /// was sent or the process has ended.
    pub(super) fn refusal(&self, signal: Signal) -> Option<io::Error> {
        let running = lock(&self.running);
        running.as_ref()?;
        kill_process(self.pid, signal.native())
            .err()
            .map(io::Error::from)
    }

    /// Sends a signal to the remaining members of the group, whether the process is one of them or
    /// not. Ignores errors.
    pub(super) fn signal_group(&self, signal: Signal) {
        let running = lock(&self.running);
        if self.leads_group && (running.is_some() || self.group_exists()) {
            let _ = kill_process_group(self.pid, signal.native());
        }
    }

    /// Returns whether the terminal sends the process the signals of its keys directly: the process
    /// shares the group of this process, and that is in the foreground.
    pub(super) fn hears_terminal(&self) -> bool {
        !self.leads_group
            && rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp())
    }

    /// Returns the running members of the group, and the running descendants if they are known,
    /// without the process itself. Returns `None` on a system that does not list its processes.
    pub(super) fn members(&self) -> Option<Vec<Member>> {
        let reaped = lock(&self.running).is_none();
        if self.lineage.is_none() && (!self.leads_group || reaped && !self.group_exists()) {
            return Some(Vec::new());
        }
        let leader = self.pid.as_raw_nonzero().get();
        Some(Listing::read()?.family(leader, self.leads_group, reaped, self.lineage.as_ref()))
    }

    /// Returns whether the group has a member, which may be a zombie.
    ///
    /// The system does not reuse the group's number while the group has members, zombies included.
    /// A reuse between two checks is as unlikely as the system's range of numbers is large.
    pub(super) fn group_exists(&self) -> bool {
        // A refusal means that there is somebody to refuse.
        self.leads_group && test_kill_process_group(self.pid) != Err(rustix::io::Errno::SRCH)
    }

    pub(super) fn has_exited(&self) -> bool {
        self.exited.borrow().is_some()
    }

    /// Waits until the process was reaped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn wait_exit(&self) {
        let mut exited = self.exited.subscribe();
        // Fails only without the sender, which `self` holds.
        let _ = exited.wait_for(Option::is_some).await;
    }

    /// Runs `reap`, which may take the exit status from the system, and records it if so.
    pub(super) fn reap(&self, reap: impl FnOnce() -> Poll<io::Result<ExitStatus>>) -> Poll<()> {
        let mut running = lock(&self.running);
        reap().map(|exit| {
            *running = None;
            self.exited.send_replace(Some(ExitReport::new(exit)));
        })
    }
}
