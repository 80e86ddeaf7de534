//! The reasons for which the registry keeps a channel.

use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// Counts the subscriptions and publisher handles of a channel, and the history that holds it.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Raised from 0 only under the registry's guard. Relaxed throughout: the lock of the
    /// registry's shard orders pins against the removal.
    count: AtomicUsize,
    /// One pin of these is for the history.
    held: AtomicBool,
}

impl Pins {
    /// Adds a pin.
    pub(super) fn pin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a pin back. Returns whether it was the last one.
    pub(super) fn unpin(&self) -> bool {
        self.count.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Returns whether there are no pins.
    pub(super) fn is_free(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Has the registry keep the channel for a message that was just pushed, and which the history
    /// will hold. For publishers, who pin the channel meanwhile.
    ///
    /// AcqRel swaps of `held`, all in one modification order: a publisher that finds it true comes
    /// before the swap in [`let_go`](Self::let_go), which then sees the push.
    pub(super) fn hold(&self) {
        if !self.held.swap(true, Ordering::AcqRel) {
            // The publisher's own pin keeps the channel in the registry until this one counts.
            self.pin();
        }
    }

    /// Returns whether the registry keeps the channel for its history. Relaxed: a hint for callers
    /// that look again.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives up the history's pin, unless `has_more` says that something else is on its way into
    /// the history. Returns true when the caller has to take the pin back from the registry.
    pub(super) fn let_go(&self, has_more: impl FnOnce() -> bool) -> bool {
        if !self.held.swap(false, Ordering::AcqRel) {
            return false;
        }
        // When a publisher has set `held` again meanwhile, it has added a pin of its own.
        !has_more() || self.held.swap(true, Ordering::AcqRel)
    }
}
