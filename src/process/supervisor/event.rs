//! The events that a supervisor reports.

use std::time::Duration;

use crate::process::{ExitReport, SpawnError, Suspension, Unstopped};

/// An event of a supervised process. See
/// [`SupervisorBuilder::on_event`](super::SupervisorBuilder::on_event).
#[derive(Debug)]
#[non_exhaustive]
pub enum SupervisorEvent<'a> {
    /// The process was started.
    Started {
        /// The operating system's process id.
        pid: u32,
    },
    /// The process could not be started.
    NotStarted {
        /// The reason.
        error: &'a SpawnError,
    },
    /// The process ended, and all its output is published.
    Ended {
        /// The exit code and final status.
        report: &'a ExitReport,
    },
    /// The process was suspended, or runs again.
    Suspended {
        /// The reason, or `None` if it runs again.
        reason: Option<Suspension>,
    },
    /// A stop did not end everything.
    NotStopped {
        /// What still runs: the process or a descendant of it.
        process: &'a Unstopped,
    },
    /// The process will be started again.
    Restarting {
        /// The time until the restart.
        delay: Duration,
    },
}
