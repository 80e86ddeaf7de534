//! Stages 1, 2 and 4: from a push to the outboxes of everybody who listens.
//!
//! ```text
//! publish ──▶ ingest ──▶ seal ──▶ block ──▶ (encode) ──▶ fan out ──▶ outboxes
//! join/leave ─┘  one queue, one order                    snapshot
//! ```
//!
//! Nobody waits for anybody: a publisher pushes and, if the hub's pace allows or much is waiting, tries to become the sealer. Whoever is
//! sealing while others push looks again before it stops.

mod alarm;
mod block;
mod client;
mod fanout;
mod history;
mod ingest;
mod look;
mod lossless;
mod pace;
mod publisher;
mod registry;
mod seal;
mod shared;
mod subscribers;
mod subscription;
mod ticker;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::encode::Envelope;
use crate::message::{ChannelName, Message, StatusReport};
use crate::protocol::{Range, SubscribeRefusal};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, lock};

pub use client::{Client, ClientId};
pub use lossless::Lossless;
pub use publisher::Publisher;

pub(crate) use block::Run;
pub(crate) use client::ClientKind;
pub(crate) use registry::{ChannelLimit, Registry};
pub(crate) use shared::HubShared;
pub(crate) use subscription::Subscription;

use block::{Block, Style};
use fanout::Tally;
use history::History;
use ingest::{Entry, Ingest};
use look::SealPass;
use seal::{ScheduleFlag, SealFlag, Underway};
use subscribers::{Change, Subscribers};

/// Seals one thread makes in a row because others kept asking, before it leaves the rest to the ticker: a publisher's call must end.
const SEALS_IN_A_ROW: usize = 4;

/// Lines in one batch frame at most: by then the envelope's share of a line is about a byte, and a queue's room is still used finely.
const MAX_BATCH_LINES: usize = 128;

/// What happens to a client whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// It is spared the message.
    Skip,
    /// It is disconnected (messages to all clients).
    Disconnect,
}

/// One channel: its queue of pushes, its numbering, its subscribers.
pub(crate) struct Channel {
    core: Arc<HubShared>,
    /// `None` for the channel of all clients, whose messages name no channel.
    name: Option<ChannelName>,
    style: Style,
    overflow: Overflow,
    ingest: Ingest,
    subscribers: Subscribers,
    /// Subscriptions that have joined: what publishers are told, and whether they need to push at all.
    listeners: AtomicUsize,
    /// Subscriptions and publisher handles: while there are any, the registry keeps the channel. Raised from 0 only under the registry's guard.
    pins: AtomicUsize,
    sealer: SealFlag,
    /// Raised while the ticker is to seal this channel.
    scheduled: ScheduleFlag,
    /// The number of the last message sealed. Written by the sealer alone.
    seq: AtomicU64,
    /// Messages published while nobody listened; they enter the numbering at the next join.
    unnumbered: AtomicU64,
    skipped: AtomicU64,
    /// The last blocks, when the hub keeps them. Locked by the sealer alone, so nobody ever waits for it.
    history: Option<Mutex<History>>,
    /// The registry keeps the channel for its history's sake.
    held: AtomicBool,
    /// Bytes the history holds.
    kept: AtomicUsize,
    /// When something was last published or replayed, in nanoseconds since the hub began.
    used: AtomicU64,
    /// When the flush that is due was asked for, by the same clock; 0 when none was. For reports alone.
    asked: AtomicU64,
    /// The last status published. Locked by those who publish a status and those who ask for it; no line comes here.
    status: Mutex<Option<StatusReport>>,
}

impl Channel {
    pub(crate) fn new(core: Arc<HubShared>, name: Option<ChannelName>, overflow: Overflow) -> Self {
        // The channel of all clients has neither latecomers nor options.
        let history = (name.is_some() && core.keeps_history()).then(Mutex::default);
        Self {
            style: Style {
                envelope: Envelope::new(name.as_ref()),
                epoch: core.epoch(),
                batch_lines: (core.config.queue / 2).clamp(1, MAX_BATCH_LINES),
            },
            history,
            held: AtomicBool::new(false),
            kept: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            core,
            name,
            overflow,
            ingest: Ingest::new(),
            subscribers: Subscribers::default(),
            listeners: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
            sealer: SealFlag::default(),
            scheduled: ScheduleFlag::default(),
            seq: AtomicU64::new(0),
            unnumbered: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            status: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> Option<&ChannelName> {
        self.name.as_ref()
    }

    /// The name of a channel whose subscriptions have options.
    fn known_name(&self) -> &ChannelName {
        self.name
            .as_ref()
            .expect("only channels with a name are subscribed to with options")
    }

    /// Names the numbering: another one begins with another channel of the same name.
    pub(crate) fn epoch(&self) -> &str {
        &self.style.epoch
    }

    /// The number of the last message sealed.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Bytes its history holds.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// When something was last published or replayed.
    fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a message published now reaches anybody, or is kept.
    pub(crate) fn is_wanted(&self) -> bool {
        self.history.is_some() || self.listeners() > 0
    }

    /// Whether what is published now waits for the hub's next flush.
    #[cfg(feature = "process")]
    pub(crate) fn is_paced(&self) -> bool {
        self.listeners() > 0 && self.core.ticker.pace.next() > self.core.ticker.now()
    }

    /// How many subscribers there are.
    pub(crate) fn listeners(&self) -> usize {
        // Acquire, paired with the AcqRel of `join`: who sees a subscriber here pushes after its join.
        self.listeners.load(Ordering::Acquire)
    }

    /// Messages published to this channel since it exists.
    pub(crate) fn published(&self) -> u64 {
        self.seq() + self.unnumbered.load(Ordering::Relaxed)
    }

    /// Messages x subscribers that were skipped.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The last status published, among those of several publishers the one that came here last.
    pub(crate) fn status(&self) -> Option<StatusReport> {
        lock(&self.status).clone()
    }

    fn note_status(&self, message: &Message) {
        if let Some(report) = message.status_report() {
            *lock(&self.status) = Some(report);
        }
    }

    /// The clients subscribed now.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        let snapshot = self.subscribers.snapshot();
        snapshot
            .iter()
            .filter(|s| !s.has_left())
            .map(|s| Arc::clone(&s.client))
            .collect()
    }

    /// Counts messages that need no push because nobody listens.
    pub(crate) fn count_unwatched(&self, messages: u64) {
        // Relaxed: a tally. It enters the numbering when a join finds the channel without subscribers.
        self.unnumbered.fetch_add(messages, Ordering::Relaxed);
    }

    /// Publishes a run of messages; answers how many subscribers there were. Never blocks, never waits for a socket.
    ///
    /// Costs a push, as a rule; when the pace allows it or much is waiting, a seal: one encoding, and a constant for each subscriber.
    pub(crate) fn publish(self: &Arc<Self>, run: Run) -> usize {
        if let Run::Message(message) = &run {
            self.note_status(message);
        }
        let listeners = self.listeners();
        let messages = run.messages();
        if messages == 0 || (listeners == 0 && self.history.is_none()) {
            self.count_unwatched(messages as u64);
            return listeners;
        }
        let waiting = self.ingest.push(Entry::Run(run), self.core.most_waiting);
        if self.history.is_some() {
            self.hold();
        }
        if waiting.exceeds(self.core.enough_waiting) {
            self.seal();
        } else {
            self.seal_soon();
        }
        listeners
    }

    /// Adds a subscriber: it gets every message pushed after this returned. True when it is the only one.
    pub(crate) fn join(self: &Arc<Self>, subscription: &Arc<Subscription>) -> bool {
        self.ingest.push(
            Entry::Join(Arc::clone(subscription)),
            self.core.most_waiting,
        );
        // AcqRel, after the push: a publisher that sees the new count pushes behind the join.
        let first = self.listeners.fetch_add(1, Ordering::AcqRel) == 0;
        self.seal_soon();
        first
    }

    /// Removes a subscriber: it gets nothing of what is pushed from now on, nor of what waits unsealed. True when it was the last.
    /// To be called once for each subscription.
    pub(crate) fn leave(self: &Arc<Self>, subscription: &Arc<Subscription>) -> bool {
        subscription.leave();
        let last = self.listeners.fetch_sub(1, Ordering::AcqRel) == 1;
        self.ingest.push(
            Entry::Leave(Arc::clone(subscription)),
            self.core.most_waiting,
        );
        self.seal_soon();
        last
    }

    /// What may still be offered to a subscriber that has left before this call; `None` when nothing more can be.
    pub(crate) fn offers_underway(self: &Arc<Self>) -> Option<OffersUnderway> {
        Some(OffersUnderway {
            underway: self.sealer.underway()?,
            channel: Arc::clone(self),
        })
    }

    /// Gives a subscriber what it is owed, now that it has room.
    pub(crate) fn resume(self: &Arc<Self>, subscription: &Arc<Subscription>) {
        self.ingest.push(
            Entry::Resume(Arc::clone(subscription)),
            self.core.most_waiting,
        );
        self.seal();
    }

    /// Sends a subscriber a range of messages again.
    pub(crate) fn refetch(self: &Arc<Self>, subscription: &Arc<Subscription>, range: Range) {
        self.ingest.push(
            Entry::Refetch(Arc::clone(subscription), range),
            self.core.most_waiting,
        );
        self.seal();
    }

    /// Drops what is too old.
    pub(crate) fn trim(self: &Arc<Self>) {
        self.ingest.push(Entry::Trim, self.core.most_waiting);
        self.seal();
    }

    /// Drops the history.
    fn forget(self: &Arc<Self>) {
        self.ingest.push(Entry::Forget, self.core.most_waiting);
        self.seal();
    }

    /// Has the channel sealed: now if the pace allows it, else at the next tick.
    fn seal_soon(self: &Arc<Self>) {
        if !self.scheduled.raise() {
            return;
        }
        let ticker = &self.core.ticker;
        let now = ticker.now();
        self.asked.store(now, Ordering::Relaxed);
        if ticker.pace.next() <= now || !ticker.is_running() {
            self.seal_scheduled();
        } else {
            ticker.schedule(Arc::clone(self));
        }
    }

    /// Seals what raised `scheduled`.
    fn seal_scheduled(self: &Arc<Self>) {
        self.scheduled.lower();
        self.seal();
    }

    /// Seals what waits and answers true, unless somebody is sealing: then that one will look again.
    pub(crate) fn seal(self: &Arc<Self>) -> bool {
        let Some(mut answered) = self.sealer.request() else {
            return false;
        };
        let mut seals = 0;
        while seals < SEALS_IN_A_ROW || !self.core.ticker.is_running() {
            self.seal_once();
            seals += 1;
            match self.sealer.done(answered) {
                None => return true,
                Some(more) => answered = more,
            }
        }
        // Others keep pushing. The flag is given up first, so that either the ticker or the next publisher finds it free.
        self.sealer.give_up(answered);
        if self.scheduled.raise() {
            self.core.ticker.schedule(Arc::clone(self));
        }
        true
    }

    /// Has everything sealed that was pushed before. Waits where somebody else is sealing, and not for what is pushed meanwhile.
    pub(crate) async fn sealed(self: &Arc<Self>) {
        let looks = self.sealer.looks();
        while !self.seal() && self.sealer.looks().wrapping_sub(looks) < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// What a subscription with options is owed, as the sealer.
    fn owed(&self, subscription: &Arc<Subscription>, refetch: Option<Range>, tally: &mut Tally) {
        if let Some(tracked) = subscription.tracked()
            && !subscription.has_left()
        {
            let mut state = tracked.state();
            if let Some(range) = refetch
                && !state.ask_again(range, self.seq() + 1)
            {
                self.refuse(subscription, SubscribeRefusal::Ranges, tally);
            }
            self.used.store(self.core.ticker.now(), Ordering::Relaxed);
            self.catch_up(subscription, tracked, &mut state, tally);
        }
    }

    fn lock_history(&self) -> Option<MutexGuard<'_, History>> {
        // A panic while it was held leaves a history that is still whole: each change is one insertion or removal.
        self.history.as_ref().map(lock)
    }

    /// Changes the history, as the sealer. A channel with a history stays; one without, nobody on it and nobody publishing goes.
    fn change_history(self: &Arc<Self>, change: impl FnOnce(&mut History) -> history::Change) {
        let Some(mut history) = self.lock_history() else {
            return;
        };
        let change = change(&mut history);
        let is_empty = history.is_empty();
        drop(history);
        self.charge_history(change);
        // Also when it was empty before: it may have been held since for what then was not kept.
        if is_empty && self.is_held() {
            self.let_go();
        }
    }

    /// Has the registry keep the channel for what was pushed, which its history will hold. For publishers, who pin the channel meanwhile.
    ///
    /// AcqRel swaps of `held`, all in one modification order: a publisher that finds it true comes before the swap in `let_go`, which then sees
    /// the push.
    fn hold(&self) {
        if !self.held.swap(true, Ordering::AcqRel) {
            // Relaxed: the publisher's own pin keeps the channel in the registry until this one counts.
            self.pins.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the registry keeps the channel for its history's sake. Relaxed: a hint, for those who look again.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// The history is empty: the channel goes unless more is on its way to it, somebody is on it or has a handle. As the sealer.
    fn let_go(self: &Arc<Self>) {
        if !self.held.swap(false, Ordering::AcqRel) {
            return;
        }
        if self.ingest.len() > 0 && !self.held.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(registry) = self.core.registry() {
            registry.unpin(self);
        }
    }

    fn charge_history(&self, change: history::Change) {
        if change != 0 {
            self.kept.fetch_add(change as usize, Ordering::Relaxed);
            self.core.charge_history(change);
        }
    }

    /// Numbers what was published to nobody, as the sealer, before somebody joins. Not while anybody listens: for those the numbering has no
    /// hole that they were not told of.
    fn number_unheard(&self, changes: &mut Vec<Change>) {
        if self.unnumbered.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.subscribers.apply(changes);
        if !self.subscribers.load().is_empty() {
            return;
        }
        // Relaxed, both: only the sealer writes `seq`, and its flag orders one sealer's writes before the next one's reads.
        let unnumbered = self.unnumbered.swap(0, Ordering::Relaxed);
        self.seq.store(
            self.seq.load(Ordering::Relaxed) + unnumbered,
            Ordering::Relaxed,
        );
    }

    /// Numbers a block, keeps it if there is a history, and fans it out, as the sealer. Leaves an empty block behind.
    ///
    /// Linear in subscribers; an encoding is made when the first of those who want it has room.
    fn deliver(self: &Arc<Self>, look: &mut SealPass) {
        if look.block.is_empty() {
            return;
        }
        self.subscribers.apply(&mut look.changes);
        let mut block = std::mem::replace(&mut look.block, Block::with_capacity(0));
        let (first, now) = (self.seq() + 1, self.core.ticker.now());
        look.begin(first, block.len());
        block.seal(first, HubShared::timestamp(), now);
        // Relaxed: only the sealer writes it, and its flag orders one sealer's writes before the next one's reads.
        self.seq.store(block.last_seq(), Ordering::Relaxed);
        self.core.totals.count_block(block.len());
        if self.history.is_none() {
            self.fan_out(&block, &mut look.tally);
            return look.end();
        }
        self.used.store(now, Ordering::Relaxed);
        let block = Arc::new(block);
        self.change_history(|history| history.append(Arc::clone(&block), self.core.keep, now));
        self.fan_out(&block, &mut look.tally);
        look.end();
        self.change_history(|history| history.settle(&block));
    }

    fn fan_out(&self, block: &Block, tally: &mut Tally) {
        for subscription in self.subscribers.load().iter().filter(|s| self.reaches(s)) {
            self.offer(subscription, block, tally);
        }
    }

    /// Whether a subscription gets what this channel delivers. A stream over HTTP is one of all clients, and carries its own channel alone.
    fn reaches(&self, subscription: &Subscription) -> bool {
        !subscription.has_left()
            && (self.name.is_some() || subscription.client.speaks() == ClientKind::WebSocket)
    }
}

/// A look of a channel's sealer that may not have seen that a subscriber has left.
#[derive(Debug)]
pub(crate) struct OffersUnderway {
    channel: Arc<Channel>,
    underway: Underway,
}

impl OffersUnderway {
    /// Whether it has ended, so that nothing more is offered to that subscriber.
    pub(crate) fn are_over(&self) -> bool {
        self.channel.sealer.is_over(&self.underway)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("name", &self.name)
            .field("listeners", &self.listeners())
            .field("published", &self.published())
            .field("skipped", &self.skipped())
            .finish_non_exhaustive()
    }
}
