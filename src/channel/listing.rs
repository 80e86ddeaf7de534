//! The version of the list of channels, for those who wait for a channel to appear.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use tokio::sync::watch;

/// Counts how often a channel appeared in the list of channels: with its first subscriber, status
/// or kept message, whatever came first. A channel that goes does not count.
///
/// A change takes a lock, but happens once for a channel and not for its messages.
#[derive(Debug)]
pub(crate) struct Listing(watch::Sender<u64>);

impl Listing {
    /// Begins at a random version, which no earlier run of the program had.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(
            RandomState::new().hash_one(SystemTime::now()),
        ))
    }

    /// Returns the present version. A list that is made after this call holds everything that the
    /// version counts, because a channel is listed before it is counted.
    #[cfg(feature = "server")]
    pub(crate) fn version(&self) -> u64 {
        *self.0.borrow()
    }

    /// Completes when the version differs from this one.
    #[cfg(feature = "server")]
    pub(crate) async fn changed_from(&self, version: u64) {
        // It fails only without a sender, and `self` is the sender.
        let _ = self.0.subscribe().wait_for(|now| *now != version).await;
    }

    /// Counts a channel that has appeared, or wakes everyone who waits.
    pub(crate) fn change(&self) {
        self.0
            .send_modify(|version| *version = version.wrapping_add(1));
    }
}
