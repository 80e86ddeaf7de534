//! Several processes, or one that is started again, under a supervisor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use outrace::process::{
    ProcessInfo, Program, Restart, RestartDelay, Supervised, Supervisor, SupervisorBuilder,
    SupervisorEvent,
};
use outrace::server::Processes;
use outrace::{ChannelName, ProcessId, Status};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::output_options::OutputConnection;
use super::script_fault::script_fault;
use super::single::spawn_error_text;
use super::terminal::{OutputStream, Terminal};
use crate::console::notice;
use crate::failure::Failure;
use crate::flags::ServerOptions;
use crate::flags::values::duration;
use crate::output::{Output, OutputSink};
use crate::server::Server;
use crate::signals::{SECOND_SIGNAL_GRACE, Signals};

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
    pub(crate) server: &'a ServerOptions,
    pub(crate) lossless: Option<Duration>,
    pub(crate) grace: Duration,
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

impl Job<'_> {
    pub(crate) async fn start(self) -> Result<u8, Failure> {
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
        let mut signals = Signals::listen()?;
        let terminal = Terminal::new();
        let (messages, writing) = write_messages(Arc::clone(&terminal));
        // Ends when it is dropped.
        let mut showing = JoinSet::new();
        let shown = Arc::clone(&terminal);
        showing.spawn(async move { shown.show_unfinished().await });
        let _resizing = self.output.follow_window()?;
        let builder = self.builder(&terminal, messages);
        let channels: Vec<_> = self
            .processes
            .iter()
            .map(|(id, _)| ChannelName::process(id))
            .collect();
        let mut supervisor = None;
        let server = Server::start_with(self.server, &channels, self.quiet, |hub, router| {
            let (stay, viewed) = (self.stay, hub.clone());
            Output::stdout().go_on_while(move || stay || viewed.client_count() > 0);
            let started = builder.start(hub).map_err(Failure::usage)?;
            let processes = Processes::new(started.control(), self.supervision.control);
            supervisor = Some(started);
            Ok(router.layer(processes.layer()))
        })
        .await?;
        let supervisor = supervisor.expect("it was started when the server was");
        let hurried = self.until_end(&supervisor, &mut signals).await;
        let failed = || supervisor.first_failure().map_or(0, |failed| failed.code);
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
        Ok(code)
    }

    fn builder(
        &self,
        terminal: &Arc<Terminal>,
        messages: mpsc::UnboundedSender<String>,
    ) -> SupervisorBuilder {
        let width = self
            .processes
            .iter()
            .map(|(id, _)| id.as_str().len())
            .max()
            .unwrap_or(0);
        let mut builder = Supervisor::builder()
            .grace_period(self.grace)
            .stop_all_on_failure(self.supervision.stop_on_failure)
            .stop_all_on_end(self.supervision.stop_on_exit)
            .kill_on_drop(true);
        for (index, (id, program)) in self.processes.iter().enumerate() {
            let restart = match self.supervision.restart {
                None | Some(When::Never) => Restart::Never,
                Some(When::OnFailure) => Restart::OnFailure,
                Some(When::Always) => Restart::Always,
            };
            let process = Supervised::new(id.as_str(), program.clone())
                .expect("a ProcessId is valid")
                .restart(restart)
                .restart_delay(RestartDelay::new(self.supervision.restart_delay))
                .lossless(self.lossless)
                .output(self.output.mode());
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
        let quiet = self.quiet;
        let programs: HashMap<_, _> = self.processes.iter().cloned().collect();
        builder.on_event(move |id, event| {
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
    /// them. Returns whether there was a second one.
    async fn until_end(&self, supervisor: &Supervisor, signals: &mut Signals) -> bool {
        let (mut signalled, mut stays, mut hurried) = (false, false, false);
        loop {
            tokio::select! {
                () = self.ended(supervisor), if !stays => {
                    if !self.stay || signalled {
                        return hurried;
                    }
                    stays = true;
                    if !self.quiet {
                        notice!("all processes have ended, still serving");
                    }
                }
                signal = signals.next() => {
                    if signalled {
                        supervisor.kill();
                        hurried = true;
                    } else {
                        supervisor.begin_stop(signal);
                        (signalled, stays) = (true, false);
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
