//! The outcome of one pass, in messages x subscribers.

use super::pace::Reached;
use crate::outbox::Offered;

/// Counts the fate of the messages that were fanned out.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) offered: u64,
    pub(super) skipped: u64,
    pub(super) discarded: u64,
    pub(super) reached: Reached,
}

impl Tally {
    /// Notes the outcome of an offer. Returns the number of accepted frames; `None` when the client
    /// is gone.
    pub(super) fn note(&mut self, offered: Offered) -> Option<usize> {
        match offered {
            Offered::Closed => None,
            Offered::Accepted { frames, woke } => {
                self.reached.woken += usize::from(woke);
                Some(frames)
            }
        }
    }
}
