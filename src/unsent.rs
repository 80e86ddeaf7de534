//! Counts what has not left a hub yet.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::sync::{AtomicUsize, Ordering};

/// Counts the messages that have not been sent or dropped yet.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    marks: AtomicUsize,
    changed: Notify,
}

/// Marks messages as not sent yet, until its last clone is dropped. A hub that shuts down waits
/// for them.
#[derive(Clone, Debug)]
pub struct Pending {
    _mark: Arc<PendingMark>,
}

#[derive(Debug)]
struct PendingMark(Arc<Unsent>);

impl Drop for PendingMark {
    fn drop(&mut self) {
        // Relaxed: a tally. The wait for it looks again after each notification.
        if self.0.marks.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.wake();
        }
    }
}

impl Unsent {
    /// Marks messages as not sent.
    pub(crate) fn mark(self: &Arc<Self>) -> Pending {
        self.marks.fetch_add(1, Ordering::Relaxed);
        Pending {
            _mark: Arc::new(PendingMark(Arc::clone(self))),
        }
    }

    /// Has those who wait look again.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until nothing is marked, or until there is no reason to wait any more, of which
    /// [`Unsent::wake`] has to tell.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(crate) async fn sent(&self, waits: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if self.marks.load(Ordering::Relaxed) == 0 || !waits() {
                return;
            }
            changed.await;
        }
    }
}
