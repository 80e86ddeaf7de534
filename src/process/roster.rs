//! What is known of each process of a supervisor. Pure: a table that its keepers write and everybody reads.

use std::time::SystemTime;

use crate::message::{ProcessId, Status};

/// One process of a supervisor at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its id.
    pub id: ProcessId,
    /// Its status, as last published; `waiting` before its first start, which is not published.
    pub status: Status,
    /// The exit code of its last run, of a stopped one too; 0 while it runs and before.
    pub code: i32,
    /// The system's number for it, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// Since when it has this status.
    pub since: SystemTime,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It will start, for the first time or again.
    Waiting,
    /// It runs, or is being ended.
    Running,
    /// It does not run and will not by itself.
    Rest,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) info: ProcessInfo,
    pub(super) phase: Phase,
    /// The turn of those that start after it has come.
    pub(super) attempted: bool,
}

/// How a process failed that was not started again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFailure {
    /// Which process.
    pub id: ProcessId,
    /// Its exit code, or 128 + the signal that ended it.
    pub code: i32,
}

/// All processes, in the order of their start.
#[derive(Debug)]
pub(super) struct Roster {
    entries: Vec<Entry>,
    pub(super) first_failure: Option<ProcessFailure>,
}

impl Roster {
    pub(super) fn new(ids: impl IntoIterator<Item = ProcessId>) -> Self {
        let entry = |id| Entry {
            info: ProcessInfo {
                id,
                status: Status::Other("waiting".to_owned()),
                code: 0,
                pid: None,
                restarts: 0,
                since: SystemTime::now(),
            },
            phase: Phase::Waiting,
            attempted: false,
        };
        Self {
            entries: ids.into_iter().map(entry).collect(),
            first_failure: None,
        }
    }

    pub(super) fn index(&self, id: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.info.id.as_str() == id)
    }

    pub(super) fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    pub(super) fn entry_mut(&mut self, index: usize) -> &mut Entry {
        &mut self.entries[index]
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.is_at_rest_from(0)
    }

    /// Whether those from `first` on are at rest: it is the turn of the one before them to be stopped.
    pub(super) fn is_at_rest_from(&self, first: usize) -> bool {
        self.entries[first..]
            .iter()
            .all(|entry| entry.phase == Phase::Rest)
    }

    pub(super) fn infos(&self) -> Vec<ProcessInfo> {
        self.entries
            .iter()
            .map(|entry| entry.info.clone())
            .collect()
    }
}
