//! The one thread that seals a channel, as a type.
//!
//! Whatever only the sealer may do is a method of [`Sealer`], or takes the [`SealToken`] that only
//! a sealer holds.

use std::sync::{Arc, MutexGuard};

use super::Channel;
use super::block::Block;
use super::client::Client;
use super::delivery::Delivery;
use super::history::{ByteChange, History};
use super::ingest::Entry;
use super::mirror::Renumbering;
use super::pending::PendingRuns;
use super::reading::Reading;
use super::replay::{Past, Replay};
use super::seal::SealToken;
use super::subscribers::MembershipChange;
use super::subscription::{Cursor, Subscription};
use super::tally::Tally;
use crate::protocol::{Range, SubscribeRefusal};
use crate::sync::Ordering;

/// The sealer of a channel: numbers its messages, keeps its history, changes its list of
/// subscribers, and delivers to each of them. There is one at a time.
pub(super) struct Sealer<'a> {
    channel: &'a Arc<Channel>,
    token: SealToken,
}

impl<'a> Sealer<'a> {
    /// Makes the caller the sealer. Returns `None` when another thread is, which then makes another
    /// pass.
    pub(super) fn request(channel: &'a Arc<Channel>) -> Option<Self> {
        let token = channel.sealer.request()?;
        Some(Self { channel, token })
    }

    /// Ends being the sealer after a pass. Returns the sealer when there were requests meanwhile:
    /// then it has to make another pass.
    pub(super) fn done(self) -> Option<Self> {
        let Self { channel, token } = self;
        let token = channel.sealer.done(token)?;
        Some(Self { channel, token })
    }

    /// Ends being the sealer whatever requests there are. The caller ensures that the channel is
    /// sealed after this.
    pub(super) fn give_up(self) {
        self.channel.sealer.give_up(self.token);
    }

    pub(super) fn channel(&self) -> &'a Arc<Channel> {
        self.channel
    }

    /// Takes the next entry from the channel's queue.
    pub(super) fn pop(&self) -> Option<Entry> {
        self.channel.ingest.pop(&self.token)
    }

    /// Ends a row of messages that found no room, whose mark was taken. Returns their count.
    pub(super) fn end_overflow(&self, row: u64) -> u64 {
        self.channel.ingest.end_overflow(row, &self.token)
    }

    /// Tells a block which piece of a line it follows, and remembers the one that it ends with.
    pub(super) fn follow_up(&self, block: &mut Block) {
        let last = &self.channel.last_piece;
        last.set(block.follow(last.get(&self.token)), &self.token);
    }

    /// Makes `seq` the number of the last sealed message.
    pub(super) fn advance_to(&self, seq: u64) {
        self.channel.numbering.advance_to(seq, &self.token);
    }

    /// Numbers the messages that were published while there were no subscribers, before a join.
    ///
    /// Does nothing while there are subscribers: their numbering has no hole that they were not
    /// told of.
    pub(super) fn number_unwatched(&self, changes: &mut Vec<MembershipChange>) {
        let channel = self.channel;
        if !channel.numbering.has_unnumbered()
            || channel.is_mirror()
            || channel.export_to().is_some()
        {
            return;
        }
        self.apply(changes);
        if self.channel.subscribers.load().is_empty() {
            self.channel.numbering.number_all(&self.token);
        }
    }

    /// Makes changes of the subscribers in their order.
    pub(super) fn apply(&self, changes: &mut Vec<MembershipChange>) {
        self.channel.subscribers.apply(changes, &self.token);
    }

    /// Keeps a block in the history.
    pub(super) fn keep(&self, block: &Arc<Block>, now: u64) {
        let keep = self.channel.shared.keep;
        self.change_history(|history| history.append(Arc::clone(block), keep, now));
    }

    /// Accounts for the encodings that a kept block got since.
    pub(super) fn settle(&self, block: &Block) {
        self.change_history(|history| history.settle(block));
    }

    /// Drops the history that is too old.
    pub(super) fn trim(&self) {
        let shared = &self.channel.shared;
        self.change_history(|history| history.trim(shared.keep, shared.clock.now()));
    }

    /// Answers a reader.
    pub(super) fn read(&self, reading: Reading) {
        self.trim();
        let channel = self.channel;
        let history = self.history();
        let keep = channel.shared.keep;
        reading.answer(history.as_deref(), keep, channel.epoch(), channel.seq());
    }

    /// Drops the history.
    pub(super) fn forget(&self) {
        self.change_history(History::clear);
    }

    /// Offers a new block to one subscriber.
    // Inlined into the fan-out, with the delivery to a subscription without options.
    #[inline]
    pub(super) fn offer(&self, subscription: &Subscription, block: &Block, tally: &mut Tally) {
        tally.reached.clients += 1;
        let mut delivery = self.delivery(subscription, tally);
        match subscription.tracked() {
            None => delivery.plain(block),
            Some(tracked) => {
                let mut cursor = tracked.cursor(&self.token);
                if cursor.is_deferred() {
                    self.replay(&mut delivery, &mut cursor);
                } else {
                    delivery.live(&mut cursor.gap, block);
                }
            }
        }
    }

    /// Skips numbered messages for one subscriber.
    pub(super) fn offer_nothing(
        &self,
        subscription: &Subscription,
        skipped: std::ops::RangeInclusive<u64>,
        tally: &mut Tally,
    ) {
        let (first, messages) = (*skipped.start(), skipped.end() - skipped.start() + 1);
        let mut delivery = self.delivery(subscription, tally);
        if let Some(tracked) = subscription.tracked() {
            let mut cursor = tracked.cursor(&self.token);
            if cursor.is_deferred() {
                // It finds the hole in the history.
                self.replay(&mut delivery, &mut cursor);
            } else {
                delivery.overrun(&mut cursor.gap, first, messages);
            }
            return;
        }
        delivery.tally.offered += messages;
        delivery.skip(messages as usize);
    }

    /// Gives a subscription with options everything pending for which there is room.
    pub(super) fn catch_up(&self, subscription: &Subscription, tally: &mut Tally) {
        self.with_cursor(subscription, tally, |_, _| {});
    }

    /// Sends a subscription with options a range of messages again, as far as there is room.
    pub(super) fn refetch(&self, subscription: &Subscription, range: Range, tally: &mut Tally) {
        let next = self.channel.seq() + 1;
        self.with_cursor(subscription, tally, |delivery, cursor| {
            if !cursor.ask_again(range, next) {
                let refusal = SubscribeRefusal::Ranges;
                self.channel.shared.recorder.refused(refusal.reason());
                delivery.refuse(refusal);
            }
        });
    }

    /// Starts a new numbering of a mirror. Each subscription with options is told of it before its
    /// next message.
    pub(super) fn renumber(&self, renumbering: Renumbering, tally: &mut Tally) {
        let (channel, token) = (self.channel, &self.token);
        let last = channel.seq();
        self.forget();
        let advance = || self.advance_to(renumbering.seq);
        let epoch = &channel.profile.style.epoch;
        epoch.replace(renumbering.epoch, advance, token);
        if let Some(role) = channel.role() {
            role.use_epoch();
        }
        for subscription in channel.subscribers.load().iter() {
            if let Some(tracked) = subscription.tracked() {
                let undelivered = tracked.cursor(token).renumber(last);
                let mut delivery = self.delivery(subscription, tally);
                delivery.tally.offered += undelivered;
                delivery.skip(undelivered as usize);
            }
        }
        self.catch_up_all(tally);
    }

    /// Gives every subscription with options that was kept waiting what is pending for it.
    pub(super) fn catch_up_all(&self, tally: &mut Tally) {
        for subscription in self.channel.subscribers.load().iter() {
            self.catch_up(subscription, tally);
        }
    }

    /// Says whether a mirror has caught up with its source. Returns the subscriptions that join
    /// now.
    pub(super) fn set_synced(&self, synced: bool) -> Vec<Arc<Subscription>> {
        let mirror = self.channel.mirror.as_ref();
        mirror.map_or_else(Vec::new, |mirror| mirror.set_synced(synced, &self.token))
    }

    /// Answers the pings that waited for a mirror.
    pub(super) fn answer_pings(&self) {
        if let Some(mirror) = &self.channel.mirror {
            for client in mirror.take_pings(&self.token) {
                self.answer_ping(client);
            }
        }
    }

    /// Shows the unfinished line to each subscription that asked for it. One without room gets the
    /// latest text once it has room.
    ///
    /// Linear in subscribers.
    pub(super) fn show_partial(&self, tally: &mut Tally) {
        self.channel.partial.shown(self.channel.shared.clock.now());
        for subscription in self.channel.subscribers.load().iter() {
            if let Some(tracked) = subscription.tracked()
                && tracked.partial
                && self.channel.profile.reaches(subscription)
            {
                tally.reached.clients += 1;
                let mut cursor = tracked.cursor(&self.token);
                cursor.owes_partial = true;
                let mut delivery = self.delivery(subscription, tally);
                self.replay(&mut delivery, &mut cursor);
            }
        }
    }

    /// Answers a ping once all subscriptions of its client are active.
    pub(super) fn answer_ping(&self, client: Arc<Client>) {
        match &self.channel.mirror {
            Some(mirror) if !mirror.is_synced() => mirror.defer_ping(client, &self.token),
            _ => match client.unsynced_channel() {
                Some(other) => other.answer_when_synced(client),
                None => client.pong(&self.channel.shared.totals),
            },
        }
    }

    /// Keeps back a subscription that joins a mirror which has not caught up. Returns it otherwise.
    pub(super) fn defer(&self, subscription: Arc<Subscription>) -> Option<Arc<Subscription>> {
        match &self.channel.mirror {
            Some(mirror) if !mirror.is_synced() => {
                mirror.defer(subscription, &self.token);
                None
            }
            _ => Some(subscription),
        }
    }

    /// Takes back a subscription that was kept back. Returns false when it was not.
    pub(super) fn withdraw(&self, subscription: &Arc<Subscription>) -> bool {
        let mirror = self.channel.mirror.as_ref();
        mirror.is_some_and(|mirror| mirror.withdraw(subscription, &self.token))
    }

    fn with_cursor(
        &self,
        subscription: &Subscription,
        tally: &mut Tally,
        first: impl FnOnce(&mut Delivery<'_>, &mut Cursor),
    ) {
        if let Some(tracked) = subscription.tracked()
            && !subscription.has_left()
        {
            let mut cursor = tracked.cursor(&self.token);
            let mut delivery = self.delivery(subscription, tally);
            first(&mut delivery, &mut cursor);
            self.channel.touch(self.channel.shared.clock.now());
            self.replay(&mut delivery, &mut cursor);
        }
    }

    fn delivery<'s>(&'s self, to: &'s Subscription, tally: &'s mut Tally) -> Delivery<'s> {
        Delivery {
            channel: &self.channel.profile,
            to,
            tally,
        }
    }

    fn replay(&self, delivery: &mut Delivery<'_>, cursor: &mut Cursor) {
        if !cursor.announced && self.channel.is_unsynced() {
            return;
        }
        let mut none = History::default();
        let mut kept = self.history();
        let past = Past {
            history: kept.as_deref_mut().unwrap_or(&mut none),
            keep: self.channel.shared.keep,
            last: self.channel.seq(),
        };
        let grown = Replay::new(delivery, past).catch_up(cursor);
        drop(kept);
        self.charge(grown);
    }

    /// Opens the history. A panic in an earlier pass leaves it whole: each change is one insertion
    /// or removal.
    fn history(&self) -> Option<MutexGuard<'a, History>> {
        let history = self.channel.history.as_ref()?;
        Some(history.open(&self.token))
    }

    /// Changes the history. A channel stays while it has one. A channel without history,
    /// subscribers and publishers goes.
    fn change_history(&self, change: impl FnOnce(&mut History) -> ByteChange) {
        let Some(mut history) = self.history() else {
            return;
        };
        let change = change(&mut history);
        let is_empty = history.is_empty();
        drop(history);
        self.charge(change);
        // Also when it was empty before: it may have been held since for messages that were then
        // not kept.
        if is_empty && self.channel.is_held() && !self.has_pending() {
            self.channel.let_go();
        }
    }

    /// Changes what waits for a home.
    pub(super) fn pending<T>(&self, change: impl FnOnce(&mut PendingRuns) -> T) -> T {
        match self.channel.role() {
            Some(role) => change(&mut role.pending.open(&self.token)),
            None => change(&mut PendingRuns::default()),
        }
    }

    fn has_pending(&self) -> bool {
        self.channel.role().is_some() && !self.pending(|pending| pending.is_empty())
    }

    /// Lets a channel go that was held for messages which waited for a home. A channel with a
    /// history is let go when that is empty.
    pub(super) fn let_go(&self) {
        if self.channel.role().is_some()
            && self.channel.is_held()
            && self.history().is_none_or(|history| history.is_empty())
            && !self.has_pending()
        {
            self.channel.let_go();
        }
    }

    fn charge(&self, change: ByteChange) {
        if change == 0 {
            return;
        }
        // Relaxed: a tally that only the sealer changes.
        let before = self
            .channel
            .kept_bytes
            .fetch_add(change as usize, Ordering::Relaxed);
        if before == 0 && self.channel.name().is_some() {
            self.channel.note_listed();
        } else if before.wrapping_add_signed(change) == 0 {
            self.channel.note_unlisted();
        }
        if let Some(held) = self.channel.shared.charge_history(change)
            && let Some(owner) = self.channel.owner()
        {
            owner.make_room(held);
        }
    }
}
