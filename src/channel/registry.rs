//! The channels by name. The only file that names `dashmap`: sharded locks, held for a look-up, an insertion or a removal, never
//! across an await or another call into a map.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::core::Core;
use super::{Channel, Overflow};
use crate::message::ChannelName;
use crate::sync::{AtomicUsize, Ordering};

/// The channels that somebody subscribes to or publishes to through a handle.
#[derive(Debug)]
pub(crate) struct Registry {
    core: Arc<Core>,
    channels: DashMap<ChannelName, Arc<Channel>>,
    /// Channels with at least one subscriber.
    live: AtomicUsize,
}

impl Registry {
    pub(crate) fn new(core: Arc<Core>) -> Arc<Self> {
        let registry = Arc::new(Self { core, channels: DashMap::new(), live: AtomicUsize::new(0) });
        registry.core.set_registry(&registry);
        registry
    }

    /// The channel of that name if there is one. A read lock of one shard.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels.get(name).map(|entry| Arc::clone(entry.value()))
    }

    /// The channel of that name, made if need be, and kept until [`Registry::unpin`].
    pub(crate) fn pin(&self, name: &ChannelName) -> Arc<Channel> {
        if let Some(entry) = self.channels.get(name.as_str()) {
            // Relaxed, here and in `unpin`: the shard's lock orders pins against the removal.
            entry.pins.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(entry.value());
        }
        match self.channels.entry(name.clone()) {
            Entry::Occupied(entry) => {
                entry.get().pins.fetch_add(1, Ordering::Relaxed);
                Arc::clone(entry.get())
            }
            Entry::Vacant(entry) => {
                let channel =
                    Arc::new(Channel::new(Arc::clone(&self.core), Some(name.clone()), Overflow::Skip));
                channel.pins.fetch_add(1, Ordering::Relaxed);
                entry.insert(Arc::clone(&channel));
                channel
            }
        }
    }

    /// Takes a pin back; the last one takes the channel out.
    pub(crate) fn unpin(&self, channel: &Arc<Channel>) {
        if channel.pins.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        let Some(name) = channel.name() else { return };
        self.channels.remove_if(name.as_str(), |_, found| {
            Arc::ptr_eq(found, channel) && found.pins.load(Ordering::Relaxed) == 0
        });
    }

    /// Counts a channel that got its first subscriber.
    pub(crate) fn count_live(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a channel that lost its last subscriber.
    pub(crate) fn count_dead(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Channels with at least one subscriber.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// All channels, those without subscribers included. Locks one shard after the other.
    pub(crate) fn all(&self) -> Vec<Arc<Channel>> {
        self.channels.iter().map(|entry| Arc::clone(entry.value())).collect()
    }
}
