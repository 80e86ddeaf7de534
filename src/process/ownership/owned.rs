//! The pids of the children that this process started and has not reaped.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard};

use rustix::process::Pid;

use crate::sync::lock;

static OWNED: LazyLock<Mutex<HashSet<Pid>>> = LazyLock::new(Mutex::default);

/// The set of owned pids, locked. A child is started and entered under one lock, so that whoever
/// holds the lock never takes it for an orphan.
pub(super) struct OwnedPids(MutexGuard<'static, HashSet<Pid>>);

impl OwnedPids {
    pub(super) fn lock() -> Self {
        Self(lock(&OWNED))
    }

    pub(super) fn contains(&self, pid: i32) -> bool {
        Pid::from_raw(pid).is_some_and(|pid| self.0.contains(&pid))
    }

    pub(super) fn insert(&mut self, pid: Pid) -> OwnedChild {
        self.0.insert(pid);
        OwnedChild(pid)
    }
}

/// A child that this process has started and will reap itself, so that no
/// [`OrphanReaper`](super::OrphanReaper) takes it for an orphan. Dropped when it was reaped.
#[derive(Debug)]
pub struct OwnedChild(Pid);

impl OwnedChild {
    pub(in crate::process) fn pid(&self) -> Pid {
        self.0
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        lock(&OWNED).remove(&self.0);
    }
}
