//! Ctrl-Z: suspends this program and its commands as the terminal would.

use outrace::process::Signal;
use rustix::process::{Pid, getpgid, getpgrp, getppid, getsid};

use crate::console::notice;

/// Suspends the commands, by `signal_all`, and this program until it is continued, and continues
/// the commands.
///
/// The system does not suspend a process that no shell could continue, and neither does this.
pub(crate) fn suspend(signal_all: impl Fn(Signal)) {
    if !has_shell() {
        return;
    }
    signal_all(Signal::Stop);
    let number = rustix::process::Signal::TSTP.as_raw();
    if let Err(error) = signal_hook::low_level::emulate_default_handler(number) {
        notice!("cannot be suspended: {error}");
    }
    signal_all(Signal::Continue);
}

/// Returns whether a process of our session watches over our process group from another one, as a
/// shell does over its jobs.
fn has_shell() -> bool {
    let Ok(session) = getsid(None) else {
        return false;
    };
    let mut ancestor = getppid();
    while let Some(pid) = ancestor {
        if getsid(Some(pid)) != Ok(session) {
            return false;
        }
        if getpgid(Some(pid)) != Ok(getpgrp()) {
            return true;
        }
        ancestor = parent(pid);
    }
    false
}

/// Returns the parent of another process, where the system tells.
fn parent(pid: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(parent.trim().parse().ok()?)
}
