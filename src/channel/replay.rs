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
            && self.show_partial(cursor)
    }

    /// Shows the unfinished line if the subscription is to see another text. Returns false when
    /// there was no room.
    fn show_partial(&mut self, cursor: &mut Cursor) -> bool {
        if !cursor.owes_partial {
            return true;
        }
        let envelope = &self.delivery.channel.style.envelope;
        if let Some((frame, is_empty)) = self.delivery.to.channel.partial.frame(envelope)
            && (cursor.has_partial || !is_empty)
        {
            if !self.delivery.partial(frame) {
                return false;
            }
            cursor.has_partial = !is_empty;
        }
        cursor.owes_partial = false;
        true
    }

    /// Sets a new subscription's place and tells it. Returns false when there was no room.
    fn tell_subscribed(&mut self, cursor: &mut Cursor) -> bool {
        let tracked = self
            .delivery
            .to
            .tracked()
            .expect("only subscriptions with options have a cursor");
        let epoch = &*self.delivery.channel.style.epoch.name();
        while let Some(&(from, to)) = cursor.earlier_gaps.front() {
            let mut gap = Gap::from(from);
            if !self
                .delivery
                .tell_gap(&mut gap, to + 1, &HubShared::timestamp())
            {
                return false;
            }
            cursor.earlier_gaps.pop_front();
        }
        let next = self.past.last + 1;
        let oldest = self.past.history.oldest(self.past.keep).unwrap_or(next);
        let tail = tracked
            .tail
            .map(|messages| oldest.max(next.saturating_sub(messages)));
        let (start, lost) = match &tracked.since {
            // It had all of the earlier numbering, so everything of this one is new.
            _ if cursor.is_renumbered => (oldest, oldest - 1),
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
        let untold = self.untold(start, next);
        let frame = encode::subscribed(
            self.delivery.to.encoding,
            self.delivery.channel.name(),
            epoch,
            start - 1,
            next - start - untold,
            lost + untold,
            &HubShared::timestamp(),
        );
        if !self.delivery.control(frame) {
            return false;
        }
        cursor.announced = true;
        cursor.owes_partial = tracked.partial;
        cursor.behind = (start < next || !cursor.refetches.is_empty()).then_some(start);
        true
    }

    /// Returns how many messages of a replay the subscription misses without being told of a gap:
    /// they were dropped when they were published, and it did not ask for gaps.
    fn untold(&self, start: u64, end: u64) -> u64 {
        if self.delivery.to.tells_gaps() {
            return 0;
        }
        self.past.history.missing(start, end)
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
        let epoch = &*self.delivery.channel.style.epoch.name();
        let oldest = self.past.history.oldest(self.past.keep).unwrap_or(u64::MAX);
        let (first, last) = (asked.from.max(oldest), asked.to.min(self.past.last));
        let (from, to) = if asked.epoch == *epoch && first <= last {
            (first, last)
        } else {
            // Nothing is kept: an empty range at the place that was asked for.
            (asked.from, asked.from - 1)
        };
        let kept = to + 1 - from - self.untold(from, to + 1);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::Channel;
    use super::super::subscription::Subscription;
    use super::super::tally::Tally;
    use super::super::testing::{
        Told, channel_with, contiguous, numbered_block, received, subscription, write,
    };
    use super::*;
    use crate::config::Config;
    use crate::outbox::OutboxReader;
    use crate::protocol::{Range, Since, SubscribeOptions};

    /// A step in the life of a subscription.
    #[derive(Debug, Clone)]
    enum Step {
        /// A block of this many lines.
        Block(usize),
        /// Messages that the channel's queue could not take.
        Dropped(u64),
        /// A request for a range, by how many messages it lies back and how long it is.
        Refetch(u64, u64),
        /// The writer writes this many parcels.
        Write(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1..9usize).prop_map(Step::Block),
            1 => (1..9u64).prop_map(Step::Dropped),
            1 => (0..30u64, 1..20u64).prop_map(|(back, len)| Step::Refetch(back, len)),
            3 => (0..4usize).prop_map(Step::Write),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// A channel with a history, and one subscriber.
    struct Room {
        channel: Arc<Channel>,
        to: Arc<Subscription>,
        history: History,
        keep: Keep,
        last: u64,
        cursor: Cursor,
        tally: Tally,
    }

    impl Room {
        fn new(queue: usize, messages: usize, options: SubscribeOptions) -> Self {
            let channel = channel_with(Config {
                queue,
                ..Config::default()
            });
            Self {
                to: subscription(&channel, Some(options)),
                channel,
                history: History::default(),
                keep: Keep {
                    messages,
                    bytes: usize::MAX,
                    age: u64::MAX,
                },
                last: 0,
                cursor: Cursor::default(),
                tally: Tally::default(),
            }
        }

        fn publish(&mut self, lines: usize) {
            let block = Arc::new(numbered_block(self.last + 1, &vec![false; lines]));
            self.last = block.last_seq();
            self.history.append(Arc::clone(&block), self.keep, 0);
            if self.cursor.is_deferred() {
                return self.catch_up();
            }
            let mut delivery = Delivery {
                channel: &self.channel.profile,
                to: &self.to,
                tally: &mut self.tally,
            };
            delivery.live(&mut self.cursor.gap, &block);
        }

        fn drop_messages(&mut self, messages: u64) {
            let first = self.last + 1;
            self.last += messages;
            if self.cursor.is_deferred() {
                return self.catch_up();
            }
            let mut delivery = Delivery {
                channel: &self.channel.profile,
                to: &self.to,
                tally: &mut self.tally,
            };
            delivery.overrun(&mut self.cursor.gap, first, messages);
        }

        fn catch_up(&mut self) {
            let mut delivery = Delivery {
                channel: &self.channel.profile,
                to: &self.to,
                tally: &mut self.tally,
            };
            let past = Past {
                history: &mut self.history,
                keep: self.keep,
                last: self.last,
            };
            Replay::new(&mut delivery, past).catch_up(&mut self.cursor);
        }

        /// Asks for a range. Returns false when too many wait.
        fn refetch(&mut self, back: u64, len: u64) -> bool {
            let from = self.last.saturating_sub(back).max(1);
            let range = Range {
                epoch: self.channel.epoch().to_string(),
                from,
                to: from + len - 1,
            };
            let is_noted = self.cursor.ask_again(range, self.last + 1);
            self.catch_up();
            is_noted
        }
    }

    /// Splits what was told into the messages outside of announced replays, and the replays.
    fn split(told: &[Told]) -> (Vec<Told>, Vec<Vec<Told>>) {
        let (mut outside, mut replays) = (Vec::new(), Vec::new());
        let mut replay: Option<Vec<Told>> = None;
        for message in told {
            match (message, &mut replay) {
                (Told::Replay(..), None) => replay = Some(vec![*message]),
                (Told::Replayed(..), Some(open)) => {
                    open.push(*message);
                    replays.extend(replay.take());
                }
                (_, Some(open)) => open.push(*message),
                (_, None) => outside.push(*message),
            }
        }
        assert!(replay.is_none(), "a replay without an end: {told:?}");
        (outside, replays)
    }

    proptest! {
        /// Whatever is kept and whatever fits, what comes after the answer to the subscription has
        /// neither hole nor repetition, and neither has any range that was asked for again.
        #[test]
        fn old_and_new_messages_meet_without_loss_or_repetition(
            steps in steps(),
            before in prop::collection::vec(1..9usize, 0..12),
            queue in 1..12usize,
            kept in 1..40usize,
            tail in prop::option::of(0..60u64),
            since in prop::option::of((any::<bool>(), 0..60u64)),
            batch in any::<bool>(),
        ) {
            let options = SubscribeOptions {
                gaps: true,
                tail,
                batch,
                ..SubscribeOptions::default()
            };
            let mut room = Room::new(queue, kept, options.clone());
            let epoch = room.channel.epoch().to_string();
            let since = since.map(|(is_known, seq)| Since {
                epoch: if is_known { epoch } else { "another".to_owned() },
                seq,
            });
            room.to = subscription(&room.channel, Some(SubscribeOptions { since, ..options }));
            for lines in before {
                let block = Arc::new(numbered_block(room.last + 1, &vec![false; lines]));
                room.last = block.last_seq();
                room.history.append(block, room.keep, 0);
            }
            room.catch_up();
            let (mut reader, mut told, mut ranges) = (OutboxReader::default(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Block(lines) => room.publish(lines),
                    Step::Dropped(messages) => room.drop_messages(messages),
                    Step::Refetch(back, len) => ranges += usize::from(room.refetch(back, len)),
                    Step::Write(parcels) => {
                        if write(&mut reader, &room.to.client, parcels, &mut told) {
                            room.catch_up();
                        }
                    }
                }
            }
            while write(&mut reader, &room.to.client, usize::MAX, &mut told) {
                room.catch_up();
            }
            prop_assert!(!room.cursor.is_deferred() && !room.cursor.gap.is_open());

            let (outside, replays) = split(&told);
            let Some((Told::Subscribed(seq), live)) = outside.split_first() else {
                panic!("no answer to the subscription: {told:?}");
            };
            let (next, skipped) = contiguous(live, seq + 1);
            prop_assert_eq!(next, room.last + 1);
            prop_assert_eq!(skipped, room.tally.skipped);
            prop_assert_eq!(room.tally.offered, room.to.client.written() + skipped);

            prop_assert_eq!(replays.len(), ranges);
            for replay in replays {
                let [Told::Replay(from, to), messages @ .., end] = &replay[..] else {
                    panic!("{replay:?}");
                };
                prop_assert_eq!(end, &Told::Replayed(*from, *to));
                prop_assert_eq!(contiguous(messages, *from).0, to + 1);
            }
        }
    }

    /// Subscribes to a channel that kept 1 to 8, dropped 9 to 12, kept 13 to 20 and dropped 21.
    /// Returns what is told.
    fn told_of_a_flood(options: SubscribeOptions, ranges: &[(u64, u64)]) -> String {
        let mut room = Room::new(100, 1000, options);
        for (lines, dropped) in [(8, 4), (8, 1)] {
            let block = Arc::new(numbered_block(room.last + 1, &vec![false; lines]));
            room.last = block.last_seq() + dropped;
            room.history.append(block, room.keep, 0);
        }
        room.catch_up();
        for &(from, to) in ranges {
            let epoch = room.channel.epoch().to_owned();
            let range = Range {
                epoch: epoch.to_string(),
                from,
                to,
            };
            assert!(room.cursor.ask_again(range, room.last + 1));
        }
        room.catch_up();
        received(&room.to.client)
    }

    #[test]
    fn what_a_flood_has_dropped_is_lost_to_a_replay_without_gaps() {
        let tail = |gaps, messages| SubscribeOptions {
            gaps,
            tail: Some(messages),
            ..SubscribeOptions::default()
        };
        for (messages, seq, replayed, lost) in [
            (0, 21, 0, 0),
            (1, 20, 0, 1),
            (3, 18, 2, 1),
            (9, 12, 8, 1),
            (11, 10, 8, 3),
            (14, 7, 9, 5),
            (1000, 0, 16, 5),
        ] {
            let told = told_of_a_flood(tail(false, messages), &[]);
            let answer = format!(r#""seq":{seq},"replayed":{replayed},"lost":{lost}}}"#);
            assert!(told.contains(&answer), "{messages}: {told}");
            assert_eq!(told.matches("process_output").count(), replayed);
            // With gaps, they are told where they stood.
            let told = told_of_a_flood(tail(true, messages), &[]);
            let messages = replayed + lost;
            let answer = format!(r#""seq":{seq},"replayed":{messages},"lost":0}}"#);
            assert!(told.contains(&answer), "{told}");
            assert_eq!(told.contains(r#"{"from":21,"to":21,"count":1}"#), lost > 0);
        }
        let told = told_of_a_flood(SubscribeOptions::default(), &[(7, 14)]);
        assert!(told.contains(r#""from":7,"to":14,"lost":4}"#), "{told}");
    }

    #[test]
    fn a_range_of_another_numbering_or_beyond_the_history_is_an_empty_replay() {
        let mut room = Room::new(100, 5, SubscribeOptions::default());
        room.catch_up();
        room.publish(8);
        room.publish(8);
        let range = |epoch: &str, from, to| Range {
            epoch: epoch.to_owned(),
            from,
            to,
        };
        let epoch = room.channel.epoch().to_string();
        for range in [
            range("another", 12, 16),
            range(&epoch, 2, 4),
            range(&epoch, 17, 20),
        ] {
            assert!(room.cursor.ask_again(range, room.last + 1));
        }
        room.catch_up();
        let (mut reader, mut told) = (OutboxReader::default(), Vec::new());
        write(&mut reader, &room.to.client, usize::MAX, &mut told);
        let (_, replays) = split(&told);
        let empty = |from| vec![Told::Replay(from, from - 1), Told::Replayed(from, from - 1)];
        assert_eq!(replays, [empty(12), empty(2), empty(17)]);
    }
}
