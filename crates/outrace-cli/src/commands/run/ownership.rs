//! What the commands own and are owned by: their standard input, their descendants, their end.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use outrace::ProcessId;
use outrace::process::{OrphanReaper, ProgramInput, Suspension, Unstopped};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::console::notice;
use crate::failure::{Failure, plain};
use crate::flags::values::duration;
use crate::guard::Guard;

/// The least default of the limit for a whole stop.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(next_help_heading = "Standard input and end")]
pub(crate) struct Ownership {
    /// Which of several processes reads standard input, such as the terminal's. The others get an
    /// empty one. A single command always reads it
    #[arg(long, value_name = "ID")]
    stdin: Option<String>,

    /// Give processes an open pipe instead of an empty standard input. For programs that end with
    /// their input, such as tailwindcss --watch
    #[arg(long)]
    keep_stdin_open: bool,

    /// How long the end of all commands may take before all that still runs is killed [default:
    /// 10s, or --grace if that is longer]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    stop_timeout: Option<Duration>,

    /// Leave running what a single command leaves behind when it ends by itself
    #[arg(long, conflicts_with_all = ["file", "processes", "restart", "control", "stop_on_failure"])]
    pub(super) keep_descendants: bool,
}

impl Ownership {
    /// Returns the limit for a whole stop.
    pub(super) fn stop_timeout(&self, grace: Duration) -> Duration {
        self.stop_timeout
            .unwrap_or_else(|| DEFAULT_STOP_TIMEOUT.max(grace))
    }

    /// Checks that the process that reads standard input is one of `ids`.
    pub(super) fn check<'a>(
        &self,
        mut ids: impl Iterator<Item = &'a ProcessId>,
    ) -> Result<(), Failure> {
        match &self.stdin {
            Some(reader) if !ids.any(|id| id.as_str() == reader) => Err(Failure::usage(format!(
                "--stdin {reader}: there is no process {reader}"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the standard input of a process. A `single` command inherits it.
    pub(super) fn input(&self, id: &ProcessId, single: bool) -> ProgramInput {
        if self.stdin.as_deref() == Some(id.as_str()) {
            ProgramInput::Inherited
        } else if self.keep_stdin_open {
            ProgramInput::HeldOpen
        } else if single {
            ProgramInput::Inherited
        } else {
            ProgramInput::Empty
        }
    }
}

/// Returns whether a process with this input has to be in our process group.
///
/// A command that reads the terminal has to be in the terminal's foreground group, which is our
/// group, and then gets the terminal's signals directly. A group of its own in the foreground would
/// leave us running behind a command that Ctrl-Z stopped.
pub(super) fn shares_our_group(input: ProgramInput) -> bool {
    input == ProgramInput::Inherited && std::io::stdin().is_terminal()
}

/// The ownership of everything that the commands start, also of what leaves its process group and
/// of what outlives this program. It is empty elsewhere than on Linux.
pub(super) struct Descendants {
    reaper: Option<OrphanReaper>,
    guard: Option<Guard>,
}

impl Descendants {
    /// Begins to own them. Must precede the start of the first command.
    pub(super) fn own(grace: Duration) -> Self {
        let told = |error| tracing::debug!(%error, "descendants cannot be owned");
        let reaper = OrphanReaper::start().map_err(told).ok();
        let guard = |reaper| Guard::start(reaper, grace).map_err(told).ok();
        Self {
            guard: reaper.as_ref().and_then(guard),
            reaper,
        }
    }

    /// Ends the orphans that no stop of a command has reached, since they have cleared their
    /// environment.
    pub(super) async fn end_orphans(&self, grace_over: impl Future<Output = ()>) {
        if let Some(reaper) = &self.reaper {
            for process in reaper.end_orphans(grace_over).await {
                notice!("{}", unstopped_text(&process));
            }
        }
    }

    /// Gives them up, at the end of the program.
    pub(super) fn disown(self) {
        if let Some(guard) = self.guard {
            guard.dismiss();
        }
    }
}

/// The time that a stop may take, which ends early when it is hurried.
pub(super) struct Grace {
    end: Instant,
    hurry: Notify,
}

impl Grace {
    /// Begins the time now.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            end: Instant::now() + grace,
            hurry: Notify::new(),
        }
    }

    /// Ends the time.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Waits for the end of the time.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = sleep_until(self.end) => {}
            () = self.hurry.notified() => self.hurry(),
        }
    }
}

/// Describes a process that was to end and still runs.
pub(super) fn unstopped_text(process: &Unstopped) -> String {
    let Unstopped {
        pid,
        program,
        error,
        ..
    } = process;
    match error.kind() {
        std::io::ErrorKind::TimedOut => {
            format!("process {pid} ({program}) was killed and does not end; it still runs")
        }
        _ => format!(
            "process {pid} ({program}) may not be signaled: {}; it still runs",
            plain(error)
        ),
    }
}

/// Describes a process that waits for the terminal, if it does. `advice` says how it gets it.
pub(super) fn suspension_text(
    id: &ProcessId,
    suspension: Option<Suspension>,
    advice: &str,
) -> Option<String> {
    let what = match suspension? {
        Suspension::TerminalInput => "read the terminal (SIGTTIN)",
        Suspension::TerminalOutput => "use the terminal (SIGTTOU)",
        _ => return None,
    };
    Some(format!("{id} is suspended: it wants to {what}; {advice}"))
}
