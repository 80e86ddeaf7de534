//! The handle that lists, starts and stops a supervisor's processes.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::ProcessInfo;
use super::state::{QueuedOrder, SupervisorState};
use crate::message::ProcessOrder;

/// The reason why an order cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The supervisor has no process with this id.
    #[error("there is no process {0:?} here")]
    UnknownProcess(String),
    /// All processes are being stopped, or the supervisor was dropped.
    #[error("all processes are being stopped")]
    Stopping,
    /// The process has too many orders waiting: 16.
    #[error("process {0:?} has other orders to carry out first; try again")]
    Busy(String),
}

/// Lists, starts and stops the processes of a [`Supervisor`](super::Supervisor).
///
/// A control is cheap to clone. It does not keep the supervisor alive: after the supervisor was
/// dropped, every order is refused.
///
/// ```no_run
/// # use outrace::process::{ControlError, Supervisor};
/// # async fn example(supervisor: Supervisor) -> Result<(), ControlError> {
/// let control = supervisor.control();
/// control.restart("web").await?;
/// for process in control.list() {
///     println!("{} is {}", process.id, process.status);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Control {
    state: Arc<SupervisorState>,
}

impl Control {
    pub(super) fn new(state: Arc<SupervisorState>) -> Self {
        Self { state }
    }

    /// Starts a process that does not run. A pending restart happens at once.
    ///
    /// Returns when the process was started or could not be; [`list`](Self::list) tells which. Does
    /// nothing to a running process.
    ///
    /// # Errors
    /// Returns an error if there is no such process, if all processes are being stopped, or if the
    /// process has too many orders waiting.
    ///
    /// # Cancel safety
    /// Not cancel safe. The first poll submits the order. Dropping the future later ends the wait
    /// and does not withdraw the order.
    pub async fn start(&self, id: &str) -> Result<(), ControlError> {
        self.submit_and_wait(id, ProcessOrder::Start).await
    }

    /// Stops a process: sends `SIGTERM` to its group, and `SIGKILL` after the supervisor's [grace
    /// period](super::SupervisorBuilder::grace_period). The process is not restarted until it is
    /// started again.
    ///
    /// Returns when no member of the process group runs.
    ///
    /// # Errors
    /// Returns the same errors as [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Not cancel safe, for the same reason as [`start`](Self::start).
    pub async fn stop(&self, id: &str) -> Result<(), ControlError> {
        self.submit_and_wait(id, ProcessOrder::Stop).await
    }

    /// Stops a process if it runs, and starts it. Returns when it was started or could not be.
    ///
    /// # Errors
    /// Returns the same errors as [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Not cancel safe, for the same reason as [`start`](Self::start).
    pub async fn restart(&self, id: &str) -> Result<(), ControlError> {
        self.submit_and_wait(id, ProcessOrder::Restart).await
    }

    /// Submits an order without waiting for its execution. The orders for one process are executed
    /// one after the other.
    ///
    /// # Errors
    /// Returns the same errors as [`start`](Self::start).
    pub fn submit(&self, id: &str, order: ProcessOrder) -> Result<(), ControlError> {
        self.enqueue(id, order, None)
    }

    /// Returns whether the supervisor has a process with this id.
    pub fn contains(&self, id: &str) -> bool {
        self.state.table.borrow().index(id).is_some()
    }

    /// Returns all processes, in the order of their start.
    pub fn list(&self) -> Vec<ProcessInfo> {
        self.state.table.borrow().infos()
    }

    /// Waits until `condition` returns `true` for the processes, and returns them.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_until(
        &self,
        mut condition: impl FnMut(&[ProcessInfo]) -> bool,
    ) -> Vec<ProcessInfo> {
        let mut table = self.state.table.subscribe();
        loop {
            let infos = table.borrow_and_update().infos();
            if condition(&infos) {
                return infos;
            }
            table.changed().await.expect("`self` holds the sender");
        }
    }

    async fn submit_and_wait(&self, id: &str, order: ProcessOrder) -> Result<(), ControlError> {
        let (done, executed) = oneshot::channel();
        self.enqueue(id, order, Some(done))?;
        // A task that ends drops the orders that it has not executed.
        executed.await.map_err(|_| ControlError::Stopping)
    }

    fn enqueue(
        &self,
        id: &str,
        order: ProcessOrder,
        done: Option<oneshot::Sender<()>>,
    ) -> Result<(), ControlError> {
        let index = self.state.table.borrow().index(id);
        let index = index.ok_or_else(|| ControlError::UnknownProcess(id.to_owned()))?;
        if self.state.is_shutting_down() {
            return Err(ControlError::Stopping);
        }
        self.state.orders[index]
            .try_send(QueuedOrder { order, done })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ControlError::Busy(id.to_owned()),
                mpsc::error::TrySendError::Closed(_) => ControlError::Stopping,
            })
    }
}
