//! The events that a process manager reports.

use bytes::Bytes;

use super::{Lines, ProcessId, Status};

/// An event of a process, for [`Hub::publish_event`](crate::Hub::publish_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessEvent {
    /// The process has started.
    Started {
        /// The process.
        id: ProcessId,
    },
    /// The process has written a line.
    Output {
        /// The process.
        id: ProcessId,
        /// The line without its terminator. It may be any bytes.
        line: Bytes,
    },
    /// The process has written several lines.
    Lines {
        /// The process.
        id: ProcessId,
        /// The lines.
        lines: Lines,
    },
    /// The process has a status of the application's own.
    Status {
        /// The process.
        id: ProcessId,
        /// The status.
        status: Status,
        /// The exit code. It is 0 if the process has not ended.
        code: i32,
    },
    /// The process has ended by itself.
    Exited {
        /// The process.
        id: ProcessId,
        /// The exit code.
        code: i32,
    },
    /// The process has ended unexpectedly.
    Crashed {
        /// The process.
        id: ProcessId,
        /// The exit code.
        code: i32,
    },
    /// The process has ended on request.
    Stopped {
        /// The process.
        id: ProcessId,
    },
}

impl ProcessEvent {
    /// Returns the process.
    pub fn id(&self) -> &ProcessId {
        match self {
            Self::Started { id }
            | Self::Output { id, .. }
            | Self::Lines { id, .. }
            | Self::Status { id, .. }
            | Self::Exited { id, .. }
            | Self::Crashed { id, .. }
            | Self::Stopped { id } => id,
        }
    }
}
