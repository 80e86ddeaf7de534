//! The handle of a running process.

use std::io;
use std::sync::Arc;

use tokio::process::ChildStdin;
use tokio::sync::watch;

use super::target::SignalTarget;
use super::{ExitReport, PtyInput, Signal, Suspension};
use crate::Lossless;
use crate::message::ProcessId;

/// A process whose output is being published. See [`Hub::spawn`](crate::Hub::spawn).
///
/// After a drop, the process goes on running and its output is still published, unless
/// [`Spawn::kill_on_drop`](super::Spawn::kill_on_drop) is set.
#[derive(Debug)]
pub struct Process {
    pub(super) id: ProcessId,
    pub(super) target: Arc<SignalTarget>,
    pub(super) report: watch::Receiver<Option<ExitReport>>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) pty_input: Option<PtyInput>,
    pub(super) kill_on_drop: bool,
    pub(super) lossless: Option<Lossless>,
}

impl Process {
    /// Returns the id that the process publishes under.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    pub(in crate::process) fn target(&self) -> Arc<SignalTarget> {
        Arc::clone(&self.target)
    }

    /// Returns the operating system's process id. It may belong to another process after this one
    /// has ended.
    pub fn pid(&self) -> u32 {
        self.target.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// Takes the writing end of the process's standard input.
    ///
    /// Returns `None` the second time, or if the command's standard input is not
    /// [`Stdio::piped`](std::process::Stdio::piped). The input ends when the writing end is
    /// dropped; if it was not taken, it is dropped with this handle.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Takes the keyboard of the process's pseudo-terminal.
    ///
    /// Returns `None` the second time, or if the process has no terminal that is its
    /// [standard input](super::Pty::with_stdin).
    pub fn take_pty_input(&mut self) -> Option<PtyInput> {
        self.pty_input.take()
    }

    /// Waits until the process has ended and all its output and its final status are published.
    ///
    /// Any number of tasks may wait. After the shutdown of the runtime that ran the process, the
    /// report is a crash with code 255.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(&self) -> ExitReport {
        let mut report = self.report.clone();
        // The sender is dropped without a report only with the runtime that ran the process's task.
        let report = report
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|report| report.clone());
        report.unwrap_or_else(ExitReport::unknown)
    }

    /// Returns the final report, or `None` if [`wait`](Self::wait) would have to wait for it.
    pub fn report(&self) -> Option<ExitReport> {
        self.report.borrow().clone()
    }

    /// Returns whether and why the process is suspended.
    pub fn suspension(&self) -> Option<Suspension> {
        *self.target.suspension.borrow()
    }

    /// Waits until [`suspension`](Self::suspension) differs from `seen`, and returns it. Never
    /// completes after the end of the process.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn suspension_changed(&self, seen: Option<Suspension>) -> Option<Suspension> {
        let mut suspension = self.target.suspension.subscribe();
        // Fails only without the sender, which `self` holds.
        match suspension.wait_for(|now| *now != seen).await {
            Ok(now) => *now,
            Err(_) => seen,
        }
    }

    /// Ends all waiting for subscribers, now and in the future, so that a
    /// [lossless](super::Spawn::lossless) process can end soon. Subscribers without room are
    /// skipped from now on. Does nothing for other processes.
    pub fn disable_lossless(&self) {
        if let Some(lossless) = &self.lossless {
            lossless.give_up();
        }
    }

    /// Sends a signal to the process group, which holds the process and its descendants.
    ///
    /// A process without a [group of its own](super::Spawn::own_group) gets the signal alone.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] if the process has ended. Its pid may belong to another
    /// process by then, so no signal is sent, not even to descendants that still run. Returns the
    /// system's error if it refuses the signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.target.signal(signal)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill_on_drop {
            let _ = self.kill_once();
        }
    }
}
