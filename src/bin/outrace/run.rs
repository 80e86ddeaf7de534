//! `outrace run`: a command whose output is streamed, and passed through as if it ran alone.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use outrace::process::{DRAIN_LIMIT, ExitReport, Process, Signal, Spawn, SpawnError};
use outrace::{ChannelName, ProcessId, Status};
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;
use crate::options::{Patience, ServerOptions, duration};
use crate::server::Server;
use crate::signals::Signals;

/// Ends with the command's exit code: 128 + the signal if one killed it, 127 if it was not found, 126 if it
/// could not be run.
#[derive(Args)]
pub(crate) struct Run {
    /// The process's name: 1 to 128 of A-Z a-z 0-9 _ . - [default: the command's base name]
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// Go on serving after the command has ended, until a signal
    #[arg(long)]
    stay: bool,

    /// Say nothing but what the command says
    #[arg(long, short)]
    quiet: bool,

    /// How long the command has to end after SIGINT or SIGTERM, before it is killed; a second signal kills
    /// at once
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    grace: Duration,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    server: ServerOptions,

    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let (program, arguments) = self.command.split_first().expect("clap requires a command");
        let id = match &self.id {
            Some(id) => ProcessId::parse(id).map_err(Failure::usage)?,
            None => ProcessId::from_command(program),
        };
        let mut signals = Signals::listen()?;
        let channel = ChannelName::process(&id);
        let server = Server::start(&self.server, Some(channel.as_str()), self.quiet).await?;

        let mut command = tokio::process::Command::new(program);
        command.args(arguments);
        // A command that reads the terminal must be in the terminal's foreground group, which is ours. It gets
        // the terminal's signals by itself then. The other way, a group of its own in the foreground, would
        // leave us running behind a command that Ctrl-Z stopped.
        let terminal = std::io::stdin().is_terminal();
        let spawned = Spawn::new(id.as_str(), command).map_err(SpawnError::from).and_then(|spawn| {
            spawn
                .tee(tokio::io::stdout(), tokio::io::stderr())
                .own_group(!terminal)
                .lossless(self.patience.lossless)
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
                eprintln!("outrace: {channel} {} with code {}, still serving", report.status, report.code);
            }
            signals.next().await;
        }
        // One more signal cuts this short; the command has ended as it has.
        let ending = server.shut_down(&mut signals);
        if hurried {
            let _ = tokio::time::timeout(HURRY, ending).await;
        } else {
            ending.await;
        }
        Ok(exit_code(&report))
    }

    /// Until the process is done; the second value says if a signal told us to end, the third if more than one did.
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
                    process.give_up_waiting();
                    if matches!(ending, Ending::No) {
                        if !(terminal && signal == Signal::Interrupt && in_foreground()) {
                            // Fails only when it has ended, and then `wait` returns.
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
                        // Our own standard output is stuck, and the rest of the output with it.
                        return (ExitReport { status: Status::Crashed, code: 128 + Signal::Kill.number() }, true, hurried);
                    }
                    ending = kill(process);
                }
            }
        }
    }
}

/// What clients get to read a killed command's last words and its status, when a second signal asked for the end.
const HURRY: Duration = Duration::from_secs(1);

/// How far the end that a signal asked for has come.
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
    Ending::Killed { until: Instant::now() + DRAIN_LIMIT + Duration::from_secs(1) }
}

/// Whether the terminal's own signals come to our group. A SIGINT is the terminal's then, and the command
/// has it already; otherwise somebody sent it to us alone.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn not_started(error: &SpawnError) -> Failure {
    let advice = match error {
        SpawnError::NotFound { .. } => "; check its name, or give its path",
        _ => "",
    };
    Failure::new(u8::try_from(error.code()).unwrap_or(126), format!("{error}{advice}"))
}

fn exit_code(report: &ExitReport) -> u8 {
    u8::try_from(report.code).unwrap_or(255)
}
