//! Sets up a child process: its standard output and error, and its process group.

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;

use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

use super::OutputMode;
use super::pipe_reader::OutputPipe;
use super::pty::PtyInput;
use crate::process::descriptors::restore_limit_in;
use crate::process::ownership::{self, OwnedChild};

/// The type of terminal that a process is told of if nothing else says one.
const DEFAULT_TERM: &str = "xterm-256color";

/// A child that was just started, and the reading ends of its output.
pub(super) struct SpawnedChild {
    pub(super) child: Child,
    pub(super) owned: OwnedChild,
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

/// The signals that a terminal sends for its keys and its job control.
const TERMINAL_SIGNALS: [libc::c_int; 5] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Starts `command` with its output connected as `mode` says. With `own_group`, the child leads a
/// process group of its own; with a pseudo-terminal it always does. With `end_with_parent`, it ends
/// with this process. Standard input stays as `command` says, unless it is to be the
/// pseudo-terminal.
pub(super) fn spawn_child(
    command: &mut Command,
    mode: &OutputMode,
    own_group: bool,
    end_with_parent: bool,
) -> io::Result<SpawnedChild> {
    let connected = Connected::new(command, mode)?;
    // A leader of a group cannot begin a session, as the child does in a terminal.
    if own_group && !matches!(mode, OutputMode::Pty(_)) {
        command.process_group(0);
    }
    restore_limit_in(command);
    let spawned = ownership::spawn(command, end_with_parent);
    connected.close_childs_ends(command);
    let (mut child, owned) = spawned?;
    let (output, pty_input) = connected.reading_ends(&mut child);
    Ok(SpawnedChild {
        owned,
        child,
        output,
        pty_input,
    })
}

/// The reading ends of a child that is about to start.
enum Connected {
    /// The child holds the pipes.
    Split,
    Merged(OutputPipe),
    Pty(OutputPipe, Option<PtyInput>),
}

impl Connected {
    /// Makes the writing ends the outputs of `command`.
    fn new(command: &mut Command, mode: &OutputMode) -> io::Result<Self> {
        match mode {
            OutputMode::Split => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                Ok(Self::Split)
            }
            OutputMode::Merged | OutputMode::Auto => {
                let (reader, writer) = io::pipe()?;
                let reader = Receiver::from_owned_fd(reader.into())?;
                command.stdout(writer.try_clone()?).stderr(writer);
                Ok(Self::Merged(Box::pin(reader)))
            }
            OutputMode::Pty(pty) => {
                let terminal = pty.open().map_err(|error| {
                    if Errno::from_io_error(&error) == Some(Errno::AGAIN) {
                        io::Error::other("the system has no further terminal")
                    } else {
                        error
                    }
                })?;
                if terminal.input.is_some() {
                    command.stdin(terminal.user.try_clone()?);
                }
                command
                    .stdout(terminal.user.try_clone()?)
                    .stderr(terminal.user);
                control_terminal(command);
                Ok(Self::Pty(Box::pin(terminal.output), terminal.input))
            }
        }
    }

    /// Closes the child's ends that `command` holds, since a pipe ends with its last writer.
    fn close_childs_ends(&self, command: &mut Command) {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Self::Pty(_, Some(_)) = self {
            command.stdin(Stdio::null());
        }
    }

    fn reading_ends(self, child: &mut Child) -> (ChildOutput, Option<PtyInput>) {
        match self {
            Self::Split => {
                let stdout = child.stdout.take().expect("standard output is piped");
                let stderr = child.stderr.take().expect("standard error is piped");
                let output = ChildOutput::Split(Box::pin(stdout), Box::pin(stderr));
                (output, None)
            }
            Self::Merged(pipe) => (ChildOutput::Merged(pipe), None),
            Self::Pty(output, input) => (ChildOutput::Merged(output), input),
        }
    }
}

/// Makes the standard output of `command`, a terminal, the controlling terminal of the child, which
/// leads a session.
///
/// The child does not ignore the signals of its terminal. A script ignores SIGINT and SIGQUIT for
/// its background jobs, since the keys of the script's terminal are not for them, and an ignored
/// signal would stay ignored in the child.
fn control_terminal(command: &mut Command) {
    if !has_term(command) {
        command.env("TERM", DEFAULT_TERM);
    }
    // SAFETY: between `fork` and `exec` the closure only makes system calls, which are
    // async-signal-safe. It allocates nothing and takes no lock. Without a handler, `signal`
    // installs no code that could run.
    unsafe {
        command.pre_exec(|| {
            for signal in TERMINAL_SIGNALS {
                libc::signal(signal, libc::SIG_DFL);
            }
            rustix::process::setsid()?;
            // Standard output is the terminal by now. The session has no controlling terminal yet.
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdout())?;
            Ok(())
        });
    }
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
