//! A task that ends with its owner.

use std::future::Future;

use tokio::task::AbortHandle;

/// A task that is ended when this is dropped.
#[derive(Debug)]
pub(super) struct OwnedTask(AbortHandle);

impl OwnedTask {
    /// Begins the task on the runtime that it is called in.
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future).abort_handle())
    }

    /// Ends the task, at its next wait.
    pub(super) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.end();
    }
}
