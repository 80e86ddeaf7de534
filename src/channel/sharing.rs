//! What the channels of a hub share if each of them can have its home here or elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::block::Block;
use super::interest::Interest;
use super::pending::PendingBudget;
use crate::bounded_queue::BoundedQueue;
use crate::message::{ChannelName, Message};
use crate::stats::SharingStats;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::unsent::{Pending, Unsent};

/// The most bytes that wait to be sent to other nodes.
const MAX_EXPORT_BYTES: usize = 8 * 1024 * 1024;
/// What an export takes beside its bytes, and what each of its messages does.
const EXPORT_OVERHEAD: usize = 256;
const MESSAGE_OVERHEAD: usize = 8;

/// The part of a hub that other nodes see.
#[derive(Debug)]
pub(crate) struct Sharing {
    /// The channels that have messages which wait for a home.
    pub(crate) pending: Interest,
    /// The channels of which the list of channels shows something else.
    pub(crate) listed: Interest,
    pub(crate) budget: Arc<PendingBudget>,
    exports: BoundedQueue<Export>,
    unsent: Arc<Unsent>,
    is_connected: AtomicBool,
    /// Messages that were to be exported and found no room.
    skipped: AtomicU64,
    homes: AtomicU64,
    leaving: watch::Sender<Leaving>,
}

/// How far a hub that shuts down has left the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Asked,
    Done,
}

/// What is sent to other nodes.
#[derive(Debug)]
pub(crate) enum Export {
    Block(SealedExport),
    Partial { channel: ChannelName, text: Bytes },
    Broadcast { message: Message, unsent: Pending },
}

/// A block of a home.
#[derive(Debug)]
pub(crate) struct SealedExport {
    pub(crate) channel: ChannelName,
    pub(crate) epoch: Arc<String>,
    pub(crate) block: Arc<Block>,
    _unsent: Pending,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            pending: Interest::default(),
            listed: Interest::default(),
            budget: Arc::default(),
            exports: BoundedQueue::new(MAX_EXPORT_BYTES),
            unsent: Arc::default(),
            is_connected: AtomicBool::new(false),
            skipped: AtomicU64::new(0),
            homes: AtomicU64::new(0),
            leaving: watch::Sender::new(Leaving::No),
        }
    }
}

impl Sharing {
    /// Hands a block of a home to the backplane.
    pub(super) fn export_block(
        &self,
        channel: &ChannelName,
        epoch: Arc<String>,
        block: &Arc<Block>,
    ) {
        let bytes = EXPORT_OVERHEAD + block.bytes() + block.len() * MESSAGE_OVERHEAD;
        let export = Export::Block(SealedExport {
            channel: channel.clone(),
            epoch,
            block: Arc::clone(block),
            _unsent: self.unsent.mark(),
        });
        self.push(export, bytes);
    }

    /// Hands the line that a process is still writing to the backplane.
    pub(super) fn export_partial(&self, channel: &ChannelName, text: Bytes) {
        let bytes = EXPORT_OVERHEAD + text.len();
        let channel = channel.clone();
        self.push(Export::Partial { channel, text }, bytes);
    }

    /// Hands a message to all clients to the backplane.
    pub(super) fn export_broadcast(&self, message: &Message) {
        let bytes = EXPORT_OVERHEAD + message.size_hint();
        let export = Export::Broadcast {
            message: message.clone(),
            unsent: self.unsent.mark(),
        };
        self.push(export, bytes);
    }

    /// Never waits: the oldest exports are dropped whole, and their messages counted.
    fn push(&self, export: Export, bytes: usize) {
        self.exports.push(export, bytes, |oldest| {
            let messages = match oldest {
                Export::Block(sealed) => sealed.block.len() as u64,
                Export::Broadcast { .. } => 1,
                Export::Partial { .. } => 0,
            };
            self.skipped.fetch_add(messages, Ordering::Relaxed);
        });
    }

    /// Takes the oldest export, and waits while there is none.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(crate) async fn exported(&self) -> Export {
        self.exports.next().await
    }

    /// Takes the oldest export, if there is one.
    pub(crate) fn try_exported(&self) -> Option<Export> {
        self.exports.take()
    }

    /// Returns the counters.
    pub(crate) fn stats(&self) -> SharingStats {
        let (pending, pending_bytes) = self.budget.held();
        SharingStats {
            connected: self.is_connected(),
            skipped: self.skipped.load(Ordering::Relaxed),
            pending,
            pending_bytes,
        }
    }

    /// Returns whether other nodes can be reached. Relaxed: for reports, and for a wait that is told
    /// of changes.
    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.is_connected.store(connected, Ordering::Relaxed);
        if !connected {
            self.unsent.wake();
            self.budget.wake();
        }
    }

    /// Asks the backplane to leave the other nodes, and waits until it has. Returns at once while
    /// other nodes cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. The backplane leaves all the same.
    pub(crate) async fn leave(&self) {
        self.leaving.send_replace(Leaving::Asked);
        if self.is_connected() {
            let mut leaving = self.leaving.subscribe();
            // It fails only without a sender, and `self` is the sender.
            let _ = leaving.wait_for(|state| *state == Leaving::Done).await;
        }
    }

    /// Waits until the backplane is to leave.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(crate) async fn is_leaving(&self) {
        let mut leaving = self.leaving.subscribe();
        // As above.
        let _ = leaving.wait_for(|state| *state != Leaving::No).await;
    }

    /// Says that the backplane has left.
    pub(crate) fn has_left(&self) {
        self.leaving.send_replace(Leaving::Done);
    }

    /// Waits until nothing waits for a home or for being sent. Returns at once while other nodes
    /// cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(crate) async fn sent(&self) {
        loop {
            let freed = self.budget.freed();
            if self.budget.held().0 == 0 || !self.is_connected() {
                break;
            }
            freed.await;
        }
        // After the messages that waited: those that a home here has numbered are exports now.
        self.unsent.sent(|| self.is_connected()).await;
    }

    /// Returns a number that no other home of this hub has.
    pub(super) fn next_home(&self) -> u64 {
        self.homes.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;
    use crate::encode::Timestamp;

    #[test]
    fn beyond_the_bound_the_oldest_blocks_go_whole_and_their_messages_are_counted() {
        let sharing = Sharing::default();
        let channel = ChannelName::parse("c").expect("a valid name");
        let epoch = Arc::new("e".to_owned());
        let mut sealed = 0;
        for _ in 0..20 {
            let mut block = Block::with_capacity(2);
            for _ in 0..2 {
                block.push(Run::Line(vec![b'x'; 512 * 1024].into()));
            }
            block.seal(sealed + 1, Timestamp::from_unix_millis(0), 0);
            sealed = block.last_seq();
            sharing.export_block(&channel, Arc::clone(&epoch), &Arc::new(block));
        }
        let mut next = None;
        let mut taken = 0;
        while let Some(Export::Block(sealed)) = sharing.try_exported() {
            let first = sealed.block.first_seq();
            assert!(
                next.is_none_or(|next| next == first),
                "what is left is in order"
            );
            next = Some(sealed.block.last_seq() + 1);
            taken += sealed.block.len() as u64;
        }
        assert_eq!((next, taken), (Some(sealed + 1), 14));
        assert_eq!(taken + sharing.stats().skipped, sealed);
    }
}
