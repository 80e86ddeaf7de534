//! Stage 4's map: the subscribers of a channel.
//!
//! The list is an immutable snapshot, replaced when a subscriber joins or leaves. Fan-out and
//! listings read it without waiting.
//!
//! The list is cut into shards of 64, so that a join copies one shard and the list of shards
//! instead of all subscribers: joining 10,000 subscribers one by one copies 10,000 x (64 + 10,000 /
//! 64) pointers, not 10,000 x 10,000. A leave moves the last subscriber into the hole, so that
//! every shard but the last stays full.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::seal::SealToken;
use super::subscription::Subscription;

const SHARD: usize = 64;

type Shard = Vec<Arc<Subscription>>;

/// An immutable list of subscribers.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    shards: Vec<Arc<Shard>>,
    len: usize,
}

impl Snapshot {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}

/// A change of the list.
pub(crate) enum MembershipChange {
    Join(Arc<Subscription>),
    Leave(Arc<Subscription>),
}

/// The subscribers of one channel. Any thread reads them, and only the channel's sealer changes
/// them.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    snapshot: ArcSwap<Snapshot>,
}

impl Subscribers {
    /// Returns the list as it is now. The guard is for the time of one fan-out, and must not be
    /// held across an await.
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Returns the list as it is now, for any time.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes the changes in their order and publishes the new list once.
    ///
    /// Linear in changes x shard size, plus the number of shards.
    pub(super) fn apply(&self, changes: &mut Vec<MembershipChange>, token: &SealToken) {
        if changes.is_empty() {
            return;
        }
        let old = self.snapshot.load();
        let mut shards = old.shards.clone();
        let mut len = old.len;
        drop(old);
        for change in changes.drain(..) {
            match change {
                MembershipChange::Join(subscription) => {
                    subscription.set_place(len, token);
                    if len.is_multiple_of(SHARD) {
                        shards.push(Arc::new(Vec::with_capacity(1)));
                    }
                    let shard = shards
                        .last_mut()
                        .expect("a shard was pushed when the last was full");
                    Arc::make_mut(shard).push(subscription);
                    len += 1;
                }
                MembershipChange::Leave(subscription) => {
                    let place = subscription.place(token);
                    if place >= len {
                        continue;
                    }
                    subscription.set_place(usize::MAX, token);
                    len -= 1;
                    let shard = shards
                        .last_mut()
                        .expect("a list that is not empty has a shard");
                    let last = Arc::make_mut(shard)
                        .pop()
                        .expect("the last shard is not empty");
                    if shard.is_empty() {
                        shards.pop();
                    }
                    if place < len {
                        last.set_place(place, token);
                        Arc::make_mut(&mut shards[place / SHARD])[place % SHARD] = last;
                    }
                }
            }
        }
        self.snapshot.store(Arc::new(Snapshot { shards, len }));
    }
}
