//! Sets up a child process: its standard output and error, and its process group.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;

use rustix::process::Pid;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

use super::OutputMode;
use super::pipe_reader::OutputPipe;
use super::pty::{Pty, PtyInput};

/// The type of terminal that a process is told of if nothing else says one.
const DEFAULT_TERM: &str = "xterm-256color";

/// A child that was just started, and the reading ends of its output.
pub(super) struct SpawnedChild {
    pub(super) child: Child,
    pub(super) pid: Pid,
    pub(super) output: ChildOutput,
    /// Set if the standard input is a pseudo-terminal.
    pub(super) pty_input: Option<PtyInput>,
}

/// The reading ends of a child's output.
pub(super) enum ChildOutput {
    /// One for both streams.
    Merged(OutputPipe),
    /// One for standard output and one for standard error.
    Split(OutputPipe, OutputPipe),
}

/// Starts `command` with its output connected as `mode` says. With `own_group`, the child leads a
/// process group of its own; with a pseudo-terminal it always does. Standard input stays as
/// `command` says, unless it is to be the pseudo-terminal.
pub(super) fn spawn_child(
    command: &mut Command,
    mode: &OutputMode,
    own_group: bool,
) -> io::Result<SpawnedChild> {
    match mode {
        OutputMode::Pty(pty) => spawn_in_pty(command, pty),
        OutputMode::Split => spawn_split(command, own_group),
        OutputMode::Merged | OutputMode::Auto => spawn_merged(command, own_group),
    }
}

fn spawn_split(command: &mut Command, own_group: bool) -> io::Result<SpawnedChild> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    set_group(command, own_group);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    Ok(SpawnedChild {
        pid: pid(&child),
        output: ChildOutput::Split(Box::pin(stdout), Box::pin(stderr)),
        pty_input: None,
        child,
    })
}

fn spawn_merged(command: &mut Command, own_group: bool) -> io::Result<SpawnedChild> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    set_group(command, own_group);
    let child = command.spawn();
    close_outputs(command);
    let child = child?;
    Ok(SpawnedChild {
        pid: pid(&child),
        output: ChildOutput::Merged(Box::pin(Receiver::from_owned_fd(reader.into())?)),
        pty_input: None,
        child,
    })
}

fn spawn_in_pty(command: &mut Command, pty: &Pty) -> io::Result<SpawnedChild> {
    let terminal = pty.open()?;
    if terminal.input.is_some() {
        command.stdin(terminal.user.try_clone()?);
    }
    command
        .stdout(terminal.user.try_clone()?)
        .stderr(terminal.user);
    if !has_term(command) {
        command.env("TERM", DEFAULT_TERM);
    }
    // SAFETY: between `fork` and `exec` the closure only makes two system calls, which are
    // async-signal-safe. It allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            // Standard output is the terminal by now. The session has no controlling terminal yet.
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdout())?;
            Ok(())
        });
    }
    let child = command.spawn();
    if terminal.input.is_some() {
        command.stdin(Stdio::null());
    }
    close_outputs(command);
    let child = child?;
    Ok(SpawnedChild {
        pid: pid(&child),
        output: ChildOutput::Merged(Box::pin(terminal.output)),
        pty_input: terminal.input,
        child,
    })
}

fn set_group(command: &mut Command, own_group: bool) {
    if own_group {
        command.process_group(0);
    }
}

/// Closes the writing ends that `command` holds, since a pipe ends with its last writer.
fn close_outputs(command: &mut Command) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
}

/// Returns whether the command or the environment says the type of the terminal.
fn has_term(command: &Command) -> bool {
    let of_command = command
        .as_std()
        .get_envs()
        .find(|(name, _)| *name == OsStr::new("TERM"))
        .map(|(_, value)| value.is_some());
    of_command.unwrap_or_else(|| std::env::var_os("TERM").is_some_and(|term| !term.is_empty()))
}

fn pid(child: &Child) -> Pid {
    child
        .id()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()))
        .expect("a child that was not reaped has a pid")
}
