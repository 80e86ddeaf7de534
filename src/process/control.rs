//! The handle to look at a supervisor's processes, and to start and stop them.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::message::ProcessOrder;

use super::keeper::{Ending, Order};
use super::roster::{ProcessInfo, Roster};

/// Orders that may wait for one process.
pub(super) const MAX_ORDERS: usize = 16;

/// Why an order cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The supervisor has no process of that id.
    #[error("there is no process {0:?} here")]
    Unknown(String),
    /// All processes are being stopped, or the supervisor is gone.
    #[error("all processes are being stopped")]
    Ending,
    /// As many orders for the process wait as may.
    #[error("process {0:?} has other orders to carry out first; try again")]
    Busy(String),
}

/// Looks at the processes of a [`Supervisor`](super::Supervisor), and starts and stops them. Cheap to clone. It keeps nothing alive: without its supervisor it
/// refuses every order.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

/// What keepers, supervisor and handles have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) roster: watch::Sender<Roster>,
    pub(super) ending: watch::Sender<Ending>,
    /// In the roster's order.
    pub(super) orders: Vec<mpsc::Sender<Order>>,
}

impl Control {
    /// Starts a process that does not run, at once even if it waits for a restart. Returns when it was started, or could not be: see
    /// [`list`](Self::list).
    ///
    /// # Errors
    /// There is no such process, all are being stopped, or too many orders for it wait.
    ///
    /// # Cancel safety
    /// Once polled, the order is given; dropping the future only ends the waiting.
    pub async fn start(&self, id: &str) -> Result<(), ControlError> {
        self.carry_out(id, ProcessOrder::Start).await
    }

    /// Stops a process: `SIGTERM` to its group, `SIGKILL` after the supervisor's grace. It is not started again by itself. Returns when nothing of it is
    /// left.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn stop(&self, id: &str) -> Result<(), ControlError> {
        self.carry_out(id, ProcessOrder::Stop).await
    }

    /// Stops a process, if it runs, and starts it. Returns when it was started, or could not be.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn restart(&self, id: &str) -> Result<(), ControlError> {
        self.carry_out(id, ProcessOrder::Restart).await
    }

    /// Gives an order without waiting for what comes of it. Orders for one process are carried out one after the other.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn order(&self, id: &str, order: ProcessOrder) -> Result<(), ControlError> {
        self.give(id, order, None)
    }

    /// Whether there is such a process.
    pub fn knows(&self, id: &str) -> bool {
        self.shared.roster.borrow().index(id).is_some()
    }

    /// All processes, in the order of their start.
    pub fn list(&self) -> Vec<ProcessInfo> {
        self.shared.roster.borrow().infos()
    }

    /// Waits until the processes are as `condition` wants them.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub async fn wait_until(
        &self,
        mut condition: impl FnMut(&[ProcessInfo]) -> bool,
    ) -> Vec<ProcessInfo> {
        let mut roster = self.shared.roster.subscribe();
        loop {
            let infos = roster.borrow_and_update().infos();
            if condition(&infos) {
                return infos;
            }
            roster.changed().await.expect("`self` holds the sender");
        }
    }

    async fn carry_out(&self, id: &str, order: ProcessOrder) -> Result<(), ControlError> {
        let (done, carried_out) = oneshot::channel();
        self.give(id, order, Some(done))?;
        // A keeper that ends lets go of the orders it has not carried out.
        carried_out.await.map_err(|_| ControlError::Ending)
    }

    fn give(
        &self,
        id: &str,
        order: ProcessOrder,
        done: Option<oneshot::Sender<()>>,
    ) -> Result<(), ControlError> {
        let index = self.shared.roster.borrow().index(id);
        let index = index.ok_or_else(|| ControlError::Unknown(id.to_owned()))?;
        if *self.shared.ending.borrow() != Ending::No {
            return Err(ControlError::Ending);
        }
        self.shared.orders[index]
            .try_send(Order { order, done })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ControlError::Busy(id.to_owned()),
                mpsc::error::TrySendError::Closed(_) => ControlError::Ending,
            })
    }
}
