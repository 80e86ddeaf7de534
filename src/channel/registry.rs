//! The channels by name. The only file that names `dashmap`: sharded locks, held for a look-up, an insertion or a removal, never
//! across an await or another call into a map.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::shared::HubShared;
use super::{Channel, Overflow};
use crate::message::ChannelName;
use crate::sync::{AtomicUsize, Ordering};

/// The channels that somebody subscribes to or publishes to through a handle.
#[derive(Debug)]
pub(crate) struct Registry {
    core: Arc<HubShared>,
    channels: DashMap<ChannelName, Arc<Channel>>,
    /// How many those are: the map itself would have to lock all its parts to tell.
    count: AtomicUsize,
    /// Channels with at least one subscriber.
    live: AtomicUsize,
}

/// There are as many channels as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelLimit;

impl Registry {
    pub(crate) fn new(core: Arc<HubShared>) -> Arc<Self> {
        let registry = Arc::new(Self {
            core,
            channels: DashMap::new(),
            count: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
        });
        registry.core.set_registry(&registry);
        registry
    }

    /// The channel of that name if there is one. A read lock of one shard.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels
            .get(name)
            .map(|entry| Arc::clone(entry.value()))
    }

    /// The channel of that name, made if need be, and kept until [`Registry::unpin`].
    pub(crate) fn pin(&self, name: &ChannelName) -> Arc<Channel> {
        self.pin_within(name, usize::MAX)
            .expect("there is no bound")
    }

    /// As [`Registry::pin`], but makes no channel beyond those that there may be.
    ///
    /// # Errors
    /// There is no channel of that name, and there are as many others as there may be.
    pub(crate) fn pin_bounded(&self, name: &ChannelName) -> Result<Arc<Channel>, ChannelLimit> {
        self.pin_within(name, self.core.config.max_channels)
    }

    fn pin_within(&self, name: &ChannelName, most: usize) -> Result<Arc<Channel>, ChannelLimit> {
        if let Some(entry) = self.channels.get(name.as_str()) {
            // Relaxed, here and in `unpin`: the shard's lock orders pins against the removal.
            entry.pins.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::clone(entry.value()));
        }
        match self.channels.entry(name.clone()) {
            Entry::Occupied(entry) => {
                entry.get().pins.fetch_add(1, Ordering::Relaxed);
                Ok(Arc::clone(entry.get()))
            }
            Entry::Vacant(entry) => {
                // Relaxed: a count that orders nothing.
                self.count
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                        (count < most).then_some(count + 1)
                    })
                    .map_err(|_| ChannelLimit)?;
                let channel = Arc::new(Channel::new(
                    Arc::clone(&self.core),
                    Some(name.clone()),
                    Overflow::Skip,
                ));
                channel.pins.fetch_add(1, Ordering::Relaxed);
                entry.insert(Arc::clone(&channel));
                Ok(channel)
            }
        }
    }

    /// Takes a pin back; the last one takes the channel out.
    pub(crate) fn unpin(&self, channel: &Arc<Channel>) {
        if channel.pins.fetch_sub(1, Ordering::Relaxed) != 1 {
            return;
        }
        let Some(name) = channel.name() else { return };
        let removed = self.channels.remove_if(name.as_str(), |_, found| {
            Arc::ptr_eq(found, channel) && found.pins.load(Ordering::Relaxed) == 0
        });
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
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
        self.channels
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }
}
