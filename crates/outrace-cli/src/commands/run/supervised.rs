//! Several processes, or one that is started again, under a supervisor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use outrace::process::{
    ProcessInfo, Program, ProgramInput, Restart, RestartDelay, Signal, Supervised, Supervisor,
    SupervisorBuilder, SupervisorEvent,
};
use outrace::server::Processes;
use outrace::{ChannelName, ProcessId, Status};
use rustix::process::{getpid, kill_process};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::keyboard::KeyboardSlot;
use super::output_options::OutputConnection;
use super::ownership::{
    Descendants, Grace, Ownership, shares_our_group, suspension_text, unstopped_text,
};
use super::script_fault::script_fault;
use super::single::spawn_error_text;
use super::terminal::{OutputStream, Terminal};
use crate::console::notice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::ServerOptions;
use crate::flags::values::duration;
use crate::output::{Output, OutputSink};
use crate::server::{Announcement, Server};
use crate::signals::{EndSignal, Request, SECOND_SIGNAL_GRACE, Signals};
use crate::suspend::suspend;

/// How long orphans may take to end that are found after the stop of all processes.
const LAST_ORPHANS_LIMIT: Duration = Duration::from_secs(1);

/// How long the last messages may take to reach a terminal that may be stopped.
const LAST_MESSAGES_LIMIT: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(next_help_heading = "Supervision")]
pub(crate) struct Supervision {
    /// When to start an ended process again [default: never]
    #[arg(long, value_name = "WHEN")]
    restart: Option<When>,

    /// The pause before a restart. It doubles each time, up to 1 min, until a run has lasted 10 s
    # [arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    restart_delay: Duration,

    /// Stop all processes when one has failed and is not started again
    #[arg(long)]
    stop_on_failure: bool,

    /// Stop all processes when one has ended and is not started again, and end with its code
    #[arg(long)]
    stop_on_exit: bool,

    /// Let clients start, stop and restart processes. With --token-file or --jwt-key this takes
    /// a control= right for the channel of the process
    #[arg(long)]
    control: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    Never,
    OnFailure,
    Always,
}

/// Processes to run, and how to run them.
pub(super) struct Job<'a> {
    pub(crate) processes: Vec<(ProcessId, Program)>,
    /// Whether each line in the terminal begins with the name of its process.
    pub(crate) prefixes: bool,
    pub(crate) output: OutputConnection,
    pub(crate) supervision: &'a Supervision,
    pub(crate) ownership: &'a Ownership,
    pub(crate) server: &'a ServerOptions,
    pub(crate) lossless: Option<Duration>,
    pub(crate) grace: Duration,
    /// Whether a process was started. Relaxed: it is read after the supervisor's end, which the
    /// supervisor's own state tells.
    pub(crate) started: Arc<AtomicBool>,
    pub(crate) stay: bool,
    pub(crate) quiet: bool,
}

impl Supervision {
    /// Returns whether even a single command needs a supervisor.
    pub(crate) fn is_requested(&self) -> bool {
        self.control
            || self.stop_on_failure
            || self.stop_on_exit
            || matches!(self.restart, Some(When::OnFailure | When::Always))
    }
}

/// The end of all processes.
#[derive(Default)]
struct End {
    /// The first signal that asked for it.
    signal: Option<EndSignal>,
    /// Whether there was a second one.
    hurried: bool,
    /// The processes that waited for a restart when the first signal came.
    pausing: Vec<ProcessId>,
}

/// Returns the processes that wait for a restart.
fn pausing(processes: &[ProcessInfo]) -> Vec<ProcessId> {
    let pauses = |info: &&ProcessInfo| info.status.as_str() == "restarting";
    let ids = processes.iter().filter(pauses);
    ids.map(|info| info.id.clone()).collect()
}

impl Job<'_> {
    pub(crate) async fn start(self) -> Result<Exit, Failure> {
        let mut seen = HashSet::new();
        if let Some((id, _)) = self
            .processes
            .iter()
            .find(|(id, _)| !seen.insert(id.as_str()))
        {
            return Err(Failure::usage(format!(
                "there are two processes {id}; give one of them another name"
            )));
        }
        self.ownership
            .check(self.processes.iter().map(|(id, _)| id))?;
        let mut signals = Signals::listen_to_all()?;
        signals.listen_to_suspend()?;
        let terminal = Terminal::new();
        let (messages, writing) = write_messages(Arc::clone(&terminal));
        // Ends when it is dropped.
        let mut showing = JoinSet::new();
        let shown = Arc::clone(&terminal);
        showing.spawn(async move { shown.show_unfinished().await });
        let _resizing = self.output.follow_window()?;
        let keyboard = KeyboardSlot::default();
        let builder = self.builder(&terminal, messages, &keyboard);
        let channels: Vec<_> = self
            .processes
            .iter()
            .map(|(id, _)| ChannelName::process(id))
            .collect();
        let (mut supervisor, mut descendants) = (None, None);
        let announcement = Announcement {
            channels: &channels,
            quiet: self.quiet,
        };
        let server = Server::start(self.server, None, announcement, |hub, router| {
            let (stay, viewed) = (self.stay, hub.clone());
            Output::stdout().go_on_while(move || stay || viewed.client_count() > 0);
            descendants = Some(Descendants::own(self.grace));
            let started = builder.start(hub).map_err(Failure::usage)?;
            let processes = Processes::new(started.control(), self.supervision.control);
            processes.share(hub);
            supervisor = Some(started);
            Ok(router.layer(processes.layer()))
        })
        .await?;
        let supervisor = supervisor.expect("it was started when the server was");
        signals.hangup_reloads(server.reloads())?;
        let End {
            signal,
            hurried,
            pausing,
        } = self.until_end(&supervisor, &mut signals).await;
        keyboard.take_back();
        let descendants = descendants.expect("they were owned when the server was started");
        let grace = Grace::new(self.grace.min(LAST_ORPHANS_LIMIT));
        descendants.end_orphans(grace.over()).await;
        // A process whose restart a signal has canceled has no code of its own.
        let failure = supervisor
            .first_failure()
            .filter(|failure| !pausing.contains(&failure.id));
        let is_canceled = failure.is_none() && !pausing.is_empty();
        let failed = || failure.map_or(0, |failed| failed.code);
        let ended = supervisor
            .first_end()
            .filter(|_| self.supervision.stop_on_exit);
        let code = ended.map_or_else(failed, |end| end.code);
        let code = u8::try_from(code).unwrap_or(255);
        // A further signal cuts this short. The exit code stays that of the processes.
        let ending = server.shut_down(&mut signals);
        if hurried {
            let _ = timeout(SECOND_SIGNAL_GRACE, ending).await;
        } else {
            ending.await;
        }
        // Closes the queue of messages, so that the task that writes them ends.
        drop(supervisor);
        let _ = timeout(LAST_MESSAGES_LIMIT, writing).await;
        descendants.disown();
        keyboard.share_interrupt();
        match signal {
            // Nothing had a code of its own.
            Some(signal) if is_canceled || !self.started.load(Ordering::Relaxed) => {
                Ok(Exit::Signal(signal.number()))
            }
            _ => Ok(Exit::of_commands(code, signal)),
        }
    }

    fn builder(
        &self,
        terminal: &Arc<Terminal>,
        messages: mpsc::UnboundedSender<String>,
        keyboard: &KeyboardSlot,
    ) -> SupervisorBuilder {
        let width = self
            .processes
            .iter()
            .map(|(id, _)| id.as_str().len())
            .max()
            .unwrap_or(0);
        let mut builder = Supervisor::builder()
            .grace_period(self.grace)
            .stop_timeout(self.ownership.stop_timeout(self.grace))
            .end_with_parent(true)
            .stop_all_on_failure(self.supervision.stop_on_failure)
            .stop_all_on_end(self.supervision.stop_on_exit)
            .kill_on_drop(true);
        for (index, (id, program)) in self.processes.iter().enumerate() {
            let restart = match self.supervision.restart {
                None | Some(When::Never) => Restart::Never,
                Some(When::OnFailure) => Restart::OnFailure,
                Some(When::Always) => Restart::Always,
            };
            let input = self.ownership.input(id, !self.prefixes);
            let process = Supervised::new(id.as_str(), program.clone().stdin(input))
                .expect("a ProcessId is valid")
                .own_group(!shares_our_group(input))
                .restart(restart)
                .restart_delay(RestartDelay::new(self.supervision.restart_delay))
                .lossless(self.lossless)
                .output(self.output.mode(input));
            let process = match input {
                ProgramInput::Inherited => {
                    let keyboard = keyboard.clone();
                    process.on_pty_input(move |input| keyboard.pass_on(input))
                }
                _ => process,
            };
            let (terminal, id) = (Arc::clone(terminal), id.clone());
            builder = builder.process(if self.prefixes {
                process.tee(move || {
                    let sink = |stream| terminal.sink(stream, id.as_str(), width, index);
                    (sink(OutputStream::Out), sink(OutputStream::Error))
                })
            } else {
                process.tee(|| {
                    let sink = OutputSink::new;
                    (sink(Output::stdout()), sink(Output::stderr()))
                })
            });
        }
        let (quiet, started) = (self.quiet, Arc::clone(&self.started));
        let keyboard = keyboard.clone();
        let reads =
            |id: &&ProcessId| self.ownership.input(id, !self.prefixes) == ProgramInput::Inherited;
        let reader = self.processes.iter().map(|(id, _)| id).find(reads).cloned();
        let programs: HashMap<_, _> = self.processes.iter().cloned().collect();
        builder.on_event(move |id, event| {
            started.fetch_or(
                matches!(event, SupervisorEvent::Started { .. }),
                Ordering::Relaxed,
            );
            if let SupervisorEvent::Ended { report } = &event
                && reader.as_ref() == Some(id)
                && keyboard.take_back_at_end()
                && report.status != Status::Stopped
            {
                // The command had the terminal to itself. Without that, the same Ctrl-C would have
                // come to this program too, and nothing would start again.
                let _ = kill_process(getpid(), rustix::process::Signal::INT);
            }
            if let SupervisorEvent::Ended { report } = &event
                && let Some(program) = programs.get(id)
                && let Some(fault) = script_fault(program, report)
            {
                let _ = messages.send(format!("{id}: {fault}"));
            }
            if let Some(sentence) = sentence(id, &event, quiet) {
                // The receiver outlives the supervisor.
                let _ = messages.send(sentence);
            }
        })
    }

    /// Waits until no process runs any more. A signal stops all of them, and a second one kills
    /// them.
    async fn until_end(&self, supervisor: &Supervisor, signals: &mut Signals) -> End {
        let (mut end, mut stays) = (End::default(), false);
        loop {
            tokio::select! {
                () = self.ended(supervisor), if !stays => {
                    if !self.stay || end.signal.is_some() {
                        return end;
                    }
                    stays = true;
                    if !self.quiet {
                        notice!("all processes have ended, still serving");
                    }
                }
                request = signals.next_request() => {
                    let signal = match request {
                        Request::Suspend => {
                            suspend(|signal| supervisor.signal_all(signal));
                            continue;
                        }
                        // Several processes have no common terminal whose size matters.
                        Request::Pass(Signal::WindowChange) => continue,
                        // Several processes do not agree on what the others mean.
                        Request::Pass(signal) => signal.into(),
                        Request::End(signal) => signal,
                    };
                    if end.signal.is_some() {
                        supervisor.kill();
                        end.hurried = true;
                    } else {
                        end.pausing = pausing(&supervisor.control().list());
                        supervisor.begin_stop(signal.first());
                        (end.signal, stays) = (Some(signal), false);
                    }
                }
            }
        }
    }

    /// Waits until all processes have ended. A process that a client stopped does not count as
    /// ended while clients can start it again.
    async fn ended(&self, supervisor: &Supervisor) {
        let is_stopped = |process: &ProcessInfo| process.status == Status::Stopped;
        let is_at_rest = |process: &ProcessInfo| {
            matches!(
                process.status,
                Status::Exited | Status::Crashed | Status::Stopped
            )
        };
        loop {
            let all = supervisor.wait().await;
            if !self.supervision.control || supervisor.is_stopping() || !all.iter().any(is_stopped)
            {
                return;
            }
            supervisor
                .control()
                .wait_until(|all| !all.iter().all(is_at_rest))
                .await;
        }
    }
}

/// Writes messages about processes between the lines of the processes. The task ends when the
/// sender is dropped.
fn write_messages(terminal: Arc<Terminal>) -> (mpsc::UnboundedSender<String>, JoinHandle<()>) {
    let (sender, mut messages) = mpsc::unbounded_channel::<String>();
    let writing = tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            terminal.tell(&message).await;
        }
    });
    (sender, writing)
}

/// Returns the message about an event, if there is one.
fn sentence(id: &ProcessId, event: &SupervisorEvent<'_>, quiet: bool) -> Option<String> {
    match event {
        SupervisorEvent::NotStarted { error } => Some(format!("{id}: {}", spawn_error_text(error))),
        SupervisorEvent::NotStopped { process } => {
            Some(format!("{id}: {}", unstopped_text(process)))
        }
        SupervisorEvent::Suspended { reason } => suspension_text(
            id,
            *reason,
            &format!("give it the terminal with --stdin {id}"),
        ),
        _ if quiet => None,
        SupervisorEvent::Ended { report } => Some(match report.status {
            Status::Stopped => format!("{id} stopped"),
            _ => format!("{id} {} with code {}", report.status, report.code),
        }),
        SupervisorEvent::Restarting { delay } => {
            Some(format!("{id} starts again in {:.1} s", delay.as_secs_f32()))
        }
        _ => None,
    }
}
