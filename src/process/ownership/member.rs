//! A process that belongs to one that this process started, and a way to signal it and no other.

use std::fmt;
use std::io;

use rustix::process::Pid;

use super::listing::ListedProcess;
use crate::process::Signal;

/// A running member of a process's group or a running descendant of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::process) struct Member {
    pid: i32,
    started_ticks: u64,
    /// Whether it is in the group of the process that it belongs to.
    pub(in crate::process) in_group: bool,
}

impl Member {
    pub(super) fn new(process: &ListedProcess, in_group: bool) -> Self {
        Self {
            pid: process.pid,
            started_ticks: process.started_ticks,
            in_group,
        }
    }

    pub(in crate::process) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to this process.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] if the process has ended, also if its pid belongs to
    /// another process by now, or the system's error if it refuses the signal.
    pub(in crate::process) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::NotFound)?;
        send(pid, signal, || {
            ListedProcess::read(self.pid)
                .is_some_and(|now| now.started_ticks == self.started_ticks && now.is_alive())
        })
        .map_err(|error| match error {
            rustix::io::Errno::SRCH => io::ErrorKind::NotFound.into(),
            error => error.into(),
        })
    }
}

/// Sends a signal to the process with this pid if it `is_the_one`. The descriptor holds the process
/// that is checked, whatever becomes of its number meanwhile.
#[cfg(target_os = "linux")]
fn send(pid: Pid, signal: Signal, is_the_one: impl Fn() -> bool) -> rustix::io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};

    let held = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(held) => Some(held),
        // Before Linux 5.3 there are no such descriptors, and sandboxes may forbid them.
        Err(Errno::NOSYS | Errno::PERM) => None,
        Err(error) => return Err(error),
    };
    if !is_the_one() {
        return Err(Errno::SRCH);
    }
    match held {
        Some(held) => pidfd_send_signal(&held, signal.native()),
        None => kill_process(pid, signal.native()),
    }
}

#[cfg(not(target_os = "linux"))]
fn send(pid: Pid, signal: Signal, is_the_one: impl Fn() -> bool) -> rustix::io::Result<()> {
    if !is_the_one() {
        return Err(rustix::io::Errno::SRCH);
    }
    rustix::process::kill_process(pid, signal.native())
}

/// A process that was to end and still runs.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unstopped {
    /// The operating system's process id.
    pub pid: u32,
    /// The name of the program that it runs, or an empty text if the system does not tell.
    pub program: String,
    /// The system's refusal to signal it, or [`io::ErrorKind::TimedOut`] if it got `SIGKILL` and
    /// has not ended yet.
    pub error: io::Error,
}

impl Unstopped {
    pub(in crate::process) fn new(pid: i32, error: io::Error) -> Self {
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self {
            pid: pid.unsigned_abs(),
            program: program.trim_end().to_owned(),
            error,
        }
    }
}

impl fmt::Display for Unstopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            program,
            error,
        } = self;
        match error.kind() {
            io::ErrorKind::TimedOut => write!(f, "process {pid} ({program}) does not end")?,
            _ => write!(f, "process {pid} ({program}) may not be signaled: {error}")?,
        }
        f.write_str("; it still runs")
    }
}
