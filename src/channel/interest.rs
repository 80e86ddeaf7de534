//! The channels whose subscribers have changed, for a hub whose channels are mirrors.

use std::collections::HashSet;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::message::ChannelName;
use crate::sync::lock;

/// The names of the channels that got their first subscriber or lost their last one, until they
/// are taken.
///
/// A name is a hint to look at the channel: it is there once, whatever happened since.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    changed: Mutex<HashSet<ChannelName>>,
    has_changed: Notify,
}

impl Interest {
    /// Notes that a channel's subscribers changed.
    pub(crate) fn note(&self, channel: &ChannelName) {
        lock(&self.changed).insert(channel.clone());
        self.has_changed.notify_one();
    }

    /// Waits until there are changes, and takes them.
    ///
    /// # Cancel safety
    /// Nothing is taken if the future is dropped.
    pub(crate) async fn changes(&self) -> HashSet<ChannelName> {
        loop {
            let changed = std::mem::take(&mut *lock(&self.changed));
            if !changed.is_empty() {
                return changed;
            }
            self.has_changed.notified().await;
        }
    }
}
