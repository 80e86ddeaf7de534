//! The report of a process's end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::message::Status;

/// The end of a process, as published in its final status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExitReport {
    /// [`Status::Exited`], or [`Status::Crashed`] if a signal ended the process, or
    /// [`Status::Stopped`] if its [supervisor](crate::process::Supervisor) stopped it.
    pub status: Status,
    /// The exit code, or 128 + the number of the signal that ended the process.
    pub code: i32,
}

impl ExitReport {
    /// Reports the exit status that the system returned, or a crash with code 255 if it returned
    /// none.
    pub(super) fn new(exit: io::Result<ExitStatus>) -> Self {
        let Ok(exit) = exit else {
            return Self::unknown();
        };
        match (exit.code(), exit.signal()) {
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

    /// The report if the system does not say how the process ended.
    pub(super) fn unknown() -> Self {
        Self {
            status: Status::Crashed,
            code: 255,
        }
    }
}
