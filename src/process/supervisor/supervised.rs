//! One process of a supervisor: its program, start order and restart policy.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::task::SupervisorSettings;
use super::{Program, Restart, RestartDelay};
use crate::message::{NameError, ProcessId};
use crate::process::child::OutputSink;
use crate::process::{OutputMode, Process, PtyInput, Spawn};

type SinkFactory = dyn Fn() -> (OutputSink, OutputSink) + Send + Sync;
type InputReceiver = dyn Fn(PtyInput) + Send + Sync;

/// A process for a [`Supervisor`](super::Supervisor): its id, its program, when it starts and
/// whether it is restarted.
///
/// ```
/// use outrace::process::{Program, Restart, Supervised};
/// use std::time::Duration;
///
/// let worker = Supervised::new("worker", Program::shell("python worker.py"))?
///     .restart(Restart::OnFailure)
///     .start_after("db")
///     .start_delay(Duration::from_millis(500));
/// # Ok::<(), outrace::NameError>(())
/// ```
pub struct Supervised {
    pub(super) id: ProcessId,
    program: Program,
    pub(super) restart: Restart,
    pub(super) restart_delay: RestartDelay,
    pub(super) start_delay: Duration,
    pub(super) start_after: Option<String>,
    own_group: bool,
    wait_limit: Option<Duration>,
    output: OutputMode,
    sinks: Option<Arc<SinkFactory>>,
    input_receiver: Option<Arc<InputReceiver>>,
}

impl Supervised {
    /// Creates a process that publishes to `process:<id>`.
    ///
    /// # Errors
    /// Returns an error if `id` is not a valid process id.
    pub fn new(id: &str, program: Program) -> Result<Self, NameError> {
        Ok(Self {
            id: ProcessId::parse(id)?,
            program,
            restart: Restart::default(),
            restart_delay: RestartDelay::default(),
            start_delay: Duration::ZERO,
            start_after: None,
            own_group: true,
            wait_limit: None,
            output: OutputMode::Auto,
            sinks: None,
            input_receiver: None,
        })
    }

    /// Sets when the process is restarted. The default is never.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets the delays before restarts. The default is 1, 2, 4, … 60 s.
    #[must_use]
    pub fn restart_delay(mut self, delay: RestartDelay) -> Self {
        self.restart_delay = delay;
        self
    }

    /// Sets the delay of the first start, after the start of the process that precedes it. The
    /// default is zero.
    #[must_use]
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.start_delay = delay;
        self
    }

    /// Sets the process that precedes this one. This one starts when the first start of that
    /// process was attempted, whether it succeeded or not. The default is the process that was
    /// added before.
    #[must_use]
    pub fn start_after(mut self, id: impl Into<String>) -> Self {
        self.start_after = Some(id.into());
        self
    }

    /// Sets whether the process leads a process group of its own. The default is `true`. See
    /// [`Spawn::own_group`]: only without one can it read the terminal.
    #[must_use]
    pub fn own_group(mut self, own: bool) -> Self {
        self.own_group = own;
        self
    }

    /// Sets how long to wait for a subscriber without room before it is skipped. The default is
    /// `None`: subscribers are skipped without waiting. See [`Spawn::lossless`].
    #[must_use]
    pub fn lossless(mut self, wait_limit: impl Into<Option<Duration>>) -> Self {
        self.wait_limit = wait_limit.into();
        self
    }

    /// Sets how standard output and standard error are connected in each run. See
    /// [`Spawn::output`].
    #[must_use]
    pub fn output(mut self, mode: OutputMode) -> Self {
        self.output = mode;
        self
    }

    /// Passes the output through to sinks that `make` creates for each start. See [`Spawn::tee`].
    #[must_use]
    pub fn tee<O, E>(mut self, make: impl Fn() -> (O, E) + Send + Sync + 'static) -> Self
    where
        O: AsyncWrite + Send + 'static,
        E: AsyncWrite + Send + 'static,
    {
        self.sinks = Some(Arc::new(move || {
            let (stdout, stderr) = make();
            (Box::pin(stdout), Box::pin(stderr))
        }));
        self
    }

    /// Sets the function that gets the keyboard of each run, before
    /// [`SupervisorEvent::Started`](super::SupervisorEvent::Started). There is one in a
    /// [`Pty::with_stdin`](crate::process::Pty::with_stdin). See [`Process::take_pty_input`].
    ///
    /// Without this, nothing is ever typed. The function is called by a task of the runtime, and
    /// must not block.
    #[must_use]
    pub fn on_pty_input(mut self, receive: impl Fn(PtyInput) + Send + Sync + 'static) -> Self {
        self.input_receiver = Some(Arc::new(receive));
        self
    }

    /// Returns the id of the process.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// Returns the options of one start.
    pub(super) fn spawn(&self, settings: &SupervisorSettings) -> Spawn {
        let program = self.program.clone();
        let spawn = Spawn::new(self.id.as_str(), self.program.command())
            .expect("a ProcessId is valid")
            .script(move || program.script_command())
            .own_group(self.own_group)
            .kill_on_drop(settings.kill_on_drop)
            .end_with_parent(settings.end_with_parent)
            .lossless(self.wait_limit)
            .output(self.output.clone());
        match &self.sinks {
            Some(make) => {
                let (stdout, stderr) = make();
                spawn.tee(stdout, stderr)
            }
            None => spawn,
        }
    }
}

impl Supervised {
    /// Hands the keyboard of a run over.
    pub(super) fn hand_over_input(&self, process: &mut Process) {
        if let Some(receive) = &self.input_receiver
            && let Some(input) = process.take_pty_input()
        {
            receive(input);
        }
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("id", &self.id)
            .field("program", &self.program)
            .field("restart", &self.restart)
            .finish_non_exhaustive()
    }
}
