//! Starts a process whose output is published.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWrite;
use tokio::process::Command;
use tokio::sync::watch;

use super::output::OutputTask;
use super::pipe_reader::{OutputSink, PipeReader};
use super::reap::reap;
use super::setup::{ChildOutput, SpawnedChild, spawn_child};
use super::start_failure::diagnose;
use super::target::SignalTarget;
use super::{BrokenInterpreter, ExitReport, OutputMode, Process};
use crate::message::{ChannelName, NameError, OutputStream, ProcessId, Status};
use crate::process::lines::PartialLine;
use crate::process::ownership::Lineage;
use crate::process::{LinePublisher, LineSender, OrphanReaper};
use crate::{Hub, Publisher};

/// The reason why a process was not started.
///
/// Except for [`Name`](Self::Name), the channel got the final status `crashed` with
/// [`code`](Self::code).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The id is not a valid process id.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The program does not exist.
    #[error("{program}: not found")]
    NotFound {
        /// The name or path of the program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// The working directory does not exist, or is no directory.
    #[error("{program}: the folder {directory}, which it is to run in, is not there")]
    Directory {
        /// The name or path of the program.
        program: String,
        /// The working directory.
        directory: String,
        /// The system's error.
        source: io::Error,
    },
    /// The program is a script, and its first line names no interpreter that the system can run.
    #[error("{program}: {interpreter}")]
    Interpreter {
        /// The name or path of the program.
        program: String,
        /// What is wrong with the line.
        interpreter: BrokenInterpreter,
        /// The system's error.
        source: io::Error,
    },
    /// The process or the system has no descriptor left for the pipes of another process. See
    /// [`raise_descriptor_limit`](crate::process::raise_descriptor_limit).
    #[error("{program}: cannot be started: too many open files")]
    TooManyOpenFiles {
        /// The name or path of the program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// The program exists but the system cannot run it.
    #[error("{program}: cannot be run")]
    NotExecutable {
        /// The name or path of the program.
        program: String,
        /// The system's error.
        source: io::Error,
    },
}

impl SpawnError {
    /// Returns the exit code that a shell reports: 127 for a program or an interpreter that is not
    /// found, 126 for one that cannot be run. The code for an invalid id is 2.
    pub fn code(&self) -> i32 {
        match self {
            Self::Name(_) => 2,
            Self::NotFound { .. } => 127,
            Self::Interpreter { interpreter, .. } if interpreter.is_not_found() => 127,
            Self::Interpreter { .. }
            | Self::Directory { .. }
            | Self::TooManyOpenFiles { .. }
            | Self::NotExecutable { .. } => 126,
        }
    }
}

/// Makes the command that runs a script without an interpreter line.
type ScriptCommand = Box<dyn FnOnce() -> Option<Command> + Send>;

/// A process to start, with options. [`Hub::spawn`] is the short form.
///
/// ```no_run
/// # use outrace::{Hub, process::Spawn};
/// # async fn example(hub: Hub) -> Result<(), Box<dyn std::error::Error>> {
/// let mut command = tokio::process::Command::new("make");
/// command.arg("all");
/// let build = Spawn::new("build", command)?
///     .tee(tokio::io::stdout(), tokio::io::stderr())
///     .kill_on_drop(true)
///     .start(&hub)?;
/// println!("make ended with {}", build.wait().await.code);
/// # Ok(())
/// # }
/// ```
pub struct Spawn {
    id: ProcessId,
    command: Command,
    script: Option<ScriptCommand>,
    stdout: Option<OutputSink>,
    stderr: Option<OutputSink>,
    output: OutputMode,
    own_group: bool,
    end_with_parent: bool,
    kill_on_drop: bool,
    wait_limit: Option<Duration>,
}

impl Spawn {
    /// Creates a process to start that publishes to `process:<id>`.
    ///
    /// # Errors
    /// Returns an error if `id` is not a valid process id.
    pub fn new(id: &str, command: impl Into<Command>) -> Result<Self, NameError> {
        Ok(Self {
            id: ProcessId::parse(id)?,
            command: command.into(),
            script: None,
            stdout: None,
            stderr: None,
            output: OutputMode::Auto,
            own_group: true,
            end_with_parent: false,
            kill_on_drop: false,
            wait_limit: None,
        })
    }

    /// Passes the output through, byte for byte, after it was published.
    ///
    /// A slow sink slows the process down, as it would without Outrace. A sink that fails is
    /// dropped, and publishing goes on. The sinks are shut down when the output has ended.
    ///
    /// Unless [`output`](Self::output) says otherwise, the two streams then have a pipe each. With
    /// one pipe or terminal for both, everything goes to `stdout`, and `stderr` is dropped.
    #[must_use]
    pub fn tee(
        mut self,
        stdout: impl AsyncWrite + Send + 'static,
        stderr: impl AsyncWrite + Send + 'static,
    ) -> Self {
        self.stdout = Some(Box::pin(stdout));
        self.stderr = Some(Box::pin(stderr));
        self
    }

    /// Sets how standard output and standard error are connected. The default is
    /// [`OutputMode::Auto`].
    #[must_use]
    pub fn output(mut self, mode: OutputMode) -> Self {
        self.output = mode;
        self
    }

    /// Sets the command to start if the system takes the first one for no program (`ENOEXEC`), as
    /// it does with a script that has no `#!` line. A shell runs such a script itself.
    ///
    /// Without this, or if `make` returns `None`, such a script is refused. See
    /// [`Program::script_command`](crate::process::Program::script_command).
    #[must_use]
    pub fn script(mut self, make: impl FnOnce() -> Option<Command> + Send + 'static) -> Self {
        self.script = Some(Box::new(make));
        self
    }

    /// Sets whether the process leads a process group of its own, which gets its signals. The
    /// default is `true`. A process in a [pseudo-terminal](OutputMode::Pty) always does.
    ///
    /// Without a group of its own the process stays in its parent's group. It may then read the
    /// terminal and gets the terminal's signals, and [`Process::signal`] reaches the process alone.
    #[must_use]
    pub fn own_group(mut self, own: bool) -> Self {
        self.own_group = own;
        self
    }

    /// Sets whether the system kills the process when the current process ends in any way, even by
    /// `SIGKILL`. The default is `false`.
    ///
    /// This works on Linux only, and has no effect elsewhere. It reaches the process itself, and
    /// neither its descendants nor a program that gains privileges (set-user-id). The process is
    /// started by a thread that lasts as long as the current process, since Linux means the thread
    /// when it says parent.
    #[must_use]
    pub fn end_with_parent(mut self, end: bool) -> Self {
        self.end_with_parent = end;
        self
    }

    /// Sets whether dropping the [`Process`] kills the process and its group. The default is
    /// `false`.
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// Sets how long to wait for a subscriber without room before it is skipped. The default is
    /// `None`: subscribers are skipped without waiting.
    ///
    /// During a wait nothing is read from the process, which blocks once its pipe is full. See
    /// [`Lossless`](crate::Lossless).
    #[must_use]
    pub fn lossless(mut self, wait_limit: impl Into<Option<Duration>>) -> Self {
        self.wait_limit = wait_limit.into();
        self
    }

    /// Starts the process. [`Hub::spawn`] says what is published.
    ///
    /// # Errors
    /// Returns an error if the program is not found or cannot be run. The channel then gets the
    /// status `crashed` with the error's [`code`](SpawnError::code).
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(mut self, hub: &Hub) -> Result<Process, SpawnError> {
        let publisher = hub.publisher(ChannelName::process(&self.id).as_str())?;
        let mode = match &self.output {
            OutputMode::Auto if self.stdout.is_some() => OutputMode::Split,
            mode => mode.clone(),
        };
        let own_group = self.own_group || matches!(mode, OutputMode::Pty(_));
        let lineage = OrphanReaper::is_active().then(Lineage::new);
        let mut spawned = self
            .spawn_child(&mode, lineage.as_ref())
            .map_err(|source| self.report_failure(source, &publisher))?;
        publisher.send_status(Status::Running, 0);

        let target = Arc::new(SignalTarget::new(spawned.owned, own_group, lineage));
        let (report, received) = watch::channel(None);
        let sender = LineSender::new(publisher.clone(), self.wait_limit);
        // The handle holds no publisher: it must not keep the channel alive.
        let lossless = sender.lossless().cloned();
        let lines = || LinePublisher::new(sender.clone());
        let (stdout, stderr) = match spawned.output {
            ChildOutput::Merged(pipe) => (
                PipeReader::new(lines(), Some(pipe), self.stdout),
                PipeReader::new(lines(), None, None),
            ),
            ChildOutput::Split(stdout, stderr) => {
                let of = |stream| lines().with_stream(stream);
                (
                    PipeReader::new(of(OutputStream::Stdout), Some(stdout), self.stdout),
                    PipeReader::new(of(OutputStream::Stderr), Some(stderr), self.stderr),
                )
            }
        };
        let output = OutputTask {
            publisher: publisher.clone(),
            stdout,
            stderr,
            partial: PartialLine::default(),
        };
        let stdin = spawned.child.stdin.take();
        tokio::spawn(reap(spawned.child, Arc::clone(&target), publisher.clone()));
        tokio::spawn(output.run(Arc::clone(&target), report));
        Ok(Process {
            id: self.id,
            target,
            report: received,
            stdin,
            pty_input: spawned.pty_input,
            kill_on_drop: self.kill_on_drop,
            lossless,
        })
    }

    fn spawn_child(
        &mut self,
        mode: &OutputMode,
        lineage: Option<&Lineage>,
    ) -> io::Result<SpawnedChild> {
        let (own_group, end_with_parent) = (self.own_group, self.end_with_parent);
        let spawn = |command: &mut Command| {
            command.envs(lineage.map(Lineage::variable));
            spawn_child(command, mode, own_group, end_with_parent)
        };
        let spawned = spawn(&mut self.command);
        let Err(error) = &spawned else {
            return spawned;
        };
        if Errno::from_io_error(error) != Some(Errno::NOEXEC) {
            return spawned;
        }
        match self.script.take().and_then(|make| make()) {
            Some(script) => {
                self.command = script;
                spawn(&mut self.command)
            }
            None => spawned,
        }
    }

    /// Publishes the final status of a process that was not started.
    fn report_failure(&self, source: io::Error, publisher: &Publisher) -> SpawnError {
        let error = diagnose(self.command.as_std(), source);
        let report = ExitReport {
            status: Status::Crashed,
            code: error.code(),
        };
        publisher.send_status(report.status, report.code);
        error
    }
}

impl Hub {
    /// Starts a process and publishes its output to `process:<id>`.
    ///
    /// The channel gets the status `running`, then the lines of standard output and standard error
    /// in the order in which they were written, and after the last line the status `exited` with
    /// the exit code, or `crashed` with 128 + the number of the signal that ended the process.
    ///
    /// Both streams share one pipe. [`Spawn::output`] keeps them apart, or makes a pseudo-terminal
    /// of them for programs that collect their output before they write it to a pipe.
    ///
    /// The process leads a process group of its own. Its standard input is inherited unless
    /// `command` sets it; see [`Process::take_stdin`] for a pipe. The system stops a process that
    /// reads the terminal from a group of its own (`SIGTTIN`). If standard input is a terminal, set
    /// it to [`Stdio::null`](std::process::Stdio::null) or a pipe, or see [`Spawn::own_group`].
    ///
    /// Descendants that outlive the process and hold its output open do not delay the report for
    /// long. After the process has ended, their output is read until they close it, until it was
    /// silent for [200 ms](super::DRAIN_IDLE_TIMEOUT), or for at most [2 s](super::DRAIN_TIMEOUT).
    ///
    /// ```no_run
    /// # async fn example(hub: outrace::Hub) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut command = tokio::process::Command::new("ping");
    /// command.args(["-c", "3", "localhost"]);
    /// let ping = hub.spawn("ping", command)?;
    /// let report = ping.wait().await;
    /// println!("{} with {}", report.status, report.code);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if `id` is not a valid process id, or if the program is not found or cannot
    /// be run. In the latter two cases the channel gets the status `crashed` with code 127 or 126,
    /// as a shell reports it.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn spawn(&self, id: &str, command: impl Into<Command>) -> Result<Process, SpawnError> {
        Spawn::new(id, command)?.start(self)
    }
}
