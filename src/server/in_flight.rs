//! A connection that is neither a WebSocket nor a stream, or not yet: one of so many, and for so long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

/// One of the connections on which requests may be under way, until it becomes something else or ends.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    permit: Option<OwnedSemaphorePermit>,
    /// When the header of the last request had come.
    begun: Option<Instant>,
}

impl InFlight {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(State {
            permit: Some(permit),
            begun: None,
        })))
    }

    /// The header of a request has come.
    pub(super) fn begin(&self) {
        self.state().begun = Some(Instant::now());
    }

    /// Whether that of any has.
    pub(super) fn has_begun(&self) -> bool {
        self.state().begun.is_some()
    }

    /// The request has become a stream, which is counted otherwise and has all the time it needs.
    pub(super) fn leave(&self) {
        self.state().permit = None;
    }

    /// Returns when a request has taken longer than that: its peer does not send it, or does not read the answer. The answer alone could wait for
    /// ever, and a place with it.
    pub(super) async fn overdue(&self, timeout: Duration) {
        loop {
            let begun = {
                let state = self.state();
                if state.permit.is_none() {
                    None
                } else {
                    Some(state.begun)
                }
            };
            match begun {
                None => std::future::pending().await,
                // The first header has a time of its own.
                Some(None) => sleep(timeout).await,
                Some(Some(begun)) if begun.elapsed() >= timeout => return,
                Some(Some(begun)) => sleep_until(begun + timeout).await,
            }
        }
    }

    /// Nothing panics while the lock is held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
