//! One command, run as if it ran alone: its output, standard input, signals and exit code.

use std::ffi::{OsStr, OsString};
use std::pin::pin;

use outrace::process::{ExitReport, Process, Program, Signal, Spawn, SpawnError, StopReport};
use outrace::{ChannelName, ProcessId};

use super::Run;
use super::env_file::Variable;
use super::keyboard::KeyboardSlot;
use super::ownership::{Descendants, Grace, shares_our_group, suspension_text, unstopped_text};
use super::script_fault::script_fault;
use crate::console::notice;
use crate::exit::Exit;
use crate::failure::{Failure, advice, plain};
use crate::output::{Output, OutputSink};
use crate::server::{Announcement, Server, unchanged};
use crate::signals::{EndSignal, Request, SECOND_SIGNAL_GRACE, Signals};
use crate::suspend::suspend;

/// How a single command gets the terminal.
const ADVICE: &str =
    "it gets the terminal if that is the standard input of outrace, in the foreground";

impl Run {
    /// Runs one command without a supervisor. Returns its exit code, or the signal that ended both.
    pub(super) async fn run_single(
        &self,
        id: ProcessId,
        program: &OsStr,
        arguments: &[OsString],
        variables: Vec<Variable>,
    ) -> Result<Exit, Failure> {
        self.ownership.check(std::iter::once(&id))?;
        let mut signals = Signals::listen_to_all()?;
        let channel = ChannelName::process(&id);
        let announcement = Announcement {
            channels: std::slice::from_ref(&channel),
            quiet: self.quiet,
        };
        let server = Server::start(&self.server, None, announcement, unchanged).await?;
        signals.hangup_reloads(server.reloads())?;
        let descendants = Descendants::own(self.grace);

        self.go_on_without_reader(&server.hub);
        let input = self.ownership.input(&id, true);
        let words = (program, arguments);
        let mut program = Program::new(program).args(arguments).stdin(input);
        for (name, value) in variables {
            program = program.env(name, value);
        }
        let script = program.clone();
        let output = self.output.connection();
        let resizing = output.follow_window()?;
        // A command with a terminal of its own gets the keys through that.
        let shares_group = shares_our_group(input) && !output.is_pty();
        if !shares_group {
            signals.listen_to_suspend()?;
        }
        let spawned = Spawn::new(id.as_str(), program.command())
            .map_err(SpawnError::from)
            .and_then(|spawn| {
                spawn
                    .tee(
                        OutputSink::new(Output::stdout()),
                        OutputSink::new(Output::stderr()),
                    )
                    .script(move || script.script_command())
                    .output(output.mode(input))
                    .own_group(!shares_group)
                    .end_with_parent(true)
                    .lossless(self.lossless.limit)
                    .start(&server.hub)
            });
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                server.shut_down(&mut signals).await;
                return Err(not_started(&error, words.0, words.1));
            }
        };
        let keyboard = KeyboardSlot::default();
        if let Some(input) = process.take_pty_input() {
            keyboard.pass_on(input);
        }
        let mut watched = Watched {
            process: &process,
            signals: &mut signals,
            shares_group,
            signal: None,
            hurried: false,
        };
        let exited = watched.wait().await;
        if let Some(fault) = exited
            .as_ref()
            .and_then(|report| script_fault(&program, report))
        {
            notice!("{fault}");
        }
        let is_asked = exited.is_none();
        let grace = Grace::new(self.grace.min(self.ownership.stop_timeout(self.grace)));
        let report = if is_asked || !self.ownership.keep_descendants {
            let stopped = watched.end(&grace, is_asked).await;
            descendants.end_orphans(grace.over()).await;
            for unstopped in &stopped.unstopped {
                notice!("{}", unstopped_text(unstopped));
            }
            exited.or(stopped.exit)
        } else {
            exited
        };
        let Watched {
            signal, hurried, ..
        } = watched;
        let is_interrupted = keyboard.take_back_at_end();
        let signal = signal.or(is_interrupted.then(|| Signal::Interrupt.into()));
        drop(resizing);
        if self.stay && signal.is_none() {
            if !self.quiet
                && let Some(report) = &report
            {
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
        descendants.disown();
        let code = report.map_or(1, |report| exit_code(&report));
        keyboard.share_interrupt();
        Ok(Exit::of_commands(code, signal))
    }
}

/// The command and the signals that are for it or for its end.
struct Watched<'a> {
    process: &'a Process,
    signals: &'a mut Signals,
    /// Whether the command gets the terminal's signals directly.
    shares_group: bool,
    /// The last signal that asked for the end or was passed on.
    signal: Option<EndSignal>,
    /// Whether there was more than one signal that asked for the end.
    hurried: bool,
}

impl Watched<'_> {
    /// Waits until the command has ended, or returns `None` if it is to end.
    async fn wait(&mut self) -> Option<ExitReport> {
        let mut suspension = None;
        loop {
            tokio::select! {
                biased;
                request = self.signals.next_request() => {
                    if self.is_end(request) {
                        return None;
                    }
                }
                report = self.process.wait() => {
                    // The Ctrl-C that has ended the command has come to us too.
                    while let Some(request) = self.signals.pending_request().await {
                        self.is_end(request);
                    }
                    return Some(report);
                }
                reason = self.process.suspension_changed(suspension) => {
                    suspension = reason;
                    if let Some(text) = suspension_text(self.process.id(), reason, ADVICE) {
                        notice!("{text}");
                    }
                }
            }
        }
    }

    /// Ends the command if `is_asked`, and what it leaves behind. A signal hurries the end.
    async fn end(&mut self, grace: &Grace, is_asked: bool) -> StopReport {
        let first = self.signal.filter(|_| is_asked).map(EndSignal::first);
        let mut ending = pin!(self.process.end(first, grace.over()));
        loop {
            tokio::select! {
                stopped = &mut ending => return stopped,
                request = self.signals.next_request() => match request {
                    Request::End(signal) => {
                        self.hurried |= is_asked;
                        self.signal.get_or_insert(signal);
                        grace.hurry();
                    }
                    Request::Pass(signal) => pass(self.process, signal, self.shares_group),
                    Request::Suspend => suspend(|signal| self.process.signal_all(signal)),
                },
            }
        }
    }

    /// Carries out a request. Returns whether it asks for the end.
    fn is_end(&mut self, request: Request) -> bool {
        match request {
            Request::End(signal) => {
                self.signal = Some(signal);
                return true;
            }
            Request::Pass(signal) => {
                self.signal = Some(signal.into());
                pass(self.process, signal, self.shares_group);
            }
            Request::Suspend => suspend(|signal| self.process.signal_all(signal)),
        }
        false
    }
}

/// Passes a signal on to the command, unless the terminal has sent it to both.
fn pass(process: &Process, signal: Signal, shares_group: bool) {
    let is_the_terminals = matches!(signal, Signal::Quit | Signal::WindowChange);
    if !(shares_group && is_the_terminals && in_foreground()) {
        // Fails only when the command has ended.
        let _ = process.signal(signal);
    }
}

/// Returns whether our group is in the terminal's foreground. The signals of its keys then come
/// from the terminal, and the command has received them too. Otherwise they were sent to this
/// process alone.
pub(super) fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin())
        .is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Describes why a process was not started, with the system's reason where that adds something.
pub(super) fn spawn_error_text(error: &SpawnError) -> String {
    match error {
        SpawnError::NotExecutable { source, .. } => format!("{error}: {}", plain(source)),
        _ => error.to_string(),
    }
}

fn not_started(error: &SpawnError, program: &OsStr, arguments: &[OsString]) -> Failure {
    let has_spaces = program.to_string_lossy().contains(' ');
    let advice = match error {
        SpawnError::NotFound { .. } if has_spaces && arguments.is_empty() => {
            "; to run a command with arguments, leave out the quotes around it"
        }
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
