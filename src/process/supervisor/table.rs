//! The table of a supervisor's processes. Pure data: the tasks write it, and everyone reads it.

use std::time::SystemTime;

use crate::message::{ProcessId, Status};

/// A snapshot of one supervised process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The id of the process.
    pub id: ProcessId,
    /// The last published status, or `waiting` before the first start, which is not published.
    pub status: Status,
    /// The exit code of the last run, also of one that was stopped. The code is 0 during a run and
    /// before the first one.
    pub code: i32,
    /// The operating system's process id during a run.
    pub pid: Option<u32>,
    /// The number of restarts.
    pub restarts: u64,
    /// The time of the last change of `status`.
    pub since: SystemTime,
}

/// A process that failed and was not restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFailure {
    /// The id of the process.
    pub id: ProcessId,
    /// The exit code, or 128 + the number of the signal that ended the process. It is 1 for a
    /// process that could not be stopped.
    pub code: i32,
}

/// A process that ended by itself and was not restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessEnd {
    /// The id of the process.
    pub id: ProcessId,
    /// The exit code, or 128 + the number of the signal that ended the process.
    pub code: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunPhase {
    /// The process will start, for the first time or again.
    Waiting,
    /// The process runs, or is being stopped.
    Running,
    /// The process does not run and will not start without an order.
    Rest,
}

#[derive(Clone, Debug)]
pub(super) struct TableEntry {
    pub(super) info: ProcessInfo,
    pub(super) phase: RunPhase,
    /// Set once the first start was attempted, which lets the next processes start.
    pub(super) attempted: bool,
    /// The process that this one depends on, and ends before.
    pub(super) depends_on: Option<usize>,
}

/// All processes, in the order of their start.
#[derive(Debug)]
pub(super) struct ProcessTable {
    entries: Vec<TableEntry>,
    pub(super) first_failure: Option<ProcessFailure>,
    pub(super) first_end: Option<ProcessEnd>,
}

impl ProcessTable {
    /// Creates a table from the processes' ids and the positions of those they depend on.
    pub(super) fn new(ids: impl IntoIterator<Item = (ProcessId, Option<usize>)>) -> Self {
        let entry = |(id, depends_on)| TableEntry {
            info: ProcessInfo {
                id,
                status: Status::Other("waiting".to_owned()),
                code: 0,
                pid: None,
                restarts: 0,
                since: SystemTime::now(),
            },
            phase: RunPhase::Waiting,
            attempted: false,
            depends_on,
        };
        Self {
            entries: ids.into_iter().map(entry).collect(),
            first_failure: None,
            first_end: None,
        }
    }

    pub(super) fn index(&self, id: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.info.id.as_str() == id)
    }

    pub(super) fn entry(&self, index: usize) -> &TableEntry {
        &self.entries[index]
    }

    pub(super) fn entry_mut(&mut self, index: usize) -> &mut TableEntry {
        &mut self.entries[index]
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.entries
            .iter()
            .all(|entry| entry.phase == RunPhase::Rest)
    }

    /// Returns whether the processes that depend on number `index` are at rest. If so, it may be
    /// stopped.
    pub(super) fn are_dependents_at_rest(&self, index: usize) -> bool {
        self.entries
            .iter()
            .filter(|entry| entry.depends_on == Some(index))
            .all(|entry| entry.phase == RunPhase::Rest)
    }

    pub(super) fn infos(&self) -> Vec<ProcessInfo> {
        self.entries
            .iter()
            .map(|entry| entry.info.clone())
            .collect()
    }
}
