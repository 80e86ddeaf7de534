//! Keeps several processes: starts them in order, restarts them and stops them together.

mod control;
mod event;
mod program;
mod restart;
mod state;
mod supervised;
mod table;
mod task;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::message::{ChannelName, ProcessId};
use crate::process::Signal;
use crate::sync::lock;
use crate::{Hub, Publisher};

pub use control::{Control, ControlError};
pub use event::SupervisorEvent;
pub use program::{Program, ProgramInput};
use restart::RestartBackoff;
pub use restart::{Restart, RestartDelay};
use state::{MAX_QUEUED_ORDERS, Shutdown, SupervisorState};
pub use supervised::Supervised;
use table::ProcessTable;
pub use table::{ProcessEnd, ProcessFailure, ProcessInfo};
use task::{ProcessTask, SupervisorSettings};

/// The default time between the first signal of a stop and `SIGKILL`.
const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(5);

/// The default limit for the stop of all processes, unless the grace period is longer.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a supervisor cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// Two processes have the same id.
    #[error("there are two processes {0}; give one of them another id")]
    DuplicateId(ProcessId),
    /// A process is to start after another that was not added before it.
    #[error("process {id} is to start after {after:?}, which is none of those given before it")]
    StartOrder {
        /// The process.
        id: ProcessId,
        /// The id of the process that it is to start after.
        after: String,
    },
}

/// Configures and starts a [`Supervisor`]. See [`Supervisor::builder`].
#[must_use = "a builder does nothing until start"]
pub struct SupervisorBuilder {
    processes: Vec<Supervised>,
    settings: SupervisorSettings,
}

impl SupervisorBuilder {
    /// Adds a process.
    ///
    /// The processes start in the order in which they are added, each after the first start of the
    /// one before it was attempted. They are stopped side by side, except that a process is stopped
    /// before the one that it [starts after](Supervised::start_after).
    pub fn process(mut self, process: Supervised) -> Self {
        self.processes.push(process);
        self
    }

    /// Sets the time between the first signal of a stop and `SIGKILL`. The default is 5 s. It runs
    /// for each process separately.
    pub fn grace_period(mut self, grace_period: Duration) -> Self {
        self.settings.grace_period = grace_period;
        self
    }

    /// Sets the limit for the stop of all processes. What still runs then is killed. The default is
    /// 10 s, or the [grace period](Self::grace_period) if that is longer.
    ///
    /// After it, up to 3 s may pass until killed processes and their last output are given up.
    pub fn stop_timeout(mut self, stop_timeout: Duration) -> Self {
        self.settings.stop_timeout = Some(stop_timeout);
        self
    }

    /// Sets whether the system kills the processes when the current process ends in any way. The
    /// default is `false`. See [`Spawn::end_with_parent`](crate::process::Spawn::end_with_parent).
    pub fn end_with_parent(mut self, end: bool) -> Self {
        self.settings.end_with_parent = end;
        self
    }

    /// Sets whether all processes are stopped when one has failed and is not restarted. The default
    /// is `false`.
    pub fn stop_all_on_failure(mut self, stop: bool) -> Self {
        self.settings.stop_all_on_failure = stop;
        self
    }

    /// Sets whether all processes are stopped when one has ended by itself, whatever its code, and
    /// is not restarted. The default is `false`. [`Supervisor::first_end`] returns that process.
    pub fn stop_all_on_end(mut self, stop: bool) -> Self {
        self.settings.stop_all_on_end = stop;
        self
    }

    /// Sets whether dropping the supervisor kills the processes. The default is `false`.
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.settings.kill_on_drop = kill;
        self
    }

    /// Sets a callback for the events of all processes.
    ///
    /// The task of the process calls it, so it should return soon. A panic in it is logged and has
    /// no other effect.
    pub fn on_event(
        mut self,
        callback: impl Fn(&ProcessId, SupervisorEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_event = Some(Box::new(callback));
        self
    }

    /// Starts the processes.
    ///
    /// # Errors
    /// Returns an error if two processes have the same id, or if one is to start after another that
    /// was not added before it. A process that cannot be started is no error here: it has failed,
    /// and its channel has the status `crashed`.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(self, hub: &Hub) -> Result<Supervisor, SupervisorError> {
        let start_after = start_order(&self.processes)?;
        let (senders, receivers): (Vec<_>, Vec<_>) = self
            .processes
            .iter()
            .map(|_| mpsc::channel(MAX_QUEUED_ORDERS))
            .unzip();
        let state = Arc::new(SupervisorState {
            table: watch::Sender::new(ProcessTable::new(
                self.processes
                    .iter()
                    .zip(&start_after)
                    .map(|(process, &after)| {
                        // The order of the list is no dependency.
                        let depends_on = after.filter(|_| process.start_after.is_some());
                        (process.id.clone(), depends_on)
                    }),
            )),
            shutdown: watch::Sender::new(Shutdown::No),
            stop_timeout: self
                .settings
                .stop_timeout
                .unwrap_or_else(|| DEFAULT_STOP_TIMEOUT.max(self.settings.grace_period)),
            targets: Mutex::new(vec![None; start_after.len()]),
            orders: senders,
        });
        let settings = Arc::new(self.settings);
        let mut tasks = JoinSet::new();
        let mut channels = Vec::with_capacity(start_after.len());
        for (index, (plan, orders)) in self.processes.into_iter().zip(receivers).enumerate() {
            let channel = ChannelName::process(&plan.id);
            let publisher = hub
                .publisher(channel.as_str())
                .expect("a ChannelName is valid");
            channels.push(publisher.clone());
            let task = ProcessTask {
                hub: hub.clone(),
                publisher,
                index,
                start_after: start_after[index],
                backoff: RestartBackoff::new(plan.restart_delay),
                plan,
                state: Arc::clone(&state),
                settings: Arc::clone(&settings),
                orders,
                start_done: None,
            };
            tasks.spawn(task.run());
        }
        Ok(Supervisor {
            state,
            _tasks: tasks,
            _channels: channels,
        })
    }
}

/// Returns for each process the index of the process that precedes its start.
fn start_order(processes: &[Supervised]) -> Result<Vec<Option<usize>>, SupervisorError> {
    let mut seen = HashSet::new();
    let mut order = Vec::with_capacity(processes.len());
    for (index, process) in processes.iter().enumerate() {
        order.push(match &process.start_after {
            None => index.checked_sub(1),
            Some(id) => Some(
                processes[..index]
                    .iter()
                    .position(|p| p.id.as_str() == id)
                    .ok_or_else(|| SupervisorError::StartOrder {
                        id: process.id.clone(),
                        after: id.clone(),
                    })?,
            ),
        });
        if !seen.insert(&process.id) {
            return Err(SupervisorError::DuplicateId(process.id.clone()));
        }
    }
    Ok(order)
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder")
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

/// Several processes whose output is published, each as by [`Hub::spawn`].
///
/// They are started in order, restarted by their [policy](Restart), and stopped together.
///
/// A process has the statuses of [`Hub::spawn`] and two more: `stopped` after an intentional stop,
/// and `restarting` until it is started again. The numbering of its channel continues from run to
/// run.
///
/// Each process leads a process group of its own. Members of the group that outlive the process are
/// ended too, within the same grace period, since they may hold resources that the next run needs.
/// While there is an [`OrphanReaper`](crate::process::OrphanReaper), all descendants are.
///
/// A suspended process has the status that [`Suspension::status`](crate::process::Suspension)
/// returns. A process that the system does not let the current one signal is never called stopped:
/// its stop [fails](SupervisorEvent::NotStopped), and it keeps its status and its pid.
///
/// Each process has a task, which ends with the supervisor. After a drop of the supervisor the
/// processes go on running and their output is still published, but none is restarted. With
/// [`kill_on_drop`](SupervisorBuilder::kill_on_drop) they are killed instead.
///
/// No channel carries the lines of all processes: they would be numbered, kept and encoded twice. A
/// client that subscribes to several channels gets each line once, with its process and its number,
/// and merges them.
///
/// ```no_run
/// # async fn example(hub: outrace::Hub) -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::process::{Program, Restart, Supervised, Supervisor};
///
/// let db = Supervised::new("db", Program::new("postgres").args(["-D", "data"]))?;
/// let web = Supervised::new("web", Program::shell("npm start"))?.restart(Restart::OnFailure);
/// let supervisor = Supervisor::builder()
///     .process(db)
///     .process(web)
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
    state: Arc<SupervisorState>,
    /// Aborts the tasks when it is dropped.
    _tasks: JoinSet<()>,
    /// Keeps the channels, with their numbering and last status, after all processes have ended.
    _channels: Vec<Publisher>,
}

impl Supervisor {
    /// Returns a builder without processes.
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder {
            processes: Vec::new(),
            settings: SupervisorSettings {
                grace_period: DEFAULT_GRACE_PERIOD,
                stop_timeout: None,
                end_with_parent: false,
                stop_all_on_failure: false,
                stop_all_on_end: false,
                kill_on_drop: false,
                on_event: None,
            },
        }
    }

    /// Returns a handle that lists, starts and stops single processes.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.state))
    }

    /// Waits until no process runs and none will be restarted, and returns all processes. Any
    /// number of tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(&self) -> Vec<ProcessInfo> {
        let mut table = self.state.table.subscribe();
        let table = table
            .wait_for(ProcessTable::is_at_rest)
            .await
            .expect("`self` holds the sender");
        table.infos()
    }

    /// Stops all processes and returns them when all have ended.
    ///
    /// The group of each process gets `SIGTERM`, and `SIGKILL` after the
    /// [grace period](SupervisorBuilder::grace_period). A process that others
    /// [start after](Supervised::start_after) is stopped when those have ended, and the rest side
    /// by side. The whole stop has a [limit](SupervisorBuilder::stop_timeout). No process can be
    /// started afterwards.
    ///
    /// # Cancel safety
    /// Not cancel safe. The first poll begins the stop. Dropping the future later ends the wait and
    /// not the stop.
    pub async fn stop(&self) -> Vec<ProcessInfo> {
        self.begin_stop(Signal::Terminate);
        self.wait().await
    }

    /// Begins to stop all processes as [`stop`](Self::stop) does, with another first signal, and
    /// does not wait. Does nothing if the processes are being stopped.
    ///
    /// Members of the group that outlive the process get `SIGTERM`, whatever the first signal was.
    pub fn begin_stop(&self, signal: Signal) {
        self.state.request_shutdown(signal);
    }

    /// Returns whether the stop of all processes has begun, by [`stop`](Self::stop),
    /// [`begin_stop`](Self::begin_stop), [`kill`](Self::kill) or the failure of a process.
    pub fn is_stopping(&self) -> bool {
        self.state.is_shutting_down()
    }

    /// Kills all processes and their groups at once, without waiting. [`wait`](Self::wait) then
    /// returns soon.
    pub fn kill(&self) {
        self.state.shutdown.send_replace(Shutdown::Kill);
    }

    /// Sends a signal to all running processes and to all that belongs to them, such as
    /// [`Signal::Stop`] to suspend them and [`Signal::Continue`]. Refusals are ignored.
    pub fn signal_all(&self, signal: Signal) {
        for target in lock(&self.state.targets).iter().flatten() {
            target.signal_all(signal);
        }
    }

    /// Returns the first process that failed and was not restarted, or `None`.
    ///
    /// A process fails with an exit code other than 0, by a signal, or if it cannot be started. A
    /// process that [`Control::stop`] ended has not failed. A process that [`stop`](Self::stop)
    /// ended may have.
    pub fn first_failure(&self) -> Option<ProcessFailure> {
        self.state.table.borrow().first_failure.clone()
    }

    /// Returns the first process that ended by itself, or could not be started, and was not
    /// restarted, or `None`. A process that was stopped has not ended by itself.
    pub fn first_end(&self) -> Option<ProcessEnd> {
        self.state.table.borrow().first_end.clone()
    }
}
