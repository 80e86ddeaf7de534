//! One command, run as if it ran alone: its output, standard input, signals and exit code.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::time::Duration;

use outrace::process::{DRAIN_TIMEOUT, ExitReport, Process, Signal, Spawn, SpawnError};
use outrace::{ChannelName, ProcessId, Status};
use tokio::time::{Instant, sleep_until};

use super::Run;
use crate::console::notice;
use crate::failure::{Failure, advice};
use crate::server::Server;
use crate::signals::{SECOND_SIGNAL_GRACE, Signals};

impl Run {
    /// Runs one command without a supervisor. Returns its exit code.
    pub(super) async fn run_single(
        &self,
        id: ProcessId,
        program: &OsStr,
        arguments: &[OsString],
    ) -> Result<u8, Failure> {
        let mut signals = Signals::listen()?;
        let channel = ChannelName::process(&id);
        let server =
            Server::start(&self.server, std::slice::from_ref(&channel), self.quiet).await?;

        let mut command = tokio::process::Command::new(program);
        command.args(arguments);
        // A command that reads the terminal has to be in the terminal's foreground group, which is
        // our group, and then gets the terminal's signals directly. A group of its own in the
        // foreground would leave us running behind a command that Ctrl-Z stopped.
        let terminal = std::io::stdin().is_terminal();
        let spawned = Spawn::new(id.as_str(), command)
            .map_err(SpawnError::from)
            .and_then(|spawn| {
                spawn
                    .tee(tokio::io::stdout(), tokio::io::stderr())
                    .own_group(!terminal)
                    .lossless(self.lossless.limit)
                    .start(&server.hub)
            });
        let process = match spawned {
            Ok(process) => process,
            Err(error) => {
                server.shut_down(&mut signals).await;
                return Err(not_started(&error));
            }
        };
        let (report, stopped, hurried) = self.wait(&process, &mut signals, terminal).await;
        if self.stay && !stopped {
            if !self.quiet {
                notice!(
                    "{channel} {} with code {}, still serving",
                    report.status,
                    report.code
                );
            }
            signals.next().await;
        }
        // A further signal cuts this short. The exit code stays that of the command.
        let ending = server.shut_down(&mut signals);
        if hurried {
            let _ = tokio::time::timeout(SECOND_SIGNAL_GRACE, ending).await;
        } else {
            ending.await;
        }
        Ok(exit_code(&report))
    }

    /// Waits for the end of the process and passes signals on to it.
    ///
    /// The second value is true after a signal, the third after more than one.
    async fn wait(
        &self,
        process: &Process,
        signals: &mut Signals,
        terminal: bool,
    ) -> (ExitReport, bool, bool) {
        let mut ending = Ending::No;
        let mut hurried = false;
        loop {
            tokio::select! {
                report = process.wait() => return (report, !matches!(ending, Ending::No), hurried),
                signal = signals.next() => {
                    process.disable_lossless();
                    if matches!(ending, Ending::No) {
                        if !(terminal && signal == Signal::Interrupt && in_foreground()) {
                            // Fails only when the process has ended, and then `wait` returns.
                            let _ = process.signal(signal);
                        }
                        ending = Ending::Asked { until: Instant::now() + self.grace };
                    } else {
                        hurried = true;
                        ending = kill(process);
                    }
                }
                () = sleep_until(ending.until()), if !matches!(ending, Ending::No) => {
                    if let Ending::Killed { .. } = ending {
                        // Our own standard output is stuck, and the remaining output with it.
                        return (ExitReport { status: Status::Crashed, code: 128 + Signal::Kill.number() }, true, hurried);
                    }
                    ending = kill(process);
                }
            }
        }
    }
}

/// The progress of an end that a signal asked for.
enum Ending {
    No,
    Asked { until: Instant },
    Killed { until: Instant },
}

impl Ending {
    fn until(&self) -> Instant {
        match self {
            Self::No => Instant::now(),
            Self::Asked { until } | Self::Killed { until } => *until,
        }
    }
}

fn kill(process: &Process) -> Ending {
    let _ = process.signal(Signal::Kill);
    Ending::Killed {
        until: Instant::now() + DRAIN_TIMEOUT + Duration::from_secs(1),
    }
}

/// Returns whether our group is in the terminal's foreground. A SIGINT then comes from the
/// terminal, and the command has received it too. Otherwise it was sent to this process alone.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin())
        .is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Describes why a process was not started, with the system's reason where that adds something.
pub(super) fn spawn_error_text(error: &SpawnError) -> String {
    match error {
        SpawnError::NotExecutable { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

fn not_started(error: &SpawnError) -> Failure {
    let advice = match error {
        SpawnError::NotFound { .. } => "; check its name, or give its path",
        SpawnError::TooManyOpenFiles { source, .. } => advice(source),
        _ => "",
    };
    Failure::new(
        u8::try_from(error.code()).unwrap_or(126),
        format!("{}{advice}", spawn_error_text(error)),
    )
}

fn exit_code(report: &ExitReport) -> u8 {
    u8::try_from(report.code).unwrap_or(255)
}
