//! The status of a process.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status of a channel whose home is gone.
pub(crate) const LOST: &str = "lost";

/// The `status` of a `process_status` message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// `running`: the process has started.
    Running,
    /// `exited`: the process has ended by itself.
    Exited,
    /// `crashed`: the process has ended unexpectedly.
    Crashed,
    /// `stopped`: the process has ended on request.
    Stopped,
    /// Any other status, defined by the application.
    Other(String),
}

impl Status {
    /// Returns the status as on the wire, before JSON escaping.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
            Self::Other(name) => name,
        }
    }

    /// Whether a process with this status is running, and so has no exit code.
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

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The data of a `process_status` message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StatusReport {
    /// The status.
    pub status: Status,
    /// The exit code; 0 for a process that has not ended.
    #[serde(rename = "exitCode")]
    pub code: i32,
}

impl StatusReport {
    /// The maximum length of the `data` that is parsed. A status is a word and a number.
    const MAX_BYTES: usize = 1024;

    /// Parses the `data` of a message. Returns `None` for data that is not a status, or too long.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct StatusData {
            status: String,
            #[serde(rename = "exitCode", default)]
            exit_code: i32,
        }
        if json.len() > Self::MAX_BYTES {
            return None;
        }
        let data: StatusData = serde_json::from_slice(json).ok()?;
        Some(Self {
            status: Status::from(data.status),
            code: data.exit_code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_from_what_it_serializes_to_and_from_nothing_else() {
        let report = StatusReport {
            status: Status::Exited,
            code: -3,
        };
        let json = serde_json::to_vec(&report).unwrap();
        assert_eq!(json, br#"{"status":"exited","exitCode":-3}"#);
        assert_eq!(StatusReport::read(&json), Some(report));
        assert_eq!(
            StatusReport::read(br#"{"status":"draining","more":1}"#),
            Some(StatusReport {
                status: Status::Other("draining".into()),
                code: 0
            })
        );
        let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(StatusReport::MAX_BYTES));
        for other in ["", "7", "{}", r#"{"status":7}"#, &long] {
            assert_eq!(StatusReport::read(other.as_bytes()), None, "{other:.20}");
        }
    }

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
