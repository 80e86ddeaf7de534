//! The channels by name, and the memory of their histories.
//!
//! The only file that names `dashmap`. Its sharded locks are held for a look-up, an insertion or a
//! removal, never across an await or another call into a map.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::shared::HubShared;
use super::{Channel, ChannelOwner, Overflow};
use crate::message::ChannelName;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// The channels that have subscribers, publisher handles or a history.
#[derive(Debug)]
pub(crate) struct Registry {
    shared: Arc<HubShared>,
    /// The registry itself, which each channel is given as its owner.
    this: Weak<Registry>,
    channels: DashMap<ChannelName, Arc<Channel>>,
    /// The number of channels. The map itself would have to lock all its shards to count them.
    count: AtomicUsize,
    /// The number of channels with at least one subscriber.
    live: AtomicUsize,
    /// One thread at a time evicts histories.
    evicting: AtomicBool,
}

/// There are as many channels as allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelLimit;

impl Registry {
    pub(crate) fn new(shared: Arc<HubShared>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            shared,
            this: Weak::clone(this),
            channels: DashMap::new(),
            count: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            evicting: AtomicBool::new(false),
        })
    }

    /// Returns the channel of that name if there is one. Takes a read lock of one shard.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels
            .get(name)
            .map(|entry| Arc::clone(entry.value()))
    }

    /// Returns the channel of that name, made if necessary, and keeps it until [`Registry::unpin`].
    pub(crate) fn pin(&self, name: &ChannelName) -> Arc<Channel> {
        self.pin_within(name, usize::MAX)
            .expect("there is no bound")
    }

    /// Does the same as [`Registry::pin`], but makes no channel beyond the allowed number.
    ///
    /// # Errors
    /// [`ChannelLimit`] when there is no channel of that name, and as many others as allowed.
    pub(crate) fn pin_bounded(&self, name: &ChannelName) -> Result<Arc<Channel>, ChannelLimit> {
        self.pin_within(name, self.shared.config.max_channels)
    }

    fn pin_within(
        &self,
        name: &ChannelName,
        max_channels: usize,
    ) -> Result<Arc<Channel>, ChannelLimit> {
        if let Some(entry) = self.channels.get(name.as_str()) {
            entry.pins.pin();
            return Ok(Arc::clone(entry.value()));
        }
        match self.channels.entry(name.clone()) {
            Entry::Occupied(entry) => {
                entry.get().pins.pin();
                Ok(Arc::clone(entry.get()))
            }
            Entry::Vacant(entry) => {
                // Relaxed: a count that orders nothing.
                self.count
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                        (count < max_channels).then_some(count + 1)
                    })
                    .map_err(|_| ChannelLimit)?;
                let owner: Weak<dyn ChannelOwner> = Weak::<Self>::clone(&self.this);
                let channel = Arc::new(
                    Channel::new(Arc::clone(&self.shared), Some(name.clone()), Overflow::Skip)
                        .owned_by(owner),
                );
                channel.pins.pin();
                entry.insert(Arc::clone(&channel));
                Ok(channel)
            }
        }
    }

    /// Takes a pin back. The last one removes the channel.
    pub(crate) fn unpin(&self, channel: &Arc<Channel>) {
        if !channel.pins.unpin() {
            return;
        }
        let Some(name) = channel.name() else { return };
        let removed = self.channels.remove_if(name.as_str(), |_, found| {
            Arc::ptr_eq(found, channel) && found.pins.is_free()
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

    /// Returns the number of channels with at least one subscriber.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Returns all channels, those without subscribers included. Locks one shard after the other.
    pub(crate) fn all(&self) -> Vec<Arc<Channel>> {
        self.channels
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }

    /// Has every channel drop the history that is too old.
    pub(super) fn sweep(&self) {
        for channel in self.all() {
            if channel.is_held() {
                channel.trim();
            }
        }
    }

    /// Has the channels that were used the longest ago drop their histories, until a tenth of the
    /// bound on all of them is free.
    ///
    /// Linear in channels, once for every tenth of the bound that is published.
    fn evict(&self, held_bytes: usize) {
        let mut channels = self.all();
        channels.retain(|channel| channel.kept_bytes() > 0);
        channels.sort_by_cached_key(|channel| channel.last_used());
        let mut excess = held_bytes - self.shared.config.history_total / 10 * 9;
        for channel in channels {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(channel.kept_bytes());
            channel.forget();
        }
    }
}

impl ChannelOwner for Registry {
    fn release(&self, channel: &Arc<Channel>) {
        self.unpin(channel);
    }

    fn make_room(&self, held_bytes: usize) {
        if !self.evicting.swap(true, Ordering::AcqRel) {
            self.evict(held_bytes);
            self.evicting.store(false, Ordering::Release);
        }
    }
}
