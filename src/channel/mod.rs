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
mod core;
mod ingest;
mod pace;
mod publisher;
mod registry;
mod seal;
mod subscribers;
mod subscription;
mod ticker;

use std::fmt;
use std::sync::Arc;

use crate::encode::Envelope;
use crate::message::ChannelName;
use crate::outbox::Offered;
use crate::reason::CloseReason;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

pub use client::{Client, ClientId};
pub use publisher::Publisher;

pub(crate) use self::core::Core;
pub(crate) use block::Run;
pub(crate) use registry::Registry;
pub(crate) use subscription::Subscription;

use block::Block;
use ingest::{Entry, Ingest, Waiting};
use seal::{ScheduleFlag, SealFlag};
use subscribers::{Change, Subscribers};

/// Seals one thread makes in a row because others kept asking, before it leaves the rest to the ticker: a publisher's call must end.
const SEALS_IN_A_ROW: usize = 4;

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
    core: Arc<Core>,
    /// `None` for the channel of all clients, whose messages name no channel.
    name: Option<ChannelName>,
    envelope: Envelope,
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
    unheard: AtomicU64,
    skipped: AtomicU64,
}

impl Channel {
    pub(crate) fn new(core: Arc<Core>, name: Option<ChannelName>, overflow: Overflow) -> Self {
        Self {
            envelope: Envelope::new(name.as_ref()),
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
            unheard: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    pub(crate) fn name(&self) -> Option<&ChannelName> {
        self.name.as_ref()
    }

    /// How many subscribers there are.
    pub(crate) fn listeners(&self) -> usize {
        // Acquire, paired with the AcqRel of `join`: who sees a subscriber here pushes after its join.
        self.listeners.load(Ordering::Acquire)
    }

    /// Messages published to this channel since it exists.
    pub(crate) fn published(&self) -> u64 {
        self.seq.load(Ordering::Relaxed) + self.unheard.load(Ordering::Relaxed)
    }

    /// Messages x subscribers that were skipped.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The clients subscribed now.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        let snapshot = self.subscribers.snapshot();
        snapshot.iter().filter(|s| !s.has_left()).map(|s| Arc::clone(&s.client)).collect()
    }

    /// Counts messages that need no push because nobody listens.
    pub(crate) fn pass_over(&self, messages: u64) {
        // Relaxed: a tally. It enters the numbering when a join finds the channel without subscribers.
        self.unheard.fetch_add(messages, Ordering::Relaxed);
    }

    /// Publishes a run of messages; answers how many subscribers there were. Never blocks, never waits for a socket.
    ///
    /// Costs a push, as a rule; when the pace allows it or much is waiting, a seal: one encoding, and a constant for each subscriber.
    pub(crate) fn publish(self: &Arc<Self>, run: Run) -> usize {
        let listeners = self.listeners();
        let messages = run.messages();
        if listeners == 0 || messages == 0 {
            self.pass_over(messages as u64);
            return listeners;
        }
        let waiting = self.ingest.push(Entry::Run(run), self.core.most_waiting);
        if waiting.exceeds(self.core.enough_waiting) {
            self.seal();
        } else {
            self.seal_soon();
        }
        listeners
    }

    /// Adds a subscriber: it gets every message pushed after this returned. True when it is the only one.
    pub(crate) fn join(self: &Arc<Self>, subscription: &Arc<Subscription>) -> bool {
        self.ingest.push(Entry::Join(Arc::clone(subscription)), self.core.most_waiting);
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
        self.ingest.push(Entry::Leave(Arc::clone(subscription)), self.core.most_waiting);
        self.seal_soon();
        last
    }

    /// Has the channel sealed: now if the pace allows it, else at the next tick.
    fn seal_soon(self: &Arc<Self>) {
        if !self.scheduled.raise() {
            return;
        }
        let ticker = &self.core.ticker;
        if ticker.pace.next() <= ticker.now() || !ticker.is_running() {
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
        let Some(mut answered) = self.sealer.request() else { return false };
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

    /// One seal, as the sealer.
    fn seal_once(&self) {
        let mut entries = self.ingest.len();
        let mut block = Block::with_capacity(entries.min(1024));
        let mut taken = Waiting::default();
        let mut changes = Vec::new();
        let mut woken = 0;
        while entries > 0
            && let Some(entry) = self.ingest.pop()
        {
            entries -= 1;
            match entry {
                Entry::Run(run) => {
                    self.subscribers.apply(&mut changes);
                    taken += Waiting { messages: run.messages(), bytes: run.bytes() };
                    block.push(run);
                }
                Entry::Join(subscription) => {
                    woken += self.deliver(std::mem::take(&mut block));
                    self.number_unheard(&mut changes);
                    changes.push(Change::Join(subscription));
                }
                Entry::Leave(subscription) => {
                    woken += self.deliver(std::mem::take(&mut block));
                    changes.push(Change::Leave(subscription));
                }
                Entry::Overflowed(messages) => {
                    self.subscribers.apply(&mut changes);
                    woken += self.deliver(std::mem::take(&mut block));
                    self.skip_for_all(messages);
                }
            }
        }
        self.subscribers.apply(&mut changes);
        self.ingest.release(taken);
        woken += self.deliver(block);
        let overflowed = self.ingest.take_overflowed();
        if overflowed > 0 {
            self.skip_for_all(overflowed);
        }
        self.core.ticker.pace.spent(self.core.ticker.now(), woken);
    }

    /// Numbers what was published to nobody, as the sealer, before somebody joins. Not while anybody listens: for those the numbering has no
    /// hole that they were not told of.
    fn number_unheard(&self, changes: &mut Vec<Change>) {
        if self.unheard.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.subscribers.apply(changes);
        if !self.subscribers.load().is_empty() {
            return;
        }
        // Relaxed, both: only the sealer writes `seq`, and its flag orders one sealer's writes before the next one's reads.
        let unheard = self.unheard.swap(0, Ordering::Relaxed);
        self.seq.store(self.seq.load(Ordering::Relaxed) + unheard, Ordering::Relaxed);
    }

    /// Fans a block out, as the sealer; answers how many sleeping writers it woke.
    ///
    /// Linear in subscribers; the encoding is made when the first of them has room.
    fn deliver(&self, block: Block) -> usize {
        if block.is_empty() {
            return 0;
        }
        let messages = block.len();
        self.seq.store(self.seq.load(Ordering::Relaxed) + messages as u64, Ordering::Relaxed);
        let timestamp = Core::timestamp();
        let mut woken = 0;
        let mut tally = Tally::default();
        for subscription in self.subscribers.load().iter().filter(|s| !s.has_left()) {
            let client = &subscription.client;
            let skipped_whole = block.reserved().is_empty() && client.outbox.is_full();
            let offered = if skipped_whole {
                Offered::Accepted { messages: 0, woke: false }
            } else {
                client.outbox.offer(block.frames(&self.envelope, &timestamp), block.reserved())
            };
            tally.offered += messages as u64;
            match offered {
                Offered::Closed => tally.discarded += messages as u64,
                Offered::Accepted { messages: accepted, woke } => {
                    woken += usize::from(woke);
                    self.settle(client, (messages - accepted) as u64, &mut tally);
                }
            }
        }
        self.report(tally);
        woken
    }

    /// Messages that no queue could take any more, as the sealer: they keep their numbers and are skipped for everybody.
    fn skip_for_all(&self, messages: u64) {
        self.seq.store(self.seq.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
        let mut tally = Tally::default();
        for subscription in self.subscribers.load().iter().filter(|s| !s.has_left()) {
            tally.offered += messages;
            self.settle(&subscription.client, messages, &mut tally);
        }
        self.report(tally);
    }

    /// What a client could not take is counted, and ends the connection where the channel says so.
    fn settle(&self, client: &Client, skipped: u64, tally: &mut Tally) {
        if skipped == 0 {
            return;
        }
        tally.skipped += skipped;
        client.count_skipped(skipped);
        if self.overflow == Overflow::Disconnect {
            client.outbox.ask_to_close(CloseReason::Overflow);
        }
    }

    fn report(&self, tally: Tally) {
        self.skipped.fetch_add(tally.skipped, Ordering::Relaxed);
        self.core.totals.count_block(tally.offered, tally.skipped, tally.discarded);
    }
}

/// What became of one block, in messages x subscribers.
#[derive(Default)]
struct Tally {
    offered: u64,
    skipped: u64,
    discarded: u64,
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
