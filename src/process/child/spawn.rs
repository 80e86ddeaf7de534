//! Starts a process whose output is published.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::process::Command;
use tokio::sync::watch;

use super::output::OutputTask;
use super::pipe_reader::{OutputSink, PipeReader};
use super::setup::spawn_child;
use super::target::SignalTarget;
use super::{ExitReport, Process};
use crate::message::{ChannelName, NameError, ProcessId, Status};
use crate::process::LineSender;
use crate::{Hub, Publisher, descriptor_limit};

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
    /// The program does not exist. The system reports the same for a missing working directory or a
    /// missing interpreter of a script.
    #[error("{program}: not found")]
    NotFound {
        /// The name or path of the program.
        program: String,
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
    /// Returns the exit code that a shell reports: 127 for a program that is not found, 126 for one
    /// that cannot be run. The code for an invalid id is 2.
    pub fn code(&self) -> i32 {
        match self {
            Self::Name(_) => 2,
            Self::NotFound { .. } => 127,
            Self::TooManyOpenFiles { .. } | Self::NotExecutable { .. } => 126,
        }
    }
}

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
    stdout: Option<OutputSink>,
    stderr: Option<OutputSink>,
    own_group: bool,
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
            stdout: None,
            stderr: None,
            own_group: true,
            kill_on_drop: false,
            wait_limit: None,
        })
    }

    /// Passes the output through, byte for byte, after it was published.
    ///
    /// A slow sink slows the process down, as it would without Outrace. A sink that fails is
    /// dropped, and publishing goes on. The sinks are shut down when the output has ended.
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

    /// Sets whether the process leads a process group of its own, which gets its signals. The
    /// default is `true`.
    ///
    /// Without a group of its own the process stays in its parent's group. It may then read the
    /// terminal and gets the terminal's signals, and [`Process::signal`] reaches the process alone.
    #[must_use]
    pub fn own_group(mut self, own: bool) -> Self {
        self.own_group = own;
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
        let mut spawned = spawn_child(&mut self.command, self.own_group)
            .map_err(|source| self.report_failure(source, &publisher))?;
        publisher.send_status(Status::Running, 0);

        let target = Arc::new(SignalTarget::new(spawned.pid, self.own_group));
        let (report, received) = watch::channel(None);
        let sender = LineSender::new(publisher.clone(), self.wait_limit);
        // The handle holds no publisher: it must not keep the channel alive.
        let lossless = sender.lossless().cloned();
        let output = OutputTask {
            publisher,
            stdout: PipeReader::new(sender.clone(), spawned.stdout, self.stdout),
            stderr: PipeReader::new(sender, spawned.stderr, self.stderr),
        };
        let stdin = spawned.child.stdin.take();
        tokio::spawn(output.run(spawned.child, Arc::clone(&target), report));
        Ok(Process {
            id: self.id,
            target,
            report: received,
            stdin,
            kill_on_drop: self.kill_on_drop,
            lossless,
        })
    }

    /// Publishes the final status of a process that was not started.
    fn report_failure(&self, source: io::Error, publisher: &Publisher) -> SpawnError {
        let program = self
            .command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let error = match source.kind() {
            io::ErrorKind::NotFound => SpawnError::NotFound { program, source },
            _ if descriptor_limit::is_reached(&source) => {
                SpawnError::TooManyOpenFiles { program, source }
            }
            _ => SpawnError::NotExecutable { program, source },
        };
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
    /// in the order in which they are read, and after the last line the status `exited` with the
    /// exit code, or `crashed` with 128 + the number of the signal that ended the process.
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
