//! One pass of the sealer over what waits: from the queue to blocks, and to the changes between
//! them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::block::Block;
use super::ingest::{Entry, Origin, Waiting};
use super::pending::PendingRun;
use super::sealer::Sealer;
use super::shared::HubShared;
use super::subscribers::MembershipChange;
use super::subscription::Subscription;
use super::tally::Tally;
use crate::encode::Timestamp;

/// What the sealer has in hand during one pass. It outlives a panic in the pass.
pub(super) struct SealPass {
    pub(super) block: Block,
    pub(super) changes: Vec<MembershipChange>,
    pub(super) tally: Tally,
    /// Room of the queue that was taken and not released yet.
    pub(super) taken: Waiting,
    /// Messages in a row that found no room in the queue.
    pub(super) overflowed: u64,
    /// An entry that was taken from the queue, to be handled once the block before it is delivered.
    pub(super) next: Option<Entry>,
    /// The time at which the flush was asked for. 0 when it was not, or when this is not the
    /// flush's first pass.
    asked: u64,
    pub(super) delivering: Option<Delivering>,
    /// What waited for a home and is being numbered.
    pub(super) waited: VecDeque<PendingRun>,
}

/// A block that is being delivered.
#[derive(Clone, Copy)]
pub(super) struct Delivering {
    pub(super) first: u64,
    pub(super) messages: u64,
    /// The number of subscribers that were offered something before it.
    pub(super) reached: usize,
}

impl SealPass {
    /// Begins a pass over this many entries.
    pub(super) fn new(entries: usize, asked: u64) -> Self {
        Self {
            block: Block::with_capacity(entries.min(1024)),
            changes: Vec::new(),
            tally: Tally::default(),
            taken: Waiting::default(),
            overflowed: 0,
            next: None,
            asked,
            delivering: None,
            waited: VecDeque::new(),
        }
    }

    /// Seals the entry in hand, if there is one, and as many entries of the queue.
    pub(super) fn run(&mut self, sealer: &Sealer<'_>, mut entries: usize) {
        if let Some(entry) = self.next.take() {
            self.between(sealer, entry);
        }
        while entries > 0
            && let Some(entry) = sealer.pop()
        {
            entries -= 1;
            if let Entry::Run(run) = entry {
                // A row of overflows is one gap, and one round of the subscribers.
                if self.overflowed > 0 {
                    self.skip_for_all(sealer);
                }
                self.taken += Waiting {
                    messages: run.messages(),
                    bytes: run.bytes(),
                };
                self.block.push(run);
            } else {
                self.between(sealer, entry);
            }
        }
        self.deliver(sealer);
        self.finish(sealer);
    }

    /// Handles an entry whose place is between two blocks.
    fn between(&mut self, sealer: &Sealer<'_>, entry: Entry) {
        // Kept in the pass, so that it is not lost with a block that panics.
        let entry = self.next.insert(entry);
        let overflows = matches!(entry, Entry::Overflowed(_) | Entry::Overflowing(_));
        self.deliver(sealer);
        if self.overflowed > 0 && !overflows {
            self.skip_for_all(sealer);
        }
        match self.next.take() {
            None | Some(Entry::Run(_)) => unreachable!("it was put there above, and is no run"),
            Some(Entry::Overflowed(messages)) => self.overflowed += messages,
            Some(Entry::Overflowing(row)) => self.overflowed += sealer.end_overflow(row),
            Some(Entry::Join(subscription)) => {
                if let Some(subscription) = sealer.defer(subscription) {
                    self.join(sealer, subscription);
                }
            }
            Some(Entry::Leave(subscription)) => {
                if !sealer.withdraw(&subscription) {
                    self.changes.push(MembershipChange::Leave(subscription));
                }
            }
            Some(Entry::Resume(subscription)) => sealer.catch_up(&subscription, &mut self.tally),
            Some(Entry::Refetch(subscription, range)) => {
                sealer.refetch(&subscription, range, &mut self.tally);
            }
            Some(Entry::Imported(block, origin)) => self.imported(sealer, *block, origin),
            Some(Entry::Forwarded(block)) => self.forwarded(sealer, *block),
            Some(Entry::Role(change)) => self.change_role(sealer, *change),
            Some(
                entry @ (Entry::Numbered(_)
                | Entry::Renumber(_)
                | Entry::SkipTo(_)
                | Entry::Synced(_)),
            ) => {
                // A home numbers its messages itself.
                if sealer.channel().is_mirror() {
                    self.follow(sealer, entry);
                }
            }
            Some(Entry::Ping(client)) => sealer.answer_ping(client),
            Some(Entry::Partial) => {
                sealer.apply(&mut self.changes);
                sealer.show_partial(&mut self.tally);
                sealer.export_partial();
            }
            Some(Entry::Read(reading)) => sealer.read(*reading),
            Some(Entry::Trim) => sealer.trim(),
            Some(Entry::Forget) => sealer.forget(),
        }
    }

    /// Does what the source of a mirror says.
    fn follow(&mut self, sealer: &Sealer<'_>, entry: Entry) {
        match entry {
            Entry::Numbered(block) => self.mirrored(sealer, *block),
            Entry::Renumber(renumbering) => {
                sealer.apply(&mut self.changes);
                sealer.renumber(*renumbering, &mut self.tally);
            }
            Entry::SkipTo(seq) => self.skip_to(sealer, seq),
            Entry::Synced(true) => {
                self.synced(sealer);
                sealer.answer_pings();
            }
            Entry::Synced(false) => {
                sealer.set_synced(false);
            }
            _ => {}
        }
    }

    /// Has the subscriptions join that waited for a mirror's source or for a home.
    pub(super) fn synced(&mut self, sealer: &Sealer<'_>) {
        for subscription in sealer.set_synced(true) {
            self.join(sealer, subscription);
        }
        sealer.apply(&mut self.changes);
        sealer.catch_up_all(&mut self.tally);
    }

    /// Numbers the block in hand, keeps it if there is a history, and fans it out. Leaves an empty
    /// block behind.
    ///
    /// Linear in subscribers. An encoding is made when the first of its subscribers has room.
    fn deliver(&mut self, sealer: &Sealer<'_>) {
        if self.block.is_empty() {
            return;
        }
        let block = std::mem::replace(&mut self.block, Block::with_capacity(0));
        let channel = sealer.channel();
        if channel.is_mirror() {
            // Its numbers belong to its source.
            return self.set_aside(sealer, block, true);
        }
        self.broadcast(sealer, &block);
        let timestamp = HubShared::timestamp();
        if let Some(exports) = &channel.shared.exports {
            exports.offer(channel.name(), timestamp, block.runs().to_vec());
        }
        self.deliver_block(sealer, block, channel.seq() + 1, timestamp);
    }

    /// Numbers and delivers messages of a bridge, with their own time.
    fn imported(&mut self, sealer: &Sealer<'_>, block: Block, origin: Origin) {
        self.taken += block.waiting();
        let channel = sealer.channel();
        if channel.is_mirror() {
            return self.set_aside(sealer, block, false);
        }
        if origin == Origin::Bridge {
            self.broadcast(sealer, &block);
        }
        let timestamp = *block.timestamp();
        self.deliver_block(sealer, block, channel.seq() + 1, timestamp);
    }

    /// Numbers and delivers messages that were published on another node. The bridge of that node
    /// has them already.
    fn forwarded(&mut self, sealer: &Sealer<'_>, block: Block) {
        self.taken += block.waiting();
        let channel = sealer.channel();
        if channel.is_mirror() {
            return self.set_aside(sealer, block, false);
        }
        self.deliver_block(sealer, block, channel.seq() + 1, HubShared::timestamp());
    }

    fn join(&mut self, sealer: &Sealer<'_>, subscription: Arc<Subscription>) {
        sealer.number_unwatched(&mut self.changes);
        self.changes
            .push(MembershipChange::Join(Arc::clone(&subscription)));
        sealer.catch_up(&subscription, &mut self.tally);
    }

    /// Delivers messages of a mirror with their own numbers.
    fn mirrored(&mut self, sealer: &Sealer<'_>, block: Block) {
        let (first, timestamp) = (block.first_seq(), *block.timestamp());
        self.skip_to(sealer, first - 1);
        if first == sealer.channel().seq() + 1 {
            self.deliver_block(sealer, block, first, timestamp);
        }
        // Anything else was had before.
    }

    /// Numbers a block, keeps it if there is a history, and fans it out. A home's block is also
    /// handed to the backplane if other nodes want it.
    pub(super) fn deliver_block(
        &mut self,
        sealer: &Sealer<'_>,
        mut block: Block,
        first: u64,
        timestamp: Timestamp,
    ) {
        sealer.apply(&mut self.changes);
        let channel = sealer.channel();
        let now = channel.shared.clock.now();
        self.delivering = Some(Delivering {
            first,
            messages: block.len() as u64,
            reached: self.tally.reached.clients,
        });
        block.seal(first, timestamp, now);
        sealer.follow_up(&mut block);
        sealer.advance_to(block.last_seq());
        channel.shared.recorder.block(block.len());
        let exports = channel.export_to();
        if !channel.keeps_history() && exports.is_none() {
            return self.fan_out(sealer, &block);
        }
        channel.touch(now);
        let block = Arc::new(block);
        sealer.keep(&block, now);
        if let (Some(sharing), Some(name)) = (exports, channel.name()) {
            sharing.export_block(name, channel.epoch(), &block);
            self.tally.reached.exported += 1;
        }
        self.fan_out(sealer, &block);
        sealer.settle(&block);
    }

    /// Offers a block to every subscriber.
    fn fan_out(&mut self, sealer: &Sealer<'_>, block: &Block) {
        let channel = sealer.channel();
        for subscription in channel.subscribers.load().iter() {
            if channel.profile.reaches(subscription) {
                sealer.offer(subscription, block, &mut self.tally);
            }
        }
        self.delivering = None;
    }

    /// Skips messages that the queue could not take, for all subscribers. They keep their numbers.
    fn skip_for_all(&mut self, sealer: &Sealer<'_>) {
        let channel = sealer.channel();
        let overflowed = std::mem::take(&mut self.overflowed);
        if channel.is_mirror() {
            channel.refuse_local(overflowed);
        } else {
            channel.count_dropped(overflowed);
            self.skip_to(sealer, channel.seq() + overflowed);
        }
    }

    /// Skips the numbers up to `last` for all subscribers.
    pub(super) fn skip_to(&mut self, sealer: &Sealer<'_>, last: u64) {
        let channel = sealer.channel();
        let first = channel.seq() + 1;
        if last < first {
            return;
        }
        sealer.apply(&mut self.changes);
        sealer.advance_to(last);
        let skipped = self.tally.skipped;
        for subscription in channel.subscribers.load().iter() {
            if channel.profile.reaches(subscription) {
                sealer.offer_nothing(subscription, first..=last, &mut self.tally);
            }
        }
        channel
            .shared
            .recorder
            .overrun(self.tally.skipped - skipped);
    }

    /// Ends the pass: makes the changes that are left, releases the queue's room, and reports.
    pub(super) fn finish(&mut self, sealer: &Sealer<'_>) {
        let channel = sealer.channel();
        sealer.apply(&mut self.changes);
        channel.ingest.release(std::mem::take(&mut self.taken));
        sealer.let_go();
        if self.overflowed > 0 {
            self.skip_for_all(sealer);
        }
        let tally = std::mem::take(&mut self.tally);
        channel.count_skipped(tally.skipped);
        channel.shared.recorder.pass(&tally, self.asked);
    }
}
