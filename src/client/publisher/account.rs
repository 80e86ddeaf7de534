//! What became of each message, and the room for those that wait.

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::PublishError;
use crate::sync::lock;

/// What became of the messages of a [`Publisher`](super::Publisher).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishStats {
    /// Messages that were accepted into the queue.
    pub accepted: u64,
    /// Messages that the server has published.
    pub published: u64,
    /// Messages that were not accepted, because the queue was full.
    pub refused: u64,
    /// Messages that the server has refused.
    pub rejected: u64,
    /// Messages whose request was on its way when the connection broke. The server may have
    /// published them.
    pub unknown: u64,
    /// Messages that were not sent when the publisher ended.
    pub discarded: u64,
}

impl PublishStats {
    /// Returns the number of accepted messages that the server has not, or may not have, published.
    pub fn lost(&self) -> u64 {
        self.rejected + self.unknown + self.discarded
    }

    /// Returns the number of accepted messages that have no outcome yet.
    pub fn waiting(&self) -> u64 {
        self.accepted.saturating_sub(self.published + self.lost())
    }
}

/// The state that a publisher's handles share with its task.
pub(super) struct Account {
    room: Arc<Semaphore>,
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    stats: PublishStats,
    ended: Option<String>,
    last_error: Option<String>,
}

impl Account {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limit)),
            limit,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes room for a message, after waiting for it.
    pub(super) async fn take_room(
        &self,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, PublishError> {
        let permits = self.permits(bytes)?;
        let room = Arc::clone(&self.room).acquire_many_owned(permits);
        room.await.map_err(|_| self.ended())
    }

    /// Takes room for a message if there is some now.
    pub(super) fn try_take_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, PublishError> {
        let permits = self.permits(bytes)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        room.map_err(|error| match error {
            TryAcquireError::Closed => self.ended(),
            TryAcquireError::NoPermits => {
                lock(&self.state).stats.refused += 1;
                PublishError::Full
            }
        })
    }

    fn permits(&self, bytes: usize) -> Result<u32, PublishError> {
        let limit = self.limit;
        u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= limit)
            .ok_or(PublishError::TooLarge { bytes, limit })
    }

    pub(super) fn accept(&self) {
        lock(&self.state).stats.accepted += 1;
    }

    /// Takes an acceptance back: the task has ended meanwhile.
    pub(super) fn withdraw(&self) {
        self.count(|state| state.stats.accepted -= 1);
    }

    pub(super) fn publish(&self, messages: u64) {
        self.count(|state| {
            state.stats.published += messages;
            state.last_error = None;
        });
    }

    pub(super) fn reject(&self, messages: u64, error: String) {
        self.count(|state| {
            state.stats.rejected += messages;
            state.last_error = Some(error);
        });
    }

    pub(super) fn lose_sight(&self, messages: u64, error: String) {
        self.count(|state| {
            state.stats.unknown += messages;
            state.last_error = Some(error);
        });
    }

    pub(super) fn discard(&self, messages: u64) {
        self.count(|state| state.stats.discarded += messages);
    }

    pub(super) fn note_error(&self, error: String) {
        self.count(|state| state.last_error = Some(error));
    }

    fn count(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }

    /// Accepts nothing more. The first reason stands.
    pub(super) fn close(&self, reason: &str) {
        lock(&self.state)
            .ended
            .get_or_insert_with(|| reason.to_owned());
        self.room.close();
    }

    /// Returns the error for a call after the end.
    pub(super) fn ended(&self) -> PublishError {
        let reason = lock(&self.state).ended.clone();
        PublishError::Ended {
            reason: reason.unwrap_or_else(|| "its runtime has ended".to_owned()),
        }
    }

    pub(super) fn stats(&self) -> PublishStats {
        lock(&self.state).stats
    }

    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.state).last_error.clone()
    }

    /// Completes when everything that was accepted before this call has an outcome.
    pub(super) async fn settled(&self) {
        let wanted = self.stats().accepted;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Enabled before the look, so that no change is missed in between.
            changed.as_mut().enable();
            let stats = self.stats();
            if stats.published + stats.lost() >= wanted {
                return;
            }
            changed.await;
        }
    }
}
