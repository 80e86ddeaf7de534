//! The state that a supervisor, its tasks and its handles share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::table::ProcessTable;
use crate::message::ProcessOrder;
use crate::process::Signal;
use crate::process::child::SignalTarget;
use crate::sync::lock;

/// The number of orders that may wait for one process.
pub(super) const MAX_QUEUED_ORDERS: usize = 16;

/// The requested end of all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// The processes run.
    No,
    /// The processes end, each after those that depend on it.
    Ordered {
        /// What each gets first.
        signal: Signal,
        /// When all that still runs is killed. `None`: too far away to tell.
        deadline: Option<Instant>,
    },
    /// All processes are killed at once.
    Kill,
}

/// An order that waits for the task of its process.
#[derive(Debug)]
pub(super) struct QueuedOrder {
    pub(super) order: ProcessOrder,
    /// Gets a message when the order was executed.
    pub(super) done: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(super) struct SupervisorState {
    pub(super) table: watch::Sender<ProcessTable>,
    pub(super) shutdown: watch::Sender<Shutdown>,
    /// The longest time that an ordered end of all may take.
    pub(super) stop_timeout: Duration,
    /// The running processes, in the order of the table.
    pub(super) targets: Mutex<Vec<Option<Arc<SignalTarget>>>>,
    /// The queues of orders, in the order of the table.
    pub(super) orders: Vec<mpsc::Sender<QueuedOrder>>,
}

impl SupervisorState {
    pub(super) fn set_target(&self, index: usize, target: Option<Arc<SignalTarget>>) {
        lock(&self.targets)[index] = target;
    }

    /// Requests the end of all processes. Does nothing if it was requested before.
    pub(super) fn request_shutdown(&self, signal: Signal) {
        self.shutdown.send_if_modified(|shutdown| {
            let is_first = *shutdown == Shutdown::No;
            if is_first {
                let deadline = Instant::now().checked_add(self.stop_timeout);
                *shutdown = Shutdown::Ordered { signal, deadline };
            }
            is_first
        });
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        *self.shutdown.borrow() != Shutdown::No
    }

    /// Waits until the end of all processes is requested.
    ///
    /// # Cancel safety
    /// Cancel safe, like all waits here.
    pub(super) async fn wait_shutdown(&self) {
        let mut shutdown = self.shutdown.subscribe();
        // Fails only without the sender, which `self` holds.
        let _ = shutdown
            .wait_for(|&shutdown| shutdown != Shutdown::No)
            .await;
    }

    /// Waits until all processes are to be killed: by request, or since an ordered end took too
    /// long.
    pub(super) async fn wait_kill(&self) {
        let mut shutdown = self.shutdown.subscribe();
        loop {
            let deadline = match *shutdown.borrow_and_update() {
                Shutdown::Kill => return,
                Shutdown::Ordered { deadline, .. } => deadline,
                Shutdown::No => None,
            };
            let too_long = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = too_long => return,
                // Fails only without the sender, which `self` holds.
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Waits until process number `index` is to end, which is when the end of all is requested and
    /// the processes that depend on it have ended. Returns the first signal to send.
    pub(super) async fn wait_turn_to_stop(&self, index: usize) -> Signal {
        self.wait_shutdown().await;
        let mut table = self.table.subscribe();
        tokio::select! {
            () = self.wait_kill() => Signal::Kill,
            _ = table.wait_for(|table| table.are_dependents_at_rest(index)) => {
                match *self.shutdown.borrow() {
                    Shutdown::Ordered { signal, .. } => signal,
                    _ => Signal::Kill,
                }
            }
        }
    }

    /// Waits until process number `index` was started for the first time, or could not be.
    pub(super) async fn wait_attempted(&self, index: usize) {
        let mut table = self.table.subscribe();
        // Fails only without the sender, which `self` holds.
        let _ = table.wait_for(|table| table.entry(index).attempted).await;
    }
}
