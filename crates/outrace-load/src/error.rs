//! The reasons why a load fails.

use crate::run::error::RunError;
use crate::wire::target::TargetError;
use crate::workload_error::WorkloadError;
use std::path::PathBuf;

/// The reason why nothing could be measured or reported.
///
/// Each message is one sentence and includes the message of its cause. The cause is therefore not
/// returned as a source.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The workload can't be run.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The address of the server or a header can't be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The measurement failed.
    #[error(transparent)]
    Measurement(#[from] MeasurementError),
    /// The report could not be written to the writer.
    #[error("could not write the report: {0}")]
    Output(std::io::Error),
    /// A file of costs could not be read.
    #[error("could not read the costs in {}: {error}", path.display())]
    Costs {
        /// The file.
        path: PathBuf,
        /// The cause. The message includes it.
        error: std::io::Error,
    },
    /// A file could not be written.
    #[error("could not write {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause. The message includes it.
        error: std::io::Error,
    },
}

/// A server did not start or run as it should, or could not be reached.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct MeasurementError(RunError);

impl From<RunError> for LoadError {
    fn from(error: RunError) -> LoadError {
        LoadError::Measurement(MeasurementError(error))
    }
}
