//! Files that options name.

use std::fs;
use std::path::Path;

use crate::failure::{Failure, advice, plain};

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::new(
            1,
            format!(
                "cannot read {}: {}{}",
                path.display(),
                plain(&error),
                advice(&error)
            ),
        )
    })
}
