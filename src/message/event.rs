//! What a process manager reports.

use bytes::Bytes;

use super::ProcessId;

/// Something that happened to a process, as a process manager tells it to a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessEvent {
    /// It runs.
    Started {
        /// Which process.
        id: ProcessId,
    },
    /// It wrote a line.
    Output {
        /// Which process.
        id: ProcessId,
        /// The line without its terminator; need not be UTF-8.
        line: Bytes,
    },
    /// It ended by itself.
    Exited {
        /// Which process.
        id: ProcessId,
        /// Its exit code.
        code: i32,
    },
    /// It ended in a way it should not have.
    Crashed {
        /// Which process.
        id: ProcessId,
        /// Its exit code.
        code: i32,
    },
    /// It was told to end, and has.
    Stopped {
        /// Which process.
        id: ProcessId,
    },
}

impl ProcessEvent {
    /// The process it happened to.
    pub fn id(&self) -> &ProcessId {
        match self {
            Self::Started { id }
            | Self::Output { id, .. }
            | Self::Exited { id, .. }
            | Self::Crashed { id, .. }
            | Self::Stopped { id } => id,
        }
    }
}
