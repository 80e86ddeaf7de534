//! What a subscription with options gets of the past: the answer to its subscription, the ranges
//! that it asked for again, the history up to the present.
//!
//! While a subscription replays the history, new blocks reach it from there. So the seam between
//! old and new messages has neither loss nor repetition.

use super::delivery::Delivery;
use super::history::{ByteChange, History, Keep};
use super::shared::HubShared;
use super::subscription::{Announced, Cursor, Gap, Refetch};
use crate::encode;

/// What a channel keeps of its past.
pub(super) struct Past<'a> {
    pub(super) history: &'a mut History,
    pub(super) keep: Keep,
    /// The number of the last sealed message.
    pub(super) last: u64,
}

/// The replay to one subscriber during one pass. Nothing here waits.
pub(super) struct Replay<'a, 'd> {
    delivery: &'a mut Delivery<'d>,
    past: Past<'a>,
    /// The bytes by which the encodings of kept blocks have grown.
    grown: ByteChange,
}

impl<'a, 'd> Replay<'a, 'd> {
    pub(super) fn new(delivery: &'a mut Delivery<'d>, past: Past<'a>) -> Self {
        Self {
            delivery,
            past,
            grown: 0,
        }
    }

    /// Gives the subscription everything pending for which there is room. Returns the number of
    /// bytes by which the history has grown.
    pub(super) fn catch_up(mut self, cursor: &mut Cursor) -> ByteChange {
        if !self.advance(cursor) {
            self.delivery.to.mark_pending();
            // Once more after the request: room that was made before it is found here, and room
            // made after it makes the writer come back.
            self.advance(cursor);
        }
        self.grown
    }

    /// Returns true when nothing is pending any more, or the client is gone.
    fn advance(&mut self, cursor: &mut Cursor) -> bool {
        if self.delivery.to.client.outbox.is_closed() {
            return true;
        }
        if !cursor.announced && !self.tell_subscribed(cursor) {
            return false;
        }
        while let Some(refetch) = cursor.refetches.front_mut() {
            if !self.refetch(refetch) {
                return false;
            }
            cursor.refetches.pop_front();
        }
        if let Some(behind) = cursor.behind {
            let next = self.send(&mut cursor.gap, Span::first_time(behind, self.past.last));
            cursor.behind = (next <= self.past.last).then_some(next);
            if cursor.behind.is_some() {
                return false;
            }
        }
        self.delivery
            .tell_last_gap(&mut cursor.gap, self.past.last + 1)
    }

    /// Sets a new subscription's place and tells it. Returns false when there was no room.
    fn tell_subscribed(&mut self, cursor: &mut Cursor) -> bool {
        let tracked = self
            .delivery
            .to
            .tracked()
            .expect("only subscriptions with options have a cursor");
        let epoch = &self.delivery.channel.style.epoch;
        let next = self.past.last + 1;
        let oldest = self.past.history.oldest(self.past.keep).unwrap_or(next);
        let tail = tracked
            .tail
            .map(|messages| oldest.max(next.saturating_sub(messages)));
        let (start, lost) = match &tracked.since {
            Some(since) if since.epoch == *epoch => {
                let wanted = since.seq.saturating_add(1).min(next);
                let start = wanted.max(oldest);
                (start, start - wanted)
            }
            // The subscriber knows another numbering, so everything of this one came after it. What
            // the tail leaves out was not asked for.
            Some(_) => tail.map_or((oldest, oldest - 1), |start| (start, 0)),
            None => (tail.unwrap_or(next), 0),
        };
        let frame = encode::subscribed(
            self.delivery.to.encoding,
            self.delivery.channel.name(),
            epoch,
            start - 1,
            next - start,
            lost,
            &HubShared::timestamp(),
        );
        if !self.delivery.control(frame) {
            return false;
        }
        cursor.announced = true;
        cursor.behind = (start < next || !cursor.refetches.is_empty()).then_some(start);
        true
    }

    /// Sends a range again. Returns false when there was no room for all of it.
    fn refetch(&mut self, refetch: &mut Refetch) -> bool {
        let Some(mut replay) = refetch.replay.or_else(|| self.announce(refetch)) else {
            return false;
        };
        let (from, to) = (replay.from, replay.to);
        replay.next = self.send(&mut refetch.gap, Span::again(replay.next, to));
        refetch.replay = Some(replay);
        if replay.next <= to {
            return false;
        }
        let now = HubShared::timestamp();
        if !self.delivery.tell_gap(&mut refetch.gap, to + 1, &now) {
            return false;
        }
        let name = self.delivery.channel.name();
        self.delivery
            .control(encode::replayed(name, from, to, &now))
    }

    /// Announces the replay of a range, as far as it is kept. Returns `None` when there is no room
    /// for the announcement.
    fn announce(&mut self, refetch: &Refetch) -> Option<Announced> {
        let asked = &refetch.range;
        let epoch = &self.delivery.channel.style.epoch;
        let oldest = self.past.history.oldest(self.past.keep).unwrap_or(u64::MAX);
        let (first, last) = (asked.from.max(oldest), asked.to.min(self.past.last));
        let (from, to) = if asked.epoch == *epoch && first <= last {
            (first, last)
        } else {
            // Nothing is kept: an empty range at the place that was asked for.
            (asked.from, asked.from - 1)
        };
        let kept = to + 1 - from;
        let lost = asked.to - asked.from + 1 - kept;
        let name = self.delivery.channel.name();
        let frame = encode::replay(name, epoch, from, to, lost, &HubShared::timestamp());
        self.delivery.control(frame).then_some(Announced {
            next: from,
            from,
            to,
        })
    }

    /// Offers the kept messages of a span while there is room. Returns the number of the first
    /// message that was not offered. Messages that are no longer kept become a gap.
    fn send(&mut self, gap: &mut Gap, mut span: Span) -> u64 {
        while span.next <= span.last {
            let found = self.past.history.find(span.next).cloned();
            let Some(block) = found.filter(|block| block.first_seq() <= span.last) else {
                self.pass_by(gap, &mut span, u64::MAX);
                break;
            };
            self.pass_by(gap, &mut span, block.first_seq());
            let start = (span.next - block.first_seq()) as usize;
            let end = (block.last_seq().min(span.last) - block.first_seq() + 1) as usize;
            let accepted = self.delivery.messages(gap, &block, start..end);
            self.grown += self.past.history.settle(&block);
            let accepted = accepted.unwrap_or(0);
            self.delivery.tally.offered += accepted as u64;
            span.next += accepted as u64;
            if accepted < end - start {
                break;
            }
        }
        span.next
    }

    /// Passes by the messages before `kept`, which are no longer kept.
    fn pass_by(&mut self, gap: &mut Gap, span: &mut Span, kept: u64) {
        let kept = kept.min(span.last + 1);
        if span.next >= kept {
            return;
        }
        gap.open(span.next);
        if span.is_first_time {
            let messages = kept - span.next;
            self.delivery.tally.offered += messages;
            self.delivery.skip(messages as usize);
        }
        span.next = kept;
    }
}

/// Messages to be sent from the history.
struct Span {
    next: u64,
    last: u64,
    /// Messages that are no longer kept count as skipped, which they do once: when they are due for
    /// the first time.
    is_first_time: bool,
}

impl Span {
    fn first_time(next: u64, last: u64) -> Self {
        Self {
            next,
            last,
            is_first_time: true,
        }
    }

    fn again(next: u64, last: u64) -> Self {
        Self {
            is_first_time: false,
            ..Self::first_time(next, last)
        }
    }
}
