//! A hub as its backplane sees it.

use std::sync::Arc;

use super::{ForwardedOrder, ListedProcess, OrderError, ProcessSlot};
use crate::channel::{HubShared, Interest, Registry, Run, mirror};
use crate::encode::Timestamp;
use crate::message::{ChannelName, Lines, Message};

/// A hub whose channels are mirrors: which of them have subscribers, and the way to feed them.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<HubShared>,
    registry: Arc<Registry>,
    everyone: Arc<crate::channel::Channel>,
    processes: ProcessSlot,
    id: Arc<str>,
}

/// There are as many channels as allowed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there are as many channels as allowed")]
pub struct MirrorLimit;

impl Node {
    pub(crate) fn new(
        shared: Arc<HubShared>,
        registry: Arc<Registry>,
        everyone: Arc<crate::channel::Channel>,
        processes: ProcessSlot,
        id: Arc<str>,
    ) -> Self {
        Self {
            shared,
            registry,
            everyone,
            processes,
            id,
        }
    }

    /// Returns the id of this node: random letters and digits, new with each hub.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn interest(&self) -> &Interest {
        let interest = self.shared.interest.as_ref();
        interest.expect("a hub with a backplane has mirrors")
    }

    /// Waits until some channels got their first subscriber or lost their last one, and returns
    /// their names. [`Node::subscribers`] tells which it was.
    ///
    /// # Cancel safety
    /// This method is cancel safe. A change is not lost if the future is dropped.
    pub async fn changes(&self) -> Vec<ChannelName> {
        self.interest().changes().await.into_iter().collect()
    }

    /// Returns the number of subscribers that a channel has now.
    pub fn subscribers(&self, channel: &ChannelName) -> usize {
        self.registry
            .find(channel.as_str())
            .map_or(0, |channel| channel.listeners())
    }

    /// Returns how many messages of each channel the hub keeps.
    pub fn history(&self) -> usize {
        self.shared.config.history
    }

    /// Creates the handle that feeds a channel. There must be one at a time for each channel.
    ///
    /// # Errors
    /// When the channel does not exist and there are as many others as allowed.
    pub fn mirror(&self, channel: &ChannelName) -> Result<Mirror, MirrorLimit> {
        mirror::Mirror::new(Arc::clone(&self.registry), channel)
            .map(Mirror)
            .map_err(|_| MirrorLimit)
    }

    /// Tells those who wait for a new list of channels that the [`Directory`] has one.
    ///
    /// [`Directory`]: super::Directory
    pub fn list_changed(&self) {
        self.shared.listing.change();
    }

    /// Returns the processes that a supervisor runs beside this hub, for the lists of other nodes.
    pub fn processes(&self) -> Vec<ListedProcess> {
        self.processes.list()
    }

    /// Gives an order of another node to a process beside this hub. Returns whether it was
    /// accepted.
    ///
    /// # Errors
    /// If there is no such process here, or if it may not be controlled.
    pub fn carry_out(&self, order: &ForwardedOrder) -> Result<bool, OrderError> {
        self.processes.order(order)
    }

    /// Sends a message to every client of the hub, as [`Hub::broadcast`](crate::Hub::broadcast)
    /// does.
    pub fn broadcast(&self, message: Message) {
        self.everyone.publish(Run::Message(Box::new(message)));
    }
}

/// Feeds one channel with messages that were numbered elsewhere.
///
/// The channel exists as long as its mirror does. No subscription is answered before
/// [`Mirror::set_synced`].
#[derive(Debug)]
pub struct Mirror(mirror::Mirror);

impl Mirror {
    /// Starts a numbering, of which the mirror will have what comes after number `seq`. Open
    /// subscriptions with options are told of it. The history of the earlier numbering is dropped.
    pub fn renumber(&self, epoch: &str, seq: u64) {
        self.0.renumber(epoch.to_owned(), seq);
    }

    /// Delivers messages to the subscribers. Numbers that are left out before them are skipped,
    /// and numbers that the mirror has passed already are dropped.
    pub fn publish(&self, run: NumberedRun) {
        self.0.publish(run.0);
    }

    /// Skips the messages up to number `seq`, which cannot be had.
    pub fn skip_to(&self, seq: u64) {
        self.0.skip_to(seq);
    }

    /// Shows the line that a process is still writing to subscriptions with `partial`. An empty
    /// text says that there is none any more.
    pub fn show_partial(&self, text: &[u8]) {
        self.0.show_partial(text);
    }

    /// Says whether the mirror has caught up with its home. Subscriptions are answered from then
    /// on.
    pub fn set_synced(&self, synced: bool) {
        self.0.set_synced(synced);
    }

    /// Waits while the hub cannot keep up with what is published here.
    ///
    /// # Cancel safety
    /// This method is cancel safe.
    pub async fn has_room(&self) {
        self.0.has_room().await;
    }

    /// Returns the number of subscribers that the channel has now.
    pub fn subscribers(&self) -> usize {
        self.0.listeners()
    }
}

/// Consecutive messages of one channel, with the number and the time that their home gave them.
#[derive(Debug)]
pub struct NumberedRun(mirror::NumberedRun);

impl NumberedRun {
    /// Creates a run of lines. The first one has number `first_seq`. `unix_ms` is the time in
    /// milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Panics
    /// Panics when there is no line, or when `first_seq` is 0.
    pub fn lines(first_seq: u64, unix_ms: i64, lines: Lines) -> Self {
        assert!(!lines.is_empty(), "a run of lines has a line");
        Self::new(first_seq, unix_ms, Run::Lines(lines))
    }

    /// Creates a run of one message of any type.
    ///
    /// # Panics
    /// Panics when `seq` is 0.
    pub fn message(seq: u64, unix_ms: i64, message: Message) -> Self {
        Self::new(seq, unix_ms, Run::Message(Box::new(message)))
    }

    fn new(first_seq: u64, unix_ms: i64, run: Run) -> Self {
        assert!(first_seq > 0, "messages are numbered from 1");
        let timestamp = Timestamp::from_unix_millis(unix_ms);
        Self(mirror::NumberedRun::new(first_seq, timestamp, run))
    }

    /// Returns the number of the first message.
    pub fn first_seq(&self) -> u64 {
        self.0.first_seq()
    }

    /// Returns the number of the last message.
    pub fn last_seq(&self) -> u64 {
        self.0.last_seq()
    }

    /// Returns the size of the messages in bytes, without their encoding.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Drops the messages up to number `last_seq`. Returns `None` if none is left.
    pub fn after(self, last_seq: u64) -> Option<Self> {
        self.0.after(last_seq).map(Self)
    }
}
