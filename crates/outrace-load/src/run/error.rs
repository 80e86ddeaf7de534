//! The reasons why a measurement fails.

use crate::client::receiver::ReceiverError;
use crate::cluster::directory::DirectoryError;
use crate::server::affinity::AffinityError;
use crate::server::cluster::ClusterError;
use crate::server::process::ServerError;
use crate::server::system::{System, UnsupportedWorkload};
use crate::wire::http::HttpError;
use crate::wire::target::TargetError;

/// The error of an observer.
pub(crate) type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why nothing could be measured.
///
/// The message is one sentence and includes the message of the cause, which is therefore not the
/// source of this error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Unsupported(#[from] UnsupportedWorkload),
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    #[error(transparent)]
    Feeder(#[from] FeederError),
    #[error(transparent)]
    Directory(DirectoryError),
    #[error("{0}")]
    Observer(ObserverError),
    /// The error of the receiver replaces this one.
    #[error("a receiver gave up")]
    ReceiverGaveUp,
    #[error("only {joined} of {clients} clients had joined after {seconds} s")]
    JoinsTimedOut {
        joined: u64,
        clients: u64,
        seconds: u64,
    },
    #[error("could not start the floor: {0}")]
    StartFloor(std::io::Error),
    #[error("could not read the figures of the floor: {0}")]
    ReadFloor(std::io::Error),
    #[error("the floor printed {0:?} instead of its figures")]
    FloorFigures(String),
    #[error("could not feed {program}: {error}")]
    Pipe {
        program: String,
        error: std::io::Error,
    },
    #[error("the {system} could not be measured: {why}")]
    System { system: System, why: Box<RunError> },
    #[error("{workload}: {why}")]
    Workload {
        workload: String,
        why: Box<RunError>,
    },
}

impl RunError {
    /// Puts the name of the workload in front of the message.
    pub(crate) fn in_workload(self, workload: impl Into<String>) -> RunError {
        RunError::Workload {
            workload: workload.into(),
            why: Box::new(self),
        }
    }
}

/// The reason why the feeder failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeederError {
    #[error("could not start the feeder: {0}")]
    Start(std::io::Error),
    #[error("could not feed the server's standard input: {0}")]
    Pipe(std::io::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the server stopped reading its standard input: the feeder has been stuck for {0} s")]
    Stuck(u64),
    #[error("the feeder thread panicked")]
    Panicked,
}
