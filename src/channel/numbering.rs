//! The numbers of a channel's messages.

use super::seal::SealToken;
use crate::sync::{AtomicU64, Ordering};

/// The number of the last sealed message, and the messages that have no numbers yet.
///
/// Relaxed throughout: only the sealer writes `last`, and its flag orders one sealer's writes
/// before the next one's reads.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    last: AtomicU64,
    /// Messages published while there were no subscribers. They enter the numbering at the next
    /// join.
    unnumbered: AtomicU64,
}

impl Numbering {
    /// Returns the number of the last sealed message.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Returns the number of messages published since the channel exists.
    pub(super) fn published(&self) -> u64 {
        self.last() + self.unnumbered.load(Ordering::Relaxed)
    }

    /// Counts messages that were published while there were no subscribers.
    pub(super) fn count_unnumbered(&self, messages: u64) {
        self.unnumbered.fetch_add(messages, Ordering::Relaxed);
    }

    /// Returns whether there are messages without numbers.
    pub(super) fn has_unnumbered(&self) -> bool {
        self.unnumbered.load(Ordering::Relaxed) > 0
    }

    /// Makes `seq` the number of the last sealed message.
    pub(super) fn advance_to(&self, seq: u64, _: &SealToken) {
        self.last.store(seq, Ordering::Relaxed);
    }

    /// Numbers the messages that have no numbers yet.
    pub(super) fn number_all(&self, token: &SealToken) {
        let unnumbered = self.unnumbered.swap(0, Ordering::Relaxed);
        self.advance_to(self.last() + unnumbered, token);
    }
}
