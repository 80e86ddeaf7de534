//! Sets up a child process: its standard output and error, and its process group.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::pipe_reader::OutputPipe;
use crate::process::descriptors::restore_limit_in;
use crate::process::ownership::{self, OwnedChild};

/// A child that was just started, and the reading ends of its output pipes.
pub(super) struct SpawnedChild {
    pub(super) child: Child,
    pub(super) owned: OwnedChild,
    pub(super) stdout: Option<OutputPipe>,
    pub(super) stderr: Option<OutputPipe>,
}

/// Starts `command` with a pipe for each of its outputs. With `own_group`, the child leads a
/// process group of its own. With `end_with_parent`, it ends with this process. Standard input
/// stays as `command` says.
pub(super) fn spawn_child(
    command: &mut Command,
    own_group: bool,
    end_with_parent: bool,
) -> io::Result<SpawnedChild> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if own_group {
        command.process_group(0);
    }
    restore_limit_in(command);
    let (mut child, owned) = ownership::spawn(command, end_with_parent)?;
    Ok(SpawnedChild {
        owned,
        stdout: child.stdout.take().map(|pipe| Box::pin(pipe) as _),
        stderr: child.stderr.take().map(|pipe| Box::pin(pipe) as _),
        child,
    })
}
