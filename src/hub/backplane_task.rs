//! The task of a hub's backplane.

use std::sync::Mutex;

use tokio::task::AbortHandle;

use crate::backplane::{Backplane, Node};
use crate::sync::lock;

/// The task of a hub's backplane, from the hub's start to its end.
pub(super) struct BackplaneTask(Mutex<Phase>);

enum Phase {
    Waiting(Box<dyn Backplane>),
    Running(AbortHandle),
    /// The hub has no backplane.
    None,
}

impl BackplaneTask {
    pub(super) fn new(backplane: Option<Box<dyn Backplane>>) -> Self {
        Self(Mutex::new(backplane.map_or(Phase::None, Phase::Waiting)))
    }

    /// Starts the task unless it runs. Must be called within a tokio runtime.
    pub(super) fn start(&self, node: impl FnOnce() -> Node) {
        let mut phase = lock(&self.0);
        match std::mem::replace(&mut *phase, Phase::None) {
            Phase::Waiting(backplane) => {
                let task = tokio::spawn(backplane.run(node()));
                *phase = Phase::Running(task.abort_handle());
            }
            other => *phase = other,
        }
    }
}

impl Drop for BackplaneTask {
    fn drop(&mut self) {
        if let Phase::Running(task) = &*lock(&self.0) {
            task.abort();
        }
    }
}
