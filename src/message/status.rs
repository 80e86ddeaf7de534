//! What became of a process.

use std::fmt;

/// The `status` of a `process_status` message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// `running`: it was started.
    Running,
    /// `exited`: it ended by itself.
    Exited,
    /// `crashed`: it ended in a way it should not have.
    Crashed,
    /// `stopped`: it was told to end.
    Stopped,
    /// A status of the caller's own.
    Other(String),
}

impl Status {
    /// The status as it stands on the wire (before JSON escaping).
    pub fn as_str(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
            Self::Other(name) => name,
        }
    }

    /// Whether a process with this status still runs, so that it has no exit code.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

impl From<&str> for Status {
    fn from(name: &str) -> Self {
        match name {
            "running" => Self::Running,
            "exited" => Self::Exited,
            "crashed" => Self::Crashed,
            "stopped" => Self::Stopped,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<&Status> for Status {
    fn from(status: &Status) -> Self {
        status.clone()
    }
}

impl From<String> for Status {
    fn from(name: String) -> Self {
        match Self::from(name.as_str()) {
            Self::Other(_) => Self::Other(name),
            known => known,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_from_its_own_name() {
        for name in ["running", "exited", "crashed", "stopped", "draining"] {
            let status = Status::from(name);
            assert_eq!(status.to_string(), name);
            assert_eq!(matches!(status, Status::Other(_)), name == "draining");
            assert_eq!(Status::from(name.to_owned()), status);
        }
    }
}
