//! Starting a process.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::AsyncWrite;
use tokio::process::Command;
use tokio::sync::watch;

use crate::message::{ChannelName, NameError, ProcessId, Status};
use crate::{Hub, Lossless, Publisher};

use super::handle::Target;
use super::pump::{Pump, Sink};
use super::{ExitReport, Process};

/// Why a process could not be started. But for [`Name`](Self::Name), the channel has had a final status
/// `crashed` with [`code`](Self::code).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The id is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no such program. (Or no such working directory, or interpreter of a script: the system
    /// does not tell them apart.)
    #[error("{program}: not found")]
    NotFound {
        /// The program that was to run.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program is there but could not be run.
    #[error("{program}: cannot be run: {source}")]
    NotExecutable {
        /// The program that was to run.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SpawnError {
    /// The exit code a shell gives for it: 127 when not found, 126 when it could not be run.
    /// For a bad id it is 2.
    pub fn code(&self) -> i32 {
        match self {
            Self::Name(_) => 2,
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
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
    stdout: Option<Sink>,
    stderr: Option<Sink>,
    own_group: bool,
    kill_on_drop: bool,
    lossless: Option<Duration>,
}

impl Spawn {
    /// A process that publishes to `process:<id>`.
    ///
    /// # Errors
    /// When `id` is not a valid process id.
    pub fn new(id: &str, command: impl Into<Command>) -> Result<Self, NameError> {
        Ok(Self {
            id: ProcessId::parse(id)?,
            command: command.into(),
            stdout: None,
            stderr: None,
            own_group: true,
            kill_on_drop: false,
            lossless: None,
        })
    }

    /// Passes what the process writes through, byte for byte, after it was published. Slow sinks slow the
    /// process down, as they would without us; one that fails is let go and the streaming goes on. They are
    /// shut down when the output has ended.
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

    /// Whether the process leads a group of its own, to which signals go; it does by default. Without one it
    /// stays in its parent's: it may read the terminal and gets the terminal's signals, and
    /// [`Process::signal`] reaches the process alone.
    #[must_use]
    pub fn own_group(mut self, own: bool) -> Self {
        self.own_group = own;
        self
    }

    /// Whether dropping the [`Process`] kills it (and its group); it does not by default.
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// Whether subscribers without room are waited for, each time for at most so long, instead of being skipped: meanwhile nothing is read
    /// from the process, which has to wait too once its pipe is full. See [`Lossless`].
    #[must_use]
    pub fn lossless(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.lossless = limit.into();
        self
    }

    /// Starts it. See [`Hub::spawn`] for what happens then.
    ///
    /// # Errors
    /// When the program is not found or cannot be run; the channel has had status `crashed` by then.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(mut self, hub: &Hub) -> Result<Process, SpawnError> {
        let publisher = hub.publisher(ChannelName::process(&self.id).as_str())?;
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.own_group {
            self.command.process_group(0);
        }
        let mut child = self
            .command
            .spawn()
            .map_err(|source| self.refused(source, &publisher))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .expect("a child that was not waited for has a number");
        publisher.send_status(Status::Running, 0);

        let target = Arc::new(Target::new(pid, self.own_group));
        let (report, received) = watch::channel(None);
        let lossless = self
            .lossless
            .map(|limit| Lossless::new(publisher.clone(), limit));
        let pump = Pump::new(
            publisher,
            lossless.as_ref(),
            child.stdout.take().map(|pipe| (pipe, self.stdout)),
            child.stderr.take().map(|pipe| (pipe, self.stderr)),
        );
        let stdin = child.stdin.take();
        tokio::spawn(pump.run(child, Arc::clone(&target), report));
        Ok(Process {
            id: self.id,
            target,
            report: received,
            stdin,
            kill_on_drop: self.kill_on_drop,
            lossless,
        })
    }

    fn refused(&self, source: io::Error, publisher: &Publisher) -> SpawnError {
        let program = self
            .command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let error = match source.kind() {
            io::ErrorKind::NotFound => SpawnError::NotFound { program, source },
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
    /// Starts a process and publishes what it writes, standard output and standard error alike, to
    /// `process:<id>`: status `running`, then line by line in the order they are read, and after the last
    /// line `exited` with its exit code, or `crashed` with 128 + the signal that ended it.
    ///
    /// The process leads a group of its own. Its standard input is what `command` says (see
    /// [`Process::take_stdin`] for a pipe), or inherited: a
    /// process that reads the terminal from its own group is stopped by the system (`SIGTTIN`), so give it
    /// [`Stdio::null`] or a pipe if yours is a terminal, or see [`Spawn::own_group`].
    ///
    /// Descendants that live on and hold the output open do not hold up the report: once the process has
    /// ended, what they still write is read until they close it, until there was nothing for
    /// [200 ms](super::DRAIN_QUIET), or for [2 s](super::DRAIN_LIMIT) at most.
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
    /// When `id` is not valid, or the program is not found or cannot be run. In the latter two cases the
    /// channel gets status `crashed`, with 127 or 126 as a shell has it.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn spawn(&self, id: &str, command: impl Into<Command>) -> Result<Process, SpawnError> {
        Spawn::new(id, command)?.start(self)
    }
}
