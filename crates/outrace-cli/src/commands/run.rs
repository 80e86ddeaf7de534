//! `outrace run`: a command whose output is streamed, and passed through as if it ran alone; or several.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outrace::process::{DRAIN_LIMIT, ExitReport, Process, Program, Signal, Spawn, SpawnError};
use outrace::{ChannelName, ProcessId, Status};
use tokio::time::{Instant, sleep_until};

use crate::commands::supervise::{Job, Supervision};
use crate::failure::Failure;
use crate::flags::values::duration;
use crate::flags::{Patience, ServerOptions};
use crate::procfile;
use crate::server::Server;
use crate::signals::Signals;

/// A command after --, or several processes: `web='npm start'`, or a Procfile.
///
/// Ends with the command's exit code: 128 + the signal if one killed it, 127 if it was not found, 126 if it
/// could not be run. With several, that of the first one that failed and was not started again; 0 if none did.
#[derive(Args)]
pub(crate) struct Run {
    /// The process's name: 1 to 128 of A-Z a-z 0-9 _ . - [default: the command's base name]
    #[arg(long, value_name = "ID", conflicts_with_all = ["file", "processes"])]
    id: Option<String>,

    /// Run the processes of a Procfile, whose lines are NAME: COMMAND, in its folder
    #[arg(long, short, value_name = "PROCFILE", conflicts_with = "command")]
    file: Option<PathBuf>,

    /// Go on serving after the end of all commands, until a signal
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
    supervision: Supervision,

    #[command(flatten)]
    server: ServerOptions,

    /// Processes to run together: their names, and commands for the shell
    #[arg(value_name = "ID=COMMAND", conflicts_with = "command", value_parser = named)]
    processes: Vec<Named>,

    /// The command and its arguments, after --
    #[arg(last = true, required_unless_present_any = ["file", "processes"], value_name = "CMD")]
    command: Vec<OsString>,
}

type Named = (ProcessId, String);

/// Checks `ID=COMMAND`.
fn named(text: &str) -> Result<Named, String> {
    let Some((id, command)) = text.split_once('=') else {
        return Err(
            "it must be ID=COMMAND, such as web='npm start'; a single command goes after --"
                .to_owned(),
        );
    };
    let id = ProcessId::parse(id).map_err(|error| error.to_string())?;
    if command.trim().is_empty() {
        return Err(format!("{id} has no command"));
    }
    Ok((id, command.to_owned()))
}

impl Run {
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return self.start_several().await;
        };
        let id = match &self.id {
            Some(id) => ProcessId::parse(id).map_err(Failure::usage)?,
            None => ProcessId::from_command(program),
        };
        if self.supervision.is_asked_for() {
            let program = Program::new(program).args(arguments);
            return self.supervise(vec![(id, program)], false).await;
        }
        let mut signals = Signals::listen()?;
        let channel = ChannelName::process(&id);
        let server =
            Server::start(&self.server, std::slice::from_ref(&channel), self.quiet).await?;

        let mut command = tokio::process::Command::new(program);
        command.args(arguments);
        // A command that reads the terminal must be in the terminal's foreground group, which is ours. It gets
        // the terminal's signals by itself then. The other way, a group of its own in the foreground, would
        // leave us running behind a command that Ctrl-Z stopped.
        let terminal = std::io::stdin().is_terminal();
        let spawned = Spawn::new(id.as_str(), command)
            .map_err(SpawnError::from)
            .and_then(|spawn| {
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
                eprintln!(
                    "outrace: {channel} {} with code {}, still serving",
                    report.status, report.code
                );
            }
            signals.next().await;
        }
        // One more signal cuts this short; the command has ended as it has.
        let ending = server.shut_down(&mut signals);
        if hurried {
            let _ = tokio::time::timeout(SECOND_SIGNAL_GRACE, ending).await;
        } else {
            ending.await;
        }
        Ok(exit_code(&report))
    }

    async fn start_several(&self) -> Result<u8, Failure> {
        let mut processes = match &self.file {
            Some(file) => procfile::read(file)?,
            None => Vec::new(),
        };
        processes.extend(
            self.processes
                .iter()
                .map(|(id, command)| (id.clone(), Program::shell(command))),
        );
        self.supervise(processes, true).await
    }

    async fn supervise(
        &self,
        processes: Vec<(ProcessId, Program)>,
        prefixes: bool,
    ) -> Result<u8, Failure> {
        let job = Job {
            processes,
            prefixes,
            supervision: &self.supervision,
            server: &self.server,
            lossless: self.patience.lossless,
            grace: self.grace,
            stay: self.stay,
            quiet: self.quiet,
        };
        job.start().await
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
pub(crate) const SECOND_SIGNAL_GRACE: Duration = Duration::from_secs(1);

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
    Ending::Killed {
        until: Instant::now() + DRAIN_LIMIT + Duration::from_secs(1),
    }
}

/// Whether the terminal's own signals come to our group. A SIGINT is the terminal's then, and the command
/// has it already; otherwise somebody sent it to us alone.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin())
        .is_ok_and(|group| group == rustix::process::getpgrp())
}

fn not_started(error: &SpawnError) -> Failure {
    let advice = match error {
        SpawnError::NotFound { .. } => "; check its name, or give its path",
        _ => "",
    };
    Failure::new(
        u8::try_from(error.code()).unwrap_or(126),
        format!("{error}{advice}"),
    )
}

fn exit_code(report: &ExitReport) -> u8 {
    u8::try_from(report.code).unwrap_or(255)
}
