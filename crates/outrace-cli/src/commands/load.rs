//! `outrace load`: measures a server.

use outrace_load::{Command, LoadError};

use crate::failure::Failure;

/// Runs the load generator, or one of the servers that it compares with.
pub(crate) fn run(command: Command) -> Result<u8, Failure> {
    outrace_load::run(command).map_err(|error| match error {
        LoadError::Usage(_) => Failure::usage(error),
        LoadError::Failed(_) => Failure::new(1, error.to_string()),
    })
}
