//! What one task has for another, merged until it is taken.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::sync::lock;

/// Holds what a task is told until it takes all of it at once.
///
/// It holds as much as `T` merges it to. The mailboxes of a relay hold each channel once, so that
/// their bound is the number of channels: a queue would grow while its reader waits for room.
#[derive(Debug, Default)]
pub(super) struct Mailbox<T> {
    /// `None` while there is nothing to take.
    content: Mutex<Option<T>>,
    filled: Notify,
}

impl<T: Default> Mailbox<T> {
    /// Adds something to what the reader takes next.
    pub(super) fn tell(&self, add: impl FnOnce(&mut T)) {
        add(lock(&self.content).get_or_insert_default());
        self.filled.notify_one();
    }

    /// Waits until there is something, and takes it. There is one reader.
    ///
    /// # Cancel safety
    /// This method is cancel safe. Nothing is taken if the future is dropped.
    pub(super) async fn take(&self) -> T {
        loop {
            if let Some(content) = lock(&self.content).take() {
                return content;
            }
            // `notify_one` before this leaves a permit, so no filling is missed.
            self.filled.notified().await;
        }
    }
}
