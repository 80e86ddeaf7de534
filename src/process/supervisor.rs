//! Several processes, started, kept running and stopped together.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::message::{ChannelName, ProcessId};
use crate::{Hub, Publisher};

use super::control::{MAX_ORDERS, Shared};
use super::keeper::{Ending, Keeper, Rules, ask_to_end};
use super::restart::Pauses;
use super::roster::Roster;
use super::{Control, ProcessFailure, ProcessInfo, Signal, Supervised, SupervisorEvent};

/// Why a supervisor cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// Two processes have one id.
    #[error("there are two processes {0}; give one of them another id")]
    Twice(ProcessId),
    /// A process is to start after one that was not given before it.
    #[error("process {id} is to start after {after:?}, which is none of those given before it")]
    After {
        /// Which process.
        id: ProcessId,
        /// What it is to start after.
        after: String,
    },
}

/// Makes a [`Supervisor`]. See [`Supervisor::builder`].
#[must_use = "a builder does nothing until start"]
pub struct SupervisorBuilder {
    processes: Vec<Supervised>,
    rules: Rules,
}

impl SupervisorBuilder {
    /// Adds a process. They start in the order they are given, each once the one before it was started, and are stopped in the reverse.
    pub fn process(mut self, process: Supervised) -> Self {
        self.processes.push(process);
        self
    }

    /// How long a process that is stopped has to end after the first signal, before it is killed: 5 s by default. Each for itself.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.rules.grace = grace;
        self
    }

    /// Whether all are stopped when one has failed and is not started again; they are not by default.
    pub fn stop_all_on_failure(mut self, stop: bool) -> Self {
        self.rules.stop_all_on_failure = stop;
        self
    }

    /// Whether dropping the supervisor kills the processes; it does not by default.
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.rules.kill_on_drop = kill;
        self
    }

    /// Called for everything that happens to a process, in the task that keeps it: keep it short. A panic is logged and ends nothing.
    pub fn on_event(
        mut self,
        callback: impl Fn(&ProcessId, SupervisorEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.rules.on_event = Some(Box::new(callback));
        self
    }

    /// Starts the processes.
    ///
    /// # Errors
    /// Two of them have one id, or one is to start after another that was not given before it. What cannot be started is no error here: it has
    /// failed, and its channel has status `crashed`.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(self, hub: &Hub) -> Result<Supervisor, SupervisorError> {
        let mut seen = HashSet::new();
        let mut after = Vec::with_capacity(self.processes.len());
        for (index, process) in self.processes.iter().enumerate() {
            after.push(match &process.after {
                None => index.checked_sub(1),
                Some(id) => Some(
                    self.processes[..index]
                        .iter()
                        .position(|p| p.id.as_str() == id)
                        .ok_or_else(|| SupervisorError::After {
                            id: process.id.clone(),
                            after: id.clone(),
                        })?,
                ),
            });
            if !seen.insert(process.id.clone()) {
                return Err(SupervisorError::Twice(process.id.clone()));
            }
        }
        let (senders, receivers): (Vec<_>, Vec<_>) = self
            .processes
            .iter()
            .map(|_| mpsc::channel(MAX_ORDERS))
            .unzip();
        let shared = Arc::new(Shared {
            roster: watch::Sender::new(Roster::new(
                self.processes.iter().map(|process| process.id.clone()),
            )),
            ending: watch::Sender::new(Ending::No),
            orders: senders,
        });
        let rules = Arc::new(self.rules);
        let mut keepers = JoinSet::new();
        let mut channels = Vec::with_capacity(after.len());
        for (index, (plan, orders)) in self.processes.into_iter().zip(receivers).enumerate() {
            let channel = ChannelName::process(&plan.id);
            let publisher = hub
                .publisher(channel.as_str())
                .expect("a ChannelName is valid");
            channels.push(publisher.clone());
            let keeper = Keeper {
                hub: hub.clone(),
                publisher,
                index,
                after: after[index],
                pauses: Pauses::new(plan.restart_delay),
                plan,
                shared: Arc::clone(&shared),
                rules: Arc::clone(&rules),
                orders,
                ordered: None,
            };
            keepers.spawn(keeper.run());
        }
        Ok(Supervisor {
            control: Control { shared },
            _keepers: keepers,
            _channels: channels,
        })
    }
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder")
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

/// Several processes whose output is published, each as [`Hub::spawn`] does it: started in order, started again by their
/// [policy](super::Restart), stopped in the reverse order.
///
/// Their statuses are those of a single process. Besides, `stopped` is published for one that was stopped on purpose, and `restarting` for one that
/// will be started again. A channel keeps its numbering from run to run.
///
/// Each process leads a group of its own. Whatever it has left running there when it ends is ended too, with the same grace: it may hold what the next run
/// needs. Standard input is empty.
///
/// A task for each process does this; they end with the supervisor. Dropping it leaves the processes running and their output being published, but nobody
/// starts them again, unless [`kill_on_drop`](SupervisorBuilder::kill_on_drop) was asked for.
///
/// There is no channel that has the lines of all: they would be numbered, kept and encoded twice. Who watches several channels gets each
/// line once, with its process and its number, and puts them together.
///
/// ```no_run
/// # async fn example(hub: outrace::Hub) -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::process::{Program, Restart, Supervised, Supervisor};
///
/// let supervisor = Supervisor::builder()
///     .process(Supervised::new("db", Program::new("postgres").args(["-D", "data"]))?)
///     .process(Supervised::new("web", Program::shell("npm start"))?.restart(Restart::OnFailure))
///     .stop_all_on_failure(true)
///     .start(&hub)?;
/// supervisor.control().restart("web").await?;
/// tokio::signal::ctrl_c().await?;
/// supervisor.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Supervisor {
    control: Control,
    /// Ends them when it is dropped.
    _keepers: JoinSet<()>,
    /// Keeps them, with their numbering and last status, when all processes have ended.
    _channels: Vec<Publisher>,
}

impl Supervisor {
    /// A supervisor of no processes yet.
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder {
            processes: Vec::new(),
            rules: Rules {
                grace: Duration::from_secs(5),
                stop_all_on_failure: false,
                kill_on_drop: false,
                on_event: None,
            },
        }
    }

    /// The handle to look at the processes, and to start and stop single ones.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits until no process runs or will by itself: all have ended, or were stopped.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future, and any number of them may wait.
    pub async fn wait(&self) -> Vec<ProcessInfo> {
        let mut roster = self.control.shared.roster.subscribe();
        let roster = roster
            .wait_for(Roster::is_at_rest)
            .await
            .expect("`self` holds the sender");
        roster.infos()
    }

    /// Stops all processes, the last started first: `SIGTERM` to its group, `SIGKILL` after the grace, then the one before it. Returns when all have ended. None is
    /// started any more.
    ///
    /// # Cancel safety
    /// Once polled, they are being stopped; dropping the future only ends the waiting.
    pub async fn stop(&self) -> Vec<ProcessInfo> {
        self.begin_stop(Signal::Terminate);
        self.wait().await
    }

    /// Begins what [`stop`](Self::stop) does, with a signal of one's own, and does not wait. Does nothing the second time. What a process leaves behind when it
    /// ends of another signal gets `SIGTERM`.
    pub fn begin_stop(&self, signal: Signal) {
        ask_to_end(&self.control.shared.ending, signal);
    }

    /// Whether all processes are being stopped, or were: by [`stop`](Self::stop) and its like, or because one has failed.
    pub fn is_stopping(&self) -> bool {
        *self.control.shared.ending.borrow() != Ending::No
    }

    /// Kills all processes at once, with their groups. [`wait`](Self::wait) returns soon after.
    pub fn kill(&self) {
        self.control.shared.ending.send_replace(Ending::Killed);
    }

    /// The first process that failed and was not started again, if there is one: with an exit code other than 0, by a signal, or because it could not be
    /// started. One that [`Control::stop`] ended has not failed; one that [`stop`](Self::stop) did may have.
    pub fn first_failure(&self) -> Option<ProcessFailure> {
        self.control.shared.roster.borrow().first_failure.clone()
    }
}
