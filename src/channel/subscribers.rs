//! Stage 4's map: who is subscribed to a channel. An immutable snapshot, replaced when somebody joins or leaves; fan-out
//! and listings read it without waiting for anybody. The only file that names `arc_swap`.
//!
//! The list is cut into shards of 64, so that a join copies one shard and the list of shards instead of everybody: joining 10,000 subscribers
//! one by one copies 10,000 x (64 + 10,000 / 64) pointers, not 10,000 x 10,000. A leave moves the last subscriber into the hole, so
//! every shard but the last stays full.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

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
pub(crate) enum Change {
    Join(Arc<Subscription>),
    Leave(Arc<Subscription>),
}

/// The subscribers of one channel. Read by anybody; changed by the channel's sealer alone.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    snapshot: ArcSwap<Snapshot>,
}

impl Subscribers {
    /// The list as it is now. The guard is for the time of one fan-out; it must not be held across an await.
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The list as it is now, to keep.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Makes the changes in their order and publishes the new list once. For the sealer alone.
    ///
    /// Linear in changes x shard size, plus the number of shards.
    pub(crate) fn apply(&self, changes: &mut Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let old = self.snapshot.load();
        let mut shards = old.shards.clone();
        let mut len = old.len;
        drop(old);
        for change in changes.drain(..) {
            match change {
                Change::Join(subscription) => {
                    subscription.set_place(len);
                    if len.is_multiple_of(SHARD) {
                        shards.push(Arc::new(Vec::with_capacity(1)));
                    }
                    let shard = shards
                        .last_mut()
                        .expect("a shard was pushed when the last was full");
                    Arc::make_mut(shard).push(subscription);
                    len += 1;
                }
                Change::Leave(subscription) => {
                    let place = subscription.place();
                    if place >= len {
                        continue;
                    }
                    subscription.set_place(usize::MAX);
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
                        last.set_place(place);
                        Arc::make_mut(&mut shards[place / SHARD])[place % SHARD] = last;
                    }
                }
            }
        }
        self.snapshot.store(Arc::new(Snapshot { shards, len }));
    }
}
