//! A hub as its backplane sees it.

use std::sync::Arc;

use super::{
    Exported, ForwardedOrder, Home, ListedProcess, LocalRuns, NumberedRun, Numbering, OrderError,
    ProcessSlot,
};
use crate::channel::{HubShared, Interest, Origin, Registry, Run, Sharing, home, mirror};
use crate::message::{ChannelName, Message};
use crate::stats::ChannelStats;

/// A hub whose channels are mirrors or homes: which of them have subscribers, and the way to feed
/// them.
///
/// # Panics
/// The methods about homes and about messages for other nodes are for a backplane that
/// [shares](super::Backplane::shares). With any other one they panic, except that
/// [`Node::take_pending`] returns nothing and [`Node::homes`] lists nothing.
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

/// There are as many channels as allowed, so that none more can become a home.
#[derive(Debug, thiserror::Error)]
#[error("there are as many channels as allowed")]
pub struct HomeLimit {
    /// The messages that were to be published first.
    pub first: LocalRuns,
}

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

    fn sharing(&self) -> &Sharing {
        let sharing = self.shared.sharing.as_ref();
        sharing.expect("the hub's backplane shares its channels")
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

    /// Returns how many bytes a message may have with its envelope and escapes.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn max_outgoing_message(&self) -> usize {
        self.shared.config.max_outgoing_message
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

    /// Waits until some channels have messages that were published here and have no home here, and
    /// returns their names.
    ///
    /// A name is a hint to call [`Node::take_pending`] or [`Node::home`]. It comes once, whatever was
    /// published since, and again when more is published later.
    ///
    /// # Cancel safety
    /// This method is cancel safe. No name is lost if the future is dropped.
    pub async fn pending(&self) -> Vec<ChannelName> {
        self.sharing().pending.changes().await.into_iter().collect()
    }

    /// Takes the oldest messages that were published here to a channel whose home is elsewhere:
    /// about `most_bytes` bytes at most, and at least one message. Returns `None` when none wait, or
    /// when the channel's home is here.
    ///
    /// Messages that are taken by later calls were published later.
    ///
    /// # Cancel safety
    /// Messages are not lost if the future is dropped: they are the first to be taken again.
    pub async fn take_pending(
        &self,
        channel: &ChannelName,
        most_bytes: usize,
    ) -> Option<LocalRuns> {
        let channel = self.registry.find(channel.as_str())?;
        let taken = channel.take_pending(most_bytes).await;
        (!taken.is_empty()).then_some(LocalRuns(taken))
    }

    /// Gives back messages that the home did not accept. They are the first to be taken again. What
    /// was taken in several calls is given back in the reverse order.
    ///
    /// If the channel's home is here by now, they are numbered at once.
    pub fn give_back(&self, channel: &ChannelName, runs: LocalRuns) {
        // The messages were accepted once, so no limit refuses them now.
        let channel = self.registry.pin(channel);
        channel.give_back(runs.0);
        self.registry.unpin(&channel);
    }

    /// Makes a channel a home: from this call on this hub numbers its messages. `first`, in its
    /// order, and then all messages that wait are numbered before anything that is published later.
    ///
    /// Subscriptions that waited for a home are answered. What a [`Mirror`] of the channel is told
    /// while it is a home has no effect. There must be one home at a time for each channel.
    ///
    /// # Errors
    /// When the channel does not exist and there are as many others as allowed. `first` is given
    /// back in the error.
    pub fn home(
        &self,
        channel: &ChannelName,
        numbering: Numbering,
        first: Vec<LocalRuns>,
    ) -> Result<Home, HomeLimit> {
        self.make_home(channel, numbering, first, false)
    }

    /// Makes a channel a home as [`Node::home`] does, and has its blocks exported from the first
    /// one on, as [`Home::set_exported`] does later.
    ///
    /// # Errors
    /// As [`Node::home`].
    pub fn exported_home(
        &self,
        channel: &ChannelName,
        numbering: Numbering,
        first: Vec<LocalRuns>,
    ) -> Result<Home, HomeLimit> {
        self.make_home(channel, numbering, first, true)
    }

    fn make_home(
        &self,
        channel: &ChannelName,
        numbering: Numbering,
        first: Vec<LocalRuns>,
        is_exported: bool,
    ) -> Result<Home, HomeLimit> {
        let registry = Arc::clone(&self.registry);
        let runs = first.into_iter().flat_map(|runs| runs.0).collect();
        home::Home::new(registry, channel, numbering.into(), runs, is_exported)
            .map(Home::new)
            .map_err(|runs| HomeLimit {
                first: LocalRuns(runs),
            })
    }

    /// Waits for what this hub has for other nodes, and returns it, the oldest first.
    ///
    /// At most 8 MiB wait to be taken. Beyond that the oldest are dropped whole and counted.
    ///
    /// # Cancel safety
    /// This method is cancel safe. Dropping the future takes nothing.
    pub async fn exported(&self) -> Exported {
        Exported::new(self.sharing().exported().await)
    }

    /// Returns what this hub has for other nodes already, if there is anything.
    pub fn try_exported(&self) -> Option<Exported> {
        self.sharing().try_exported().map(Exported::new)
    }

    /// Waits until the hub shuts down. Its channels are to be left to other nodes then, before
    /// [`Node::has_left`] is called. What was published before is exported by then, unless that
    /// took too long.
    ///
    /// # Cancel safety
    /// This method is cancel safe.
    pub async fn is_leaving(&self) {
        self.sharing().is_leaving().await;
    }

    /// Says that the other nodes were told that this one ends. The hub that shuts down waits for
    /// it, at most 2 s.
    pub fn has_left(&self) {
        self.sharing().has_left();
    }

    /// Says whether other nodes can be reached. A hub that shuts down does not wait for messages
    /// that cannot leave.
    pub fn set_connected(&self, connected: bool) {
        self.sharing().set_connected(connected);
    }

    /// Returns the channels whose home is here and that have subscribers, a history or a status.
    pub fn homes(&self) -> Vec<ChannelStats> {
        let channels = self.registry.all();
        let homes = channels.iter().filter(|channel| channel.is_home());
        homes.filter_map(|channel| channel.report()).collect()
    }

    /// Returns the counters of a channel if its home is here and it has subscribers, a history or a
    /// status.
    pub fn home_stats(&self, channel: &ChannelName) -> Option<ChannelStats> {
        let channel = self.registry.find(channel.as_str())?;
        channel.is_home().then(|| channel.report()).flatten()
    }

    /// Waits until [`Node::home_stats`] of some channels has another status, or begins or ends to
    /// exist, and returns their names. Counters alone are no change.
    ///
    /// # Cancel safety
    /// This method is cancel safe. A change is not lost if the future is dropped.
    pub async fn home_changes(&self) -> Vec<ChannelName> {
        self.sharing().listed.changes().await.into_iter().collect()
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
    /// does. It is not exported.
    pub fn broadcast(&self, message: Message) {
        if self.shared.sharing.is_some() {
            let timestamp = HubShared::timestamp();
            self.everyone.import(message, timestamp, Origin::Node);
        } else {
            self.everyone.publish(Run::Message(Box::new(message)));
        }
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

    /// Returns the epoch and the number of the last message that was published or skipped, as far as
    /// the hub has got.
    pub fn numbering(&self) -> (String, u64) {
        let (epoch, seq) = self.0.position();
        (epoch.to_string(), seq)
    }

    /// Returns the number of subscribers that the channel has now.
    pub fn subscribers(&self) -> usize {
        self.0.listeners()
    }
}
