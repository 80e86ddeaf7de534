//! Stage 4: what one subscriber gets of a block, and what it is owed.
//!
//! A plain subscription takes what fits of each block, and that is all. One with options also knows its place in the numbering: it is told of
//! what was skipped before the next message it gets, and while it replays the history, new blocks reach it from there, so that the
//! seam between old and live has neither loss nor repetition. All of this is the sealer's work; nothing here waits.

use std::sync::Arc;

use super::block::Block;
use super::history::{self, History};
use super::pace::Reached;
use super::subscription::{Refetch, State, Subscription, Tracked};
use super::{Channel, HubShared, Overflow};
use crate::encode::{self, Envelope, Timestamp};
use crate::message::Message;
use crate::outbox::Offered;
use crate::protocol::SubscribeRefusal;
use crate::reason::CloseReason;
use crate::sync::lock;

/// What became of the messages fanned out, in messages x subscribers.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) offered: u64,
    pub(super) skipped: u64,
    pub(super) discarded: u64,
    pub(super) reached: Reached,
}

impl Tally {
    /// Notes an offer's outcome; answers the frames that were accepted, `None` when the client is gone.
    fn note(&mut self, offered: Offered) -> Option<usize> {
        match offered {
            Offered::Closed => None,
            Offered::Accepted { frames, woke } => {
                self.reached.woken += usize::from(woke);
                Some(frames)
            }
        }
    }
}

/// How far an offer came.
enum Progress {
    /// So many messages were accepted, counted from where it began.
    Accepted(usize),
    /// The client is gone.
    Gone,
}

impl Channel {
    /// Offers a new block to one subscriber.
    pub(super) fn offer(&self, subscription: &Arc<Subscription>, block: &Block, tally: &mut Tally) {
        tally.reached.clients += 1;
        match subscription.tracked() {
            None => self.offer_plain(subscription, block, tally),
            Some(tracked) => {
                let mut state = tracked.state();
                if state.is_deferred() {
                    self.catch_up(subscription, tracked, &mut state, tally);
                } else {
                    self.offer_live(subscription, tracked, &mut state, block, tally);
                }
            }
        }
    }

    fn offer_plain(&self, subscription: &Subscription, block: &Block, tally: &mut Tally) {
        let outbox = &subscription.client.outbox;
        let messages = block.len();
        // Spares encoding a block for nobody.
        if !block.has_reserved() && outbox.is_full() {
            tally.offered += messages as u64;
            return self.skip(subscription, messages, tally);
        }
        let encoded = block.encoded(subscription.encoding, &self.style);
        // Not before: what was not encoded, for a panic, was not offered.
        tally.offered += messages as u64;
        let frames = &encoded.frames;
        let Some(prefix) = tally.note(outbox.offer(frames, 0..frames.len())) else {
            tally.discarded += messages as u64;
            return;
        };
        if prefix == frames.len() {
            return;
        }
        let mut accepted = frames.messages_before(prefix);
        for &frame in encoded
            .reserved
            .iter()
            .filter(|&&frame| frame as usize >= prefix)
        {
            let frame = frame as usize;
            accepted += tally
                .note(outbox.offer_reserved(frames.slice(frame..frame + 1)))
                .unwrap_or(0);
        }
        self.skip(subscription, messages - accepted, tally);
    }

    fn offer_live(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        block: &Block,
        tally: &mut Tally,
    ) {
        let messages = block.len();
        let progress = self.offer_from(subscription, tracked, state, block, 0..messages, tally);
        tally.offered += messages as u64;
        let Progress::Accepted(prefix) = progress else {
            tally.discarded += messages as u64;
            return;
        };
        if prefix == messages {
            return;
        }
        let mut accepted = prefix;
        let first = block.first_seq();
        state.gap.get_or_insert(first + prefix as u64);
        let encoded = block.encoded(subscription.encoding, &self.style);
        for &frame in &encoded.reserved {
            let frame = frame as usize;
            let index = encoded.frames.messages_before(frame);
            if index < prefix {
                continue;
            }
            let seq = first + index as u64;
            if !self.tell_gap(subscription, tracked, state, seq, block.timestamp(), tally) {
                break;
            }
            match tally.note(
                subscription
                    .client
                    .outbox
                    .offer_reserved(encoded.frames.slice(frame..frame + 1)),
            ) {
                Some(1) => {
                    accepted += 1;
                    state.gap = (seq < block.last_seq()).then_some(seq + 1);
                }
                _ => {
                    state.gap = Some(seq);
                    break;
                }
            }
        }
        self.skip(subscription, messages - accepted, tally);
        self.owe_gap(subscription, tracked, state, block.last_seq(), tally);
    }

    /// Offers messages of a block, by their index in it, after the gap before them if there is one.
    fn offer_from(
        &self,
        subscription: &Subscription,
        tracked: &Tracked,
        state: &mut State,
        block: &Block,
        messages: std::ops::Range<usize>,
        tally: &mut Tally,
    ) -> Progress {
        let outbox = &subscription.client.outbox;
        if outbox.is_closed() {
            return Progress::Gone;
        }
        // Spares encoding a block for nobody, and telling a gap that only grows.
        if outbox.is_full()
            || !self.tell_gap(
                subscription,
                tracked,
                state,
                block.first_seq() + messages.start as u64,
                block.timestamp(),
                tally,
            )
        {
            return Progress::Accepted(0);
        }
        let encoding = subscription.encoding;
        let mut accepted = 0;
        let encoded = block.encoded(encoding, &self.style);
        let whole = &encoded.frames;
        let mut start = whole.frame_of(messages.start);
        let aligned_start = whole.messages_before(start) == messages.start;
        let end = if messages.end == block.len() {
            whole.len()
        } else {
            whole.frame_of(messages.end)
        };
        let aligned_end = messages.end == block.len() || whole.messages_before(end) == messages.end;
        if !aligned_end {
            // A replay that ends within a batch: made for this subscriber alone.
            let frames = block.encode(encoding, &self.style, messages);
            return match tally.note(outbox.offer(&frames, 0..frames.len())) {
                None => Progress::Gone,
                Some(n) => Progress::Accepted(frames.messages_before(n)),
            };
        }
        if !aligned_start {
            let boundary = whole.messages_before(start + 1).min(messages.end);
            let frames = block.encode(encoding, &self.style, messages.start..boundary);
            match tally.note(outbox.offer(&frames, 0..frames.len())) {
                None => return Progress::Gone,
                Some(n) => accepted += frames.messages_before(n),
            }
            if accepted < frames.messages() {
                return Progress::Accepted(accepted);
            }
            start += 1;
        }
        if start == end {
            return Progress::Accepted(accepted);
        }
        match tally.note(outbox.offer(whole, start..end)) {
            None => Progress::Gone,
            Some(n) => Progress::Accepted(
                accepted + whole.messages_before(start + n) - whole.messages_before(start),
            ),
        }
    }

    /// Tells of the gap that ends before `next`, if there is one to tell. False when there was no room: then nothing after it may be
    /// delivered either.
    fn tell_gap(
        &self,
        subscription: &Subscription,
        tracked: &Tracked,
        state: &mut State,
        next: u64,
        timestamp: &Timestamp,
        tally: &mut Tally,
    ) -> bool {
        let Some(from) = state.gap.filter(|&from| from < next) else {
            state.gap = None;
            return true;
        };
        if tracked.gaps {
            let frame = encode::gap(
                subscription.encoding,
                self.known_name(),
                from,
                next - 1,
                timestamp,
            );
            if !self.offer_control(subscription, frame, tally) {
                return false;
            }
        }
        state.gap = None;
        true
    }

    /// Offers a message that no seq counts. True when it was accepted.
    fn offer_control(
        &self,
        subscription: &Subscription,
        frame: bytes::Bytes,
        tally: &mut Tally,
    ) -> bool {
        if frame.is_empty() {
            return true;
        }
        let accepted = tally.note(subscription.client.outbox.offer_reserved(frame)) == Some(1);
        tally.offered += u64::from(accepted);
        accepted
    }

    /// Tells a subscriber that something it asked for is refused, and counts it. A lost answer counts as skipped, as any to one client.
    pub(super) fn refuse(
        &self,
        subscription: &Subscription,
        refusal: SubscribeRefusal,
        tally: &mut Tally,
    ) {
        self.core.totals.count_refused(refusal.reason());
        let message = Message::error(refusal.as_str());
        let frame = encode::single(&Envelope::new(None), &message, &HubShared::timestamp());
        if !self.offer_control(subscription, frame, tally) {
            tally.offered += 1;
            tally.skipped += 1;
            subscription.client.count_skipped(1);
        }
    }

    /// Sees to it that a gap is told even if no message follows it.
    fn owe_gap(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        last: u64,
        tally: &mut Tally,
    ) {
        if !tracked.gaps || state.gap.is_none() {
            return;
        }
        subscription.owe();
        if !subscription.client.outbox.is_full() {
            self.tell_gap(
                subscription,
                tracked,
                state,
                last + 1,
                &HubShared::timestamp(),
                tally,
            );
        }
    }

    /// Gives a subscription with options what it is owed and has room for: its welcome, ranges it asked for, the history up to the
    /// present, a gap at the very end.
    pub(super) fn catch_up(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        tally: &mut Tally,
    ) {
        if self.give_owed(subscription, tracked, state, tally) {
            return;
        }
        subscription.owe();
        // Once more after asking to be called: room that was made before the request is found here, room made after it is reported.
        self.give_owed(subscription, tracked, state, tally);
    }

    /// True when nothing is owed any more, or the client is gone.
    fn give_owed(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        tally: &mut Tally,
    ) -> bool {
        if subscription.client.outbox.is_closed() {
            return true;
        }
        if !state.welcomed && !self.welcome(subscription, tracked, state, tally) {
            return false;
        }
        let mut none = History::default();
        let mut kept = self.history.as_ref().map(lock);
        let history = kept.as_deref_mut().unwrap_or(&mut none);
        let mut change = 0;
        let done = 'given: {
            while let Some(refetch) = state.refetches.front_mut() {
                let begun = match refetch.begun {
                    Some(begun) => begun,
                    None => {
                        let Some(begun) = self.begin_refetch(subscription, refetch, history, tally)
                        else {
                            break 'given false;
                        };
                        begun
                    }
                };
                let (next, from, to) = begun;
                let mut place = State {
                    gap: refetch.gap,
                    ..State::default()
                };
                let (next, _) = self.replay(
                    subscription,
                    tracked,
                    &mut place,
                    false,
                    history,
                    next,
                    to,
                    &mut change,
                    tally,
                );
                let told = next > to
                    && self.tell_gap(
                        subscription,
                        tracked,
                        &mut place,
                        to + 1,
                        &HubShared::timestamp(),
                        tally,
                    );
                refetch.begun = Some((next, from, to));
                refetch.gap = place.gap;
                if !told {
                    break 'given false;
                }
                let frame = encode::replayed(self.known_name(), from, to, &HubShared::timestamp());
                if !self.offer_control(subscription, frame, tally) {
                    break 'given false;
                }
                state.refetches.pop_front();
            }
            if let Some(behind) = state.behind {
                let last = self.seq();
                let (next, _) = self.replay(
                    subscription,
                    tracked,
                    state,
                    true,
                    history,
                    behind,
                    last,
                    &mut change,
                    tally,
                );
                state.behind = (next <= last).then_some(next);
                if state.behind.is_some() {
                    break 'given false;
                }
            }
            true
        };
        drop(kept);
        self.charge_history(change);
        done && self.tell_last_gap(subscription, tracked, state, tally)
    }

    fn tell_last_gap(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        tally: &mut Tally,
    ) -> bool {
        if state.gap.is_none() || !tracked.gaps {
            return true;
        }
        if subscription.client.outbox.is_full() {
            return false;
        }
        self.tell_gap(
            subscription,
            tracked,
            state,
            self.seq() + 1,
            &HubShared::timestamp(),
            tally,
        )
    }

    /// Offers the kept messages from `next` to `last` while there is room. Answers the first that was not offered, and whether there was
    /// room to the end. What is no longer kept is a gap in `state`, and counts as skipped when it is due for the first time.
    #[expect(
        clippy::too_many_arguments,
        reason = "one step of the above, with its parts"
    )]
    fn replay(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        first_time: bool,
        history: &mut History,
        mut next: u64,
        last: u64,
        change: &mut history::Change,
        tally: &mut Tally,
    ) -> (u64, bool) {
        while next <= last {
            let Some(block) = history
                .find(next)
                .cloned()
                .filter(|block| block.first_seq() <= last)
            else {
                self.pass_by(subscription, state, first_time, next, last, tally);
                return (last + 1, true);
            };
            if block.first_seq() > next {
                self.pass_by(
                    subscription,
                    state,
                    first_time,
                    next,
                    block.first_seq() - 1,
                    tally,
                );
                next = block.first_seq();
            }
            let start = (next - block.first_seq()) as usize;
            let end = (block.last_seq().min(last) - block.first_seq() + 1) as usize;
            let progress = self.offer_from(subscription, tracked, state, &block, start..end, tally);
            *change += history.settle(&block);
            match progress {
                Progress::Gone => return (next, false),
                Progress::Accepted(n) => {
                    tally.offered += n as u64;
                    next += n as u64;
                    if n < end - start {
                        return (next, false);
                    }
                }
            }
        }
        (next, true)
    }

    /// Messages of a replay that are no longer kept.
    fn pass_by(
        &self,
        subscription: &Subscription,
        state: &mut State,
        first_time: bool,
        from: u64,
        to: u64,
        tally: &mut Tally,
    ) {
        state.gap.get_or_insert(from);
        if first_time {
            let messages = to - from + 1;
            tally.offered += messages;
            self.skip(subscription, messages as usize, tally);
        }
    }

    /// Announces the replay of a range, as far as it is kept. `None` when there is no room for the announcement.
    fn begin_refetch(
        &self,
        subscription: &Subscription,
        refetch: &mut Refetch,
        history: &History,
        tally: &mut Tally,
    ) -> Option<(u64, u64, u64)> {
        let asked = &refetch.range;
        let same_epoch = asked.epoch == self.style.epoch;
        let oldest = history.oldest(self.core.keep).unwrap_or(u64::MAX);
        let (first, last) = (asked.from.max(oldest), asked.to.min(self.seq()));
        // Nothing kept: an empty range where it was asked for.
        let (from, to) = if same_epoch && first <= last {
            (first, last)
        } else {
            (asked.from, asked.from - 1)
        };
        let kept = to + 1 - from;
        let lost = asked.to - asked.from + 1 - kept;
        let frame = encode::replay(
            self.known_name(),
            &self.style.epoch,
            from,
            to,
            lost,
            &HubShared::timestamp(),
        );
        if !self.offer_control(subscription, frame, tally) {
            return None;
        }
        refetch.begun = Some((from, from, to));
        refetch.begun
    }

    /// Sets a new subscription's place and tells it. False when there was no room to tell.
    fn welcome(
        &self,
        subscription: &Arc<Subscription>,
        tracked: &Tracked,
        state: &mut State,
        tally: &mut Tally,
    ) -> bool {
        let next = self.seq() + 1;
        let oldest = self
            .history
            .as_ref()
            .and_then(|history| lock(history).oldest(self.core.keep))
            .unwrap_or(next);
        let tail = tracked
            .tail
            .map(|messages| oldest.max(next.saturating_sub(messages)));
        let (start, lost) = match &tracked.since {
            Some(since) if since.epoch == self.style.epoch => {
                let wanted = since.seq.saturating_add(1).min(next);
                let start = wanted.max(oldest);
                (start, start - wanted)
            }
            // Another numbering: all of this one came after it. What the tail leaves out was not asked for.
            Some(_) => tail.map_or((oldest, oldest - 1), |start| (start, 0)),
            None => (tail.unwrap_or(next), 0),
        };
        let frame = encode::subscribed(
            subscription.encoding,
            self.known_name(),
            &self.style.epoch,
            start - 1,
            next - start,
            lost,
            &HubShared::timestamp(),
        );
        if !self.offer_control(subscription, frame, tally) {
            return false;
        }
        state.welcomed = true;
        state.behind = (start < next || !state.refetches.is_empty()).then_some(start);
        true
    }

    /// Messages that no queue could take any more: they keep their numbers and are skipped for everybody.
    pub(super) fn offer_nothing(
        &self,
        subscription: &Arc<Subscription>,
        first: u64,
        messages: u64,
        tally: &mut Tally,
    ) {
        if let Some(tracked) = subscription.tracked() {
            let mut state = tracked.state();
            if state.is_deferred() {
                // It finds the hole in the history.
                return self.catch_up(subscription, tracked, &mut state, tally);
            }
            state.gap.get_or_insert(first);
            self.owe_gap(
                subscription,
                tracked,
                &mut state,
                first + messages - 1,
                tally,
            );
        }
        tally.offered += messages;
        self.skip(subscription, messages as usize, tally);
    }

    /// What a client could not take is counted, and ends the connection where the channel says so.
    fn skip(&self, subscription: &Subscription, messages: usize, tally: &mut Tally) {
        if messages == 0 {
            return;
        }
        tally.skipped += messages as u64;
        subscription.client.count_skipped(messages as u64);
        if self.overflow == Overflow::Disconnect {
            subscription
                .client
                .outbox
                .ask_to_close(CloseReason::Overflow);
        }
    }
}
