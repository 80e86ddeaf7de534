//! A channel whose messages were numbered elsewhere.
//!
//! A mirror has the outboxes, options, history and gaps of any other channel. Its blocks come with
//! the number and the time that their source gave them. What is published to it locally waits for
//! a home where the hub [shares](super::sharing) its channels. Elsewhere such messages are
//! discarded and counted.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, Style};
use super::client::Client;
use super::ingest::Entry;
use super::registry::{ChannelLimit, Registry};
use super::role::Role;
use super::seal::{SealToken, SealerCell};
use super::subscription::Subscription;
use super::{Channel, Run};
use crate::encode::{Encoding, Timestamp};
use crate::message::ChannelName;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// The additional state of a channel that is a mirror.
#[derive(Debug, Default)]
pub(super) struct MirrorState {
    /// Whether the mirror has caught up with its source. Until then no subscription joins: it
    /// would take the past for new. Only the sealer reads and writes it, and its flag orders the
    /// accesses: Relaxed.
    is_synced: AtomicBool,
    /// The subscriptions that join once it has.
    waiting: SealerCell<Vec<Arc<Subscription>>>,
    /// The clients whose pings are answered once it has.
    pings: SealerCell<Vec<Arc<Client>>>,
    /// `None` for a channel whose home is always elsewhere.
    pub(super) role: Option<Role>,
}

impl MirrorState {
    /// Creates the state of a channel that may become a home if `shares` is true.
    pub(super) fn new(shares: bool) -> Self {
        Self {
            role: shares.then(Role::default),
            ..Self::default()
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.is_synced.load(Ordering::Relaxed)
    }

    /// Says whether the mirror has caught up. Returns the subscriptions that join now.
    pub(super) fn set_synced(&self, synced: bool, token: &SealToken) -> Vec<Arc<Subscription>> {
        self.is_synced.store(synced, Ordering::Relaxed);
        if synced {
            std::mem::take(&mut *self.waiting.open(token))
        } else {
            Vec::new()
        }
    }

    /// Has a subscription join once the mirror has caught up.
    pub(super) fn defer(&self, subscription: Arc<Subscription>, token: &SealToken) {
        self.waiting.open(token).push(subscription);
    }

    /// Has a ping answered once the mirror has caught up.
    pub(super) fn defer_ping(&self, client: Arc<Client>, token: &SealToken) {
        self.pings.open(token).push(client);
    }

    /// Takes the clients whose pings wait.
    pub(super) fn take_pings(&self, token: &SealToken) -> Vec<Arc<Client>> {
        std::mem::take(&mut *self.pings.open(token))
    }

    /// Takes back a subscription that waits to join. Returns false when it does not wait.
    pub(super) fn withdraw(&self, subscription: &Arc<Subscription>, token: &SealToken) -> bool {
        let mut waiting = self.waiting.open(token);
        let before = waiting.len();
        waiting.retain(|other| !Arc::ptr_eq(other, subscription));
        waiting.len() < before
    }
}

/// A new numbering of a mirror.
#[derive(Debug)]
pub(crate) struct Renumbering {
    pub(super) epoch: String,
    /// The number of the last message before the first one that the mirror will have.
    pub(super) seq: u64,
}

/// Consecutive messages with the numbers and the time that their source gave them.
#[derive(Debug)]
pub(crate) struct NumberedRun {
    first_seq: u64,
    timestamp: Timestamp,
    runs: Vec<Run>,
}

impl NumberedRun {
    /// Creates a run of messages that begins with number `first_seq`. It must not be empty.
    pub(crate) fn new(first_seq: u64, timestamp: Timestamp, runs: Vec<Run>) -> Self {
        Self {
            first_seq,
            timestamp,
            runs,
        }
    }

    /// Encodes the messages.
    pub(super) fn encode(self, encoding: Encoding, style: &Style) -> Bytes {
        let messages = self.messages();
        let mut block = Block::with_capacity(self.runs.len());
        self.runs.into_iter().for_each(|run| block.push(run));
        block.seal(self.first_seq, self.timestamp, 0);
        let frames = block.encode(encoding, style, 0..messages);
        frames.slice(0..frames.len())
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Returns the time in milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn unix_ms(&self) -> i64 {
        self.timestamp.unix_millis()
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Returns the number of the last message.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + self.messages() as u64 - 1
    }

    pub(crate) fn messages(&self) -> usize {
        self.runs.iter().map(Run::messages).sum()
    }

    /// Returns the size of the messages in bytes, without their encoding.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().map(Run::bytes).sum()
    }

    /// Drops the messages up to number `last_seq`. Returns `None` if none is left.
    pub(crate) fn after(mut self, last_seq: u64) -> Option<Self> {
        let Some(mut excess) = (last_seq + 1).checked_sub(self.first_seq) else {
            return Some(self);
        };
        self.first_seq = self.first_seq.max(last_seq + 1);
        let mut runs = Vec::with_capacity(self.runs.len());
        for run in self.runs {
            let messages = run.messages() as u64;
            if excess >= messages {
                excess -= messages;
                continue;
            }
            runs.push(run.without_first(std::mem::take(&mut excess) as usize));
        }
        self.runs = runs;
        (!self.runs.is_empty()).then_some(self)
    }

    fn into_block(self) -> Block {
        let mut block = Block::with_capacity(self.runs.len());
        for run in self.runs {
            block.push(run);
        }
        block.seal(self.first_seq, self.timestamp, 0);
        block
    }
}

/// Feeds one mirror. There is at most one for each channel, so its calls have an order.
///
/// The channel exists as long as its mirror handle does.
#[derive(Debug)]
pub(crate) struct Mirror {
    channel: Arc<Channel>,
    registry: Arc<Registry>,
    /// Bytes that may wait unsealed. Relaxed: a bound that only this handle's caller changes.
    unsealed_bytes: AtomicUsize,
}

/// The bytes after which a mirror is sealed without waiting for the next flush.
const ENOUGH_BYTES: usize = 64 * 1024;
/// The most bytes that wait unsealed while another thread seals.
const MAX_UNSEALED_BYTES: usize = 4 * 1024 * 1024;

impl Mirror {
    /// Creates the channel if it does not exist.
    ///
    /// # Errors
    /// [`ChannelLimit`] when there are as many other channels as allowed.
    pub(crate) fn new(registry: Arc<Registry>, name: &ChannelName) -> Result<Self, ChannelLimit> {
        Ok(Self {
            channel: registry.pin_bounded(name)?,
            registry,
            unsealed_bytes: AtomicUsize::new(0),
        })
    }

    /// Returns the epoch and the number of the last message that was published or skipped.
    pub(crate) fn position(&self) -> (Arc<String>, u64) {
        self.channel.position()
    }

    /// Returns the number of subscribers.
    pub(crate) fn listeners(&self) -> usize {
        self.channel.listeners()
    }

    /// Starts a new numbering, of which the mirror will have what comes after number `seq`. Open
    /// subscriptions with options are told of it, and the history of the earlier numbering is
    /// dropped.
    pub(crate) fn renumber(&self, epoch: String, seq: u64) {
        self.push(Entry::Renumber(Box::new(Renumbering { epoch, seq })));
    }

    /// Delivers messages. Numbers that are left out before them are skipped for every subscriber.
    /// Numbers that the mirror has passed already are dropped.
    pub(crate) fn publish(&self, run: NumberedRun) {
        for run in &run.runs {
            if let Run::Message(message) = run {
                self.channel.note_status_from(message, true);
            }
        }
        self.channel.hold();
        let bytes = run.bytes();
        self.channel
            .push(Entry::Numbered(Box::new(run.into_block())));
        let unsealed = self.unsealed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unsealed < ENOUGH_BYTES {
            self.channel.seal_soon();
        } else if self.channel.seal() {
            self.unsealed_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Waits while too much is unsealed because another thread seals. Returns at once otherwise.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(crate) async fn has_room(&self) {
        if self.unsealed_bytes.load(Ordering::Relaxed) > MAX_UNSEALED_BYTES {
            self.channel.sealed().await;
            self.unsealed_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Skips the messages up to number `seq`, which cannot be had, for every subscriber.
    pub(crate) fn skip_to(&self, seq: u64) {
        self.push(Entry::SkipTo(seq));
    }

    /// Shows the line that a process is still writing.
    pub(crate) fn show_partial(&self, text: &[u8]) {
        if self.channel.is_mirror() {
            self.channel.show_partial(text);
        }
    }

    /// Says whether the mirror has caught up with its source. Subscriptions with options are
    /// answered from then on.
    pub(crate) fn set_synced(&self, synced: bool) {
        self.push(Entry::Synced(synced));
    }

    fn push(&self, entry: Entry) {
        self.channel.push(entry);
        self.channel.seal_soon();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.registry.unpin(&self.channel);
    }
}
