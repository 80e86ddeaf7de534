//! Notices that a process is suspended, such as by the terminal that it may not read.

use std::fmt;

use rustix::process::{Pid, Signal as Native, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{self, SignalKind};

use crate::message::Status;

/// The reason why a process is suspended. It runs on after `SIGCONT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suspension {
    /// It wants to read the terminal and is not in the terminal's foreground (`SIGTTIN`).
    TerminalInput,
    /// It wants to write to the terminal or to change its settings, and is not in the terminal's
    /// foreground (`SIGTTOU`).
    TerminalOutput,
    /// Somebody has suspended it: `SIGSTOP`, or `SIGTSTP` as by Ctrl-Z.
    Signal,
}

impl Suspension {
    /// Returns the status of a suspended process: `suspended`, and what it waits for.
    pub fn status(self) -> Status {
        Status::Other(self.to_string())
    }
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TerminalInput => "suspended: wants to read the terminal",
            Self::TerminalOutput => "suspended: wants to use the terminal",
            Self::Signal => "suspended",
        })
    }
}

/// Watches one child, which must not be reaped meanwhile.
pub(super) struct SuspensionWatch {
    pid: Pid,
    /// The signals that tell of a change in some child. `None` if they cannot be received.
    changes: Option<unix::Signal>,
    now: Option<Suspension>,
}

impl SuspensionWatch {
    pub(super) fn new(pid: Pid) -> Self {
        Self {
            pid,
            changes: unix::signal(SignalKind::child()).ok(),
            now: None,
        }
    }

    /// Waits until the process is suspended, for another reason than before, or runs again.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn changed(&mut self) -> Option<Suspension> {
        loop {
            // First a look: the change may precede the registration.
            if let Some(now) = look(self.pid)
                && now != self.now
            {
                self.now = now;
                return now;
            }
            let told = match &mut self.changes {
                Some(changes) => changes.recv().await,
                None => None,
            };
            if told.is_none() {
                return std::future::pending().await;
            }
        }
    }
}

/// Takes the last change from the system, if there was one.
fn look(pid: Pid) -> Option<Option<Suspension>> {
    let changes = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::Pid(pid), changes).ok()??;
    if status.continued() {
        return Some(None);
    }
    let signal = status.stopping_signal()?;
    Some(Some(if signal == Native::TTIN.as_raw() {
        Suspension::TerminalInput
    } else if signal == Native::TTOU.as_raw() {
        Suspension::TerminalOutput
    } else {
        Suspension::Signal
    }))
}
