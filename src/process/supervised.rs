//! One of the processes of a supervisor, and how it is to be kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWrite;

use crate::message::{NameError, ProcessId};

use super::pump::Sink;
use super::{Program, Restart, RestartDelay, Spawn};

type Tee = dyn Fn() -> (Sink, Sink) + Send + Sync;

/// A process for a [`Supervisor`](super::Supervisor): what to run, under which id, when to start it and whether to start it again.
///
/// ```
/// use outrace::process::{Program, Restart, Supervised};
/// use std::time::Duration;
///
/// let worker = Supervised::new("worker", Program::shell("python worker.py"))?
///     .restart(Restart::OnFailure)
///     .after("db")
///     .delay(Duration::from_millis(500));
/// # Ok::<(), outrace::NameError>(())
/// ```
pub struct Supervised {
    pub(super) id: ProcessId,
    program: Program,
    pub(super) restart: Restart,
    pub(super) restart_delay: RestartDelay,
    pub(super) delay: Duration,
    pub(super) after: Option<String>,
    lossless: Option<Duration>,
    tee: Option<Arc<Tee>>,
}

impl Supervised {
    /// A process that publishes to `process:<id>`.
    ///
    /// # Errors
    /// When `id` is not a valid process id.
    pub fn new(id: &str, program: Program) -> Result<Self, NameError> {
        Ok(Self {
            id: ProcessId::parse(id)?,
            program,
            restart: Restart::default(),
            restart_delay: RestartDelay::default(),
            delay: Duration::ZERO,
            after: None,
            lossless: None,
            tee: None,
        })
    }

    /// When it is started again; never by default.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long after its end it is started again.
    #[must_use]
    pub fn restart_delay(mut self, delay: RestartDelay) -> Self {
        self.restart_delay = delay;
        self
    }

    /// How long its first start waits once its turn has come: not at all by default.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Its turn comes when that process was first started, or could not be. By default the one given before it is meant.
    #[must_use]
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// As [`Spawn::lossless`].
    #[must_use]
    pub fn lossless(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.lossless = limit.into();
        self
    }

    /// As [`Spawn::tee`], with sinks made for each start.
    #[must_use]
    pub fn tee<O, E>(mut self, make: impl Fn() -> (O, E) + Send + Sync + 'static) -> Self
    where
        O: AsyncWrite + Send + 'static,
        E: AsyncWrite + Send + 'static,
    {
        self.tee = Some(Arc::new(move || {
            let (stdout, stderr) = make();
            (Box::pin(stdout), Box::pin(stderr))
        }));
        self
    }

    /// Its id.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// What one start of it is.
    pub(super) fn spawn(&self, kill_on_drop: bool) -> Spawn {
        let spawn = Spawn::new(self.id.as_str(), self.program.command())
            .expect("a ProcessId is valid")
            .kill_on_drop(kill_on_drop)
            .lossless(self.lossless);
        match &self.tee {
            Some(tee) => {
                let (stdout, stderr) = tee();
                spawn.tee(stdout, stderr)
            }
            None => spawn,
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
