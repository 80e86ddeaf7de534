//! A task of a hub that starts once: that of its backplane, or of its bridge.

use std::future::Future;
use std::sync::Mutex;

use tokio::task::AbortHandle;

use crate::sync::lock;

/// Something that runs in a task, from the hub's start to its end.
pub(super) struct StartOnce<T>(Mutex<Phase<T>>);

enum Phase<T> {
    Waiting(T),
    Running(AbortHandle),
    /// The hub has none.
    None,
}

impl<T> StartOnce<T> {
    pub(super) fn new(waiting: Option<T>) -> Self {
        Self(Mutex::new(waiting.map_or(Phase::None, Phase::Waiting)))
    }

    /// Starts the task unless it runs. Must be called within a tokio runtime.
    pub(super) fn start<F>(&self, run: impl FnOnce(T) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut phase = lock(&self.0);
        match std::mem::replace(&mut *phase, Phase::None) {
            Phase::Waiting(waiting) => {
                let task = tokio::spawn(run(waiting));
                *phase = Phase::Running(task.abort_handle());
            }
            other => *phase = other,
        }
    }
}

impl<T> Drop for StartOnce<T> {
    fn drop(&mut self) {
        if let Phase::Running(task) = &*lock(&self.0) {
            task.abort();
        }
    }
}
