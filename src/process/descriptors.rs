//! The limit of open files: raised for this process, and given back to its children.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::process::Command;

/// The limit from before it was raised. Empty while it was not.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files of this process to its hard limit. Each process that this
/// crate starts later gets the limit from before.
///
/// A program that serves many clients or starts many processes needs more descriptors than the
/// 1,024 that systems usually allow. Its children do not: some of them do work for each possible
/// descriptor, and some use `select`, which knows 1,024.
///
/// The limit belongs to the whole process, so only a program should do this, not a library. It
/// should do so before it starts threads that start children in another way.
///
/// # Errors
/// Returns the system's error, for example on a system whose hard limit is no valid soft limit.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let original = getrlimit(Resource::Nofile);
    if original.current == original.maximum {
        return Ok(());
    }
    let raised = Rlimit {
        current: original.maximum,
        ..original
    };
    setrlimit(Resource::Nofile, raised)?;
    // Only the first call knows the limit that the children are used to.
    let _ = ORIGINAL.set(original);
    Ok(())
}

/// Gives the child the limit from before it was raised for this process. Costs nothing if it was
/// not.
pub(super) fn restore_limit_in(command: &mut Command) {
    let Some(&original) = ORIGINAL.get() else {
        return;
    };
    let restore = move || Ok(setrlimit(Resource::Nofile, original)?);
    // There is no safe way to do this without a moment in which the child runs with the raised
    // limit, or other threads of this process with the lower one.
    // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor
    // locks. What it captures is `Copy`.
    unsafe {
        command.pre_exec(restore);
    }
}
