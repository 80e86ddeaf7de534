//! The handle of a running process.

use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::process::ChildStdin;
use tokio::sync::watch;

use crate::message::{ProcessId, Status};

use super::Signal;

/// How a process ended, as published in its final status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// [`Status::Exited`], or [`Status::Crashed`] when a signal ended it.
    pub status: Status,
    /// The exit code, or 128 + the signal's number.
    pub code: i32,
}

impl ExitReport {
    pub(super) fn of(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self { status: Status::Exited, code },
            (None, Some(signal)) => Self { status: Status::Crashed, code: 128 + signal },
            (None, None) => Self::unknown(),
        }
    }

    /// The system did not say how the process ended.
    pub(super) fn unknown() -> Self {
        Self { status: Status::Crashed, code: 255 }
    }
}

/// A process whose output is being published. See [`Hub::spawn`](crate::Hub::spawn).
///
/// Dropping it leaves the process running and its output being published, unless
/// [`kill_on_drop`](super::Spawn::kill_on_drop) was asked for.
#[derive(Debug)]
pub struct Process {
    pub(super) id: ProcessId,
    pub(super) target: Arc<Target>,
    pub(super) report: watch::Receiver<Option<ExitReport>>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) kill_on_drop: bool,
}

impl Process {
    /// The name it publishes under.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// The system's number for it. Meaningless once it has ended.
    pub fn pid(&self) -> u32 {
        self.target.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The writing end of its standard input, once, if the command has
    /// [`Stdio::piped`](std::process::Stdio::piped) there. Dropping it, or this handle, is the end of the input.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Waits until the process has ended, all its output is published, and so is its final status.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future, and any number of them may wait.
    pub async fn wait(&self) -> ExitReport {
        let mut report = self.report.clone();
        // The sender goes away unsent only with the runtime that ran the process's task.
        let report = report.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
        report.unwrap_or_else(ExitReport::unknown)
    }

    /// The final report, if [`wait`](Self::wait) would not wait for it.
    pub fn report(&self) -> Option<ExitReport> {
        self.report.borrow().clone()
    }

    /// Sends a signal to the process group: the process and what it started. (To the process alone, if it
    /// was spawned without a [group of its own](super::Spawn::own_group).)
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the process has ended already. Its number may be another's by then,
    /// so nothing is sent, not even to descendants that live on.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.target.signal(signal)
    }

    /// Asks the process group to end with `SIGTERM`, and kills it if it is still there after `grace`. Returns
    /// what [`wait`](Self::wait) does; a process that has ended already is left alone.
    ///
    /// # Cancel safety
    /// Dropping the future after it was first polled leaves the `SIGTERM` sent; the kill is not.
    pub async fn stop(&self, grace: Duration) -> ExitReport {
        // The only failures are that it has ended, or that it changed its user: waiting tells which.
        let _ = self.signal(Signal::Terminate);
        match tokio::time::timeout(grace, self.wait_exit()).await {
            Ok(()) => {}
            Err(_) => {
                let _ = self.signal(Signal::Kill);
            }
        }
        self.wait().await
    }

    /// Until the process itself is gone, though its output may not all be read.
    async fn wait_exit(&self) {
        let mut gone = self.target.gone.subscribe();
        // Fails only when the sender is gone, and `self` holds it.
        let _ = gone.wait_for(|gone| *gone).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill_on_drop {
            let _ = self.signal(Signal::Kill);
        }
    }
}

/// Whom signals go to, as long as it is there.
#[derive(Debug)]
pub(super) struct Target {
    pid: Pid,
    group: bool,
    /// Held while a signal is sent and while the process is reaped: a number is never signalled after the
    /// system may have given it away.
    reaped: Mutex<bool>,
    gone: watch::Sender<bool>,
}

impl Target {
    pub(super) fn new(pid: Pid, group: bool) -> Self {
        Self { pid, group, reaped: Mutex::new(false), gone: watch::Sender::new(false) }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if *reaped {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        if self.group {
            kill_process_group(self.pid, signal.native())?;
        } else {
            kill_process(self.pid, signal.native())?;
        }
        Ok(())
    }

    /// Runs `reap`, which may take the process's exit status from the system, and notes if it did.
    pub(super) fn reap<T>(&self, reap: impl FnOnce() -> std::task::Poll<T>) -> std::task::Poll<T> {
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = reap();
        if polled.is_ready() {
            *reaped = true;
            self.gone.send_replace(true);
        }
        polled
    }
}
