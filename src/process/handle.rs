//! The handle of a running process.

use std::io;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::process::ChildStdin;
use tokio::sync::watch;

use crate::Lossless;
use crate::message::{ProcessId, Status};

use super::{Signal, group};

/// How a process ended, as published in its final status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// [`Status::Exited`], or [`Status::Crashed`] when a signal ended it; [`Status::Stopped`] when its
    /// [supervisor](super::Supervisor) did on purpose.
    pub status: Status,
    /// The exit code, or 128 + the signal's number.
    pub code: i32,
}

impl ExitReport {
    fn of(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self {
                status: Status::Exited,
                code,
            },
            (None, Some(signal)) => Self {
                status: Status::Crashed,
                code: 128 + signal,
            },
            (None, None) => Self::unknown(),
        }
    }

    /// The system did not say how the process ended.
    fn unknown() -> Self {
        Self {
            status: Status::Crashed,
            code: 255,
        }
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
    pub(super) lossless: Option<Lossless>,
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
        let report = report
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|report| report.clone());
        report.unwrap_or_else(ExitReport::unknown)
    }

    /// The final report, if [`wait`](Self::wait) would not wait for it.
    pub fn report(&self) -> Option<ExitReport> {
        self.report.borrow().clone()
    }

    /// Waits for no subscriber from now on: for a [lossless](super::Spawn::lossless) process that has to end.
    pub fn give_up_waiting(&self) {
        if let Some(lossless) = &self.lossless {
            lossless.give_up();
        }
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

    /// Sends the first signal of a stop on purpose, of which the final status will speak.
    pub(super) fn stop_on_purpose(&self, signal: Signal) {
        // Relaxed: the signal comes after it, and what it leads to is seen through the system.
        self.target.stopping.store(true, Ordering::Relaxed);
        self.give_up_waiting();
        // Fails only when it has ended, and then only the rest of its group is there to be told.
        if self.signal(signal).is_err() {
            self.signal_group(signal);
        }
    }

    /// Sends a signal to what there is of the group, the process itself among it or not.
    pub(super) fn signal_group(&self, signal: Signal) {
        self.target.signal_group(signal);
    }

    /// Whether anything of its group runs, itself or what it has left.
    pub(super) fn has_group(&self) -> bool {
        self.target.has_group()
    }

    /// Until nothing of its group runs. There is no event to wait for: looks again every 5 to 40 ms.
    pub(super) async fn group_gone(&self) {
        self.wait_exit().await;
        let mut pause = Duration::from_millis(5);
        while self.has_group() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(40));
        }
    }

    /// Until the process itself is gone, though its output may not all be read.
    pub(super) async fn wait_exit(&self) {
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
    /// It is being stopped on purpose.
    stopping: AtomicBool,
}

impl Target {
    pub(super) fn new(pid: Pid, group: bool) -> Self {
        Self {
            pid,
            group,
            reaped: Mutex::new(false),
            gone: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// How the process ended, in view of whether it was to.
    pub(super) fn judge(&self, exit: io::Result<ExitStatus>) -> ExitReport {
        let report = exit.map_or_else(|_| ExitReport::unknown(), ExitReport::of);
        // Relaxed: see `Process::stop_on_purpose`.
        if self.stopping.load(Ordering::Relaxed) {
            return ExitReport {
                status: Status::Stopped,
                ..report
            };
        }
        report
    }

    fn signal_group(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if self.group && (!*reaped || group::has_members(self.pid)) {
            let _ = kill_process_group(self.pid, signal.native());
        }
    }

    fn has_group(&self) -> bool {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        !*reaped || self.group && group::has_members(self.pid)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if *reaped {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process has ended",
            ));
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
