//! One client's subscription to one channel.

use std::sync::Arc;

use super::Channel;
use super::client::Client;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// One client's subscription to one channel, from its join to its leave.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) client: Arc<Client>,
    pub(crate) channel: Arc<Channel>,
    /// Where it stands in the channel's subscriber set. Written and read by the sealer alone, whose flag orders it: Relaxed.
    place: AtomicUsize,
    left: AtomicBool,
}

impl Subscription {
    pub(crate) fn new(client: Arc<Client>, channel: Arc<Channel>) -> Self {
        Self { client, channel, place: AtomicUsize::new(usize::MAX), left: AtomicBool::new(false) }
    }

    pub(crate) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// From now on nothing more is offered. Release, paired with the Acquire of [`Subscription::has_left`]; a seal that runs at this very
    /// moment may still offer its block.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}
