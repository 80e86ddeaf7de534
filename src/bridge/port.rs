//! A hub as its bridge sees it.

use std::sync::Arc;

use super::counters::BridgeDrop;
use super::exports::{Exports, Published};
use crate::channel::{Channel, HubShared, Origin, Publisher, Registry};
use crate::encode::Timestamp;
use crate::message::{ChannelName, Message};
use crate::reason::RefusalReason;

/// A hub with a bridge: what is published to it, and the way to import messages.
#[derive(Clone, Debug)]
pub struct Port {
    shared: Arc<HubShared>,
    registry: Arc<Registry>,
    everyone: Arc<Channel>,
}

impl Port {
    pub(crate) fn new(
        shared: Arc<HubShared>,
        registry: Arc<Registry>,
        everyone: Arc<Channel>,
    ) -> Self {
        Self {
            shared,
            registry,
            everyone,
        }
    }

    fn exports(&self) -> &Exports {
        let exports = self.shared.exports.as_ref();
        exports.expect("a hub with a bridge exports what is published")
    }

    /// Waits for messages that were published locally. The next call returns those that came
    /// after them.
    ///
    /// At most 8 MiB wait to be taken. Beyond that the oldest are dropped and counted.
    ///
    /// # Cancel safety
    /// This method is cancel safe. Dropping the future takes nothing.
    pub async fn published(&self) -> Published {
        self.exports().next().await
    }

    /// Returns messages that were published locally and wait already, if there are any.
    pub fn try_published(&self) -> Option<Published> {
        self.exports().try_next()
    }

    /// Publishes a message from the other side to a channel, or with `None` to all clients. It is
    /// not exported again.
    ///
    /// `unix_ms` is its timestamp in milliseconds since 1970-01-01T00:00:00Z. Without one it is
    /// stamped now. Messages to a channel that has neither subscribers nor a history are discarded.
    pub fn import(&self, channel: Option<&ChannelName>, message: Message, unix_ms: Option<i64>) {
        let timestamp = unix_ms.map_or_else(HubShared::timestamp, Timestamp::from_unix_millis);
        self.exports().counters.count_imported();
        let Some(name) = channel else {
            return self.everyone.import(message, timestamp, Origin::Bridge);
        };
        if !self.shared.keeps_history() && self.shared.sharing.is_none() {
            if let Some(channel) = self.registry.find(name.as_str()) {
                channel.import(message, timestamp, Origin::Bridge);
            }
            return;
        }
        match Publisher::bounded(Arc::clone(&self.registry), name) {
            Ok(publisher) => publisher
                .target()
                .import(message, timestamp, Origin::Bridge),
            Err(_) => self
                .shared
                .totals
                .count_refused(RefusalReason::ChannelLimit),
        }
    }

    /// Counts messages that were sent to the other side.
    pub fn count_exported(&self, messages: u64) {
        self.exports().counters.count_exported(messages);
    }

    /// Counts messages that did not cross the bridge.
    pub fn count_dropped(&self, reason: BridgeDrop, messages: u64) {
        self.exports().counters.count_dropped(reason, messages);
    }

    /// Counts a connection that came back after a loss.
    pub fn count_reconnect(&self) {
        self.exports().counters.count_reconnect();
    }

    /// Says whether the other side is connected. A hub that shuts down does not wait for one that
    /// is gone.
    pub fn set_connected(&self, connected: bool) {
        self.exports().set_connected(connected);
    }
}
