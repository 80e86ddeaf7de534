//! Stage 4: what one subscriber gets of a block.
//!
//! A plain subscription gets the messages of each block that fit. A subscription with options also
//! has a place in the numbering: it is told of skipped messages before the next message that it
//! gets.

use std::ops::Range;

use super::block::Block;
use super::profile::{Overflow, Profile};
use super::shared::HubShared;
use super::subscription::{Gap, Subscription};
use super::tally::Tally;
use crate::encode::{self, Envelope, Timestamp};
use crate::message::Message;
use crate::protocol::SubscribeRefusal;
use crate::reason::CloseReason;

/// The delivery to one subscriber during one pass. Nothing here waits.
pub(super) struct Delivery<'a> {
    pub(super) channel: &'a Profile,
    pub(super) to: &'a Subscription,
    pub(super) tally: &'a mut Tally,
}

impl Delivery<'_> {
    /// Offers a new block to a subscription without options.
    #[inline]
    pub(super) fn plain(&mut self, block: &Block) {
        let outbox = &self.to.client.outbox;
        let messages = block.len();
        // Avoids encoding a block in vain.
        if !block.has_reserved() && outbox.is_full() {
            self.tally.offered += messages as u64;
            return self.skip(messages);
        }
        let encoded = block.encoded(self.to.encoding, &self.channel.style);
        // Counted after the encoding: if that panics, nothing was offered.
        self.tally.offered += messages as u64;
        let frames = &encoded.frames;
        let Some(prefix) = self.tally.note(outbox.offer(frames, 0..frames.len())) else {
            self.tally.discarded += messages as u64;
            return;
        };
        if prefix == frames.len() {
            return;
        }
        let mut accepted = frames.messages_before(prefix);
        for &frame in &encoded.reserved {
            let frame = frame as usize;
            if frame >= prefix {
                accepted += self
                    .tally
                    .note(outbox.offer_reserved(frames.slice(frame..frame + 1)))
                    .unwrap_or(0);
            }
        }
        self.skip(messages - accepted);
    }

    /// Offers a new block to a subscription with options that is live.
    #[inline]
    pub(super) fn live(&mut self, gap: &mut Gap, block: &Block) {
        let messages = block.len();
        let accepted = self.messages(gap, block, 0..messages);
        self.tally.offered += messages as u64;
        let Some(prefix) = accepted else {
            self.tally.discarded += messages as u64;
            return;
        };
        if prefix == messages {
            return;
        }
        gap.open(block.first_seq() + prefix as u64);
        let reserved = self.reserved_after(gap, block, prefix);
        self.skip(messages - prefix - reserved);
        self.promise_gap(gap, block.last_seq());
    }

    /// Offers the reserved messages of a block of which only the first `prefix` messages were
    /// accepted. Each is told of the gap before it. Returns how many were accepted.
    fn reserved_after(&mut self, gap: &mut Gap, block: &Block, prefix: usize) -> usize {
        let encoded = block.encoded(self.to.encoding, &self.channel.style);
        let mut accepted = 0;
        for &frame in &encoded.reserved {
            let frame = frame as usize;
            let index = encoded.frames.messages_before(frame);
            if index < prefix {
                continue;
            }
            let seq = block.first_seq() + index as u64;
            if !self.tell_gap(gap, seq, block.timestamp()) {
                break;
            }
            let outbox = &self.to.client.outbox;
            let offered = outbox.offer_reserved(encoded.frames.slice(frame..frame + 1));
            if self.tally.note(offered) != Some(1) {
                *gap = Gap::from(seq);
                break;
            }
            accepted += 1;
            if seq < block.last_seq() {
                *gap = Gap::from(seq + 1);
            }
        }
        accepted
    }

    /// Offers messages of a block, by their indexes in it, after the gap before them if there is
    /// one.
    ///
    /// Returns the number of messages accepted from the start of the range; `None` when the client
    /// is gone.
    pub(super) fn messages(
        &mut self,
        gap: &mut Gap,
        block: &Block,
        messages: Range<usize>,
    ) -> Option<usize> {
        let outbox = &self.to.client.outbox;
        if outbox.is_closed() {
            return None;
        }
        // Avoids encoding a block in vain, and telling of a gap that only grows.
        let first = block.first_seq() + messages.start as u64;
        if outbox.is_full() || !self.tell_gap(gap, first, block.timestamp()) {
            return Some(0);
        }
        let (encoding, style) = (self.to.encoding, &self.channel.style);
        let whole = &block.encoded(encoding, style).frames;
        let end = if messages.end == block.len() {
            whole.len()
        } else {
            let end = whole.frame_of(messages.end);
            if whole.messages_before(end) != messages.end {
                // A replay that ends within a batch: encoded for this subscriber alone.
                let frames = block.encode(encoding, style, messages);
                let accepted = self.tally.note(outbox.offer(&frames, 0..frames.len()))?;
                return Some(frames.messages_before(accepted));
            }
            end
        };
        let mut start = whole.frame_of(messages.start);
        let mut accepted = 0;
        if whole.messages_before(start) != messages.start {
            // A replay that begins within a batch: the rest of the batch is encoded anew.
            let boundary = whole.messages_before(start + 1).min(messages.end);
            let frames = block.encode(encoding, style, messages.start..boundary);
            let fit = self.tally.note(outbox.offer(&frames, 0..frames.len()))?;
            accepted = frames.messages_before(fit);
            if accepted < frames.messages() {
                return Some(accepted);
            }
            start += 1;
        }
        if start == end {
            return Some(accepted);
        }
        let fit = self.tally.note(outbox.offer(whole, start..end))?;
        Some(accepted + whole.messages_before(start + fit) - whole.messages_before(start))
    }

    /// Skips messages that the channel's own queue could not take, for a subscription with options
    /// that is live.
    pub(super) fn overrun(&mut self, gap: &mut Gap, first: u64, messages: u64) {
        gap.open(first);
        self.promise_gap(gap, first + messages - 1);
        self.tally.offered += messages;
        self.skip(messages as usize);
    }

    /// Tells of the gap before message `next`, if there is one. Returns false when there was no
    /// room: then nothing after the gap may be delivered either.
    pub(super) fn tell_gap(&mut self, gap: &mut Gap, next: u64, timestamp: &Timestamp) -> bool {
        if let Some(from) = gap.before(next)
            && self.to.tells_gaps()
        {
            let encoding = self.to.encoding;
            let frame = encode::gap(encoding, self.channel.name(), from, next - 1, timestamp);
            if !self.control(frame) {
                return false;
            }
        }
        gap.close();
        true
    }

    /// Tells of the gap before message `next` although no message follows it. Returns false when
    /// there was no room.
    pub(super) fn tell_last_gap(&mut self, gap: &mut Gap, next: u64) -> bool {
        if !gap.is_open() || !self.to.tells_gaps() {
            return true;
        }
        !self.to.client.outbox.is_full() && self.tell_gap(gap, next, &HubShared::timestamp())
    }

    /// Ensures that the gap up to message `last` is told even if no message follows it.
    fn promise_gap(&mut self, gap: &mut Gap, last: u64) {
        if gap.is_open() && self.to.tells_gaps() {
            self.to.mark_pending();
            // Once more after the request: room that was made before it is found here, and room
            // made after it makes the writer come back.
            self.tell_last_gap(gap, last + 1);
        }
    }

    /// Offers a message that has no number. Returns whether it was accepted.
    pub(super) fn control(&mut self, frame: bytes::Bytes) -> bool {
        if frame.is_empty() {
            return true;
        }
        let offered = self.to.client.outbox.offer_reserved(frame);
        let accepted = self.tally.note(offered) == Some(1);
        self.tally.offered += u64::from(accepted);
        accepted
    }

    /// Offers an unfinished line, which has no number and may not use the reserve. Returns whether
    /// it was accepted.
    pub(super) fn partial(&mut self, frame: bytes::Bytes) -> bool {
        let offered = self.to.client.outbox.offer_frame(frame);
        let accepted = self.tally.note(offered) == Some(1);
        self.tally.offered += u64::from(accepted);
        accepted
    }

    /// Tells the subscriber that a request is refused. An answer that finds no room counts as
    /// skipped.
    pub(super) fn refuse(&mut self, refusal: SubscribeRefusal) {
        let message = Message::error(refusal.as_str());
        let frame = encode::single(&Envelope::new(None), &message, &HubShared::timestamp());
        if !self.control(frame) {
            self.tally.offered += 1;
            self.tally.skipped += 1;
            self.to.client.count_skipped(1);
        }
    }

    /// Counts messages that the client had no room for. Ends its connection where the channel does
    /// so.
    pub(super) fn skip(&mut self, messages: usize) {
        if messages == 0 {
            return;
        }
        self.tally.skipped += messages as u64;
        self.to.client.count_skipped(messages as u64);
        if self.channel.overflow == Overflow::Disconnect {
            self.to.client.outbox.ask_to_close(CloseReason::Overflow);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{
        Told, channel_with, contiguous, numbered_block, subscription, write,
    };
    use super::*;
    use crate::config::Config;
    use crate::outbox::OutboxReader;
    use crate::protocol::SubscribeOptions;

    /// A step in the life of a subscription.
    #[derive(Debug, Clone)]
    enum Step {
        /// A block with a status where true, and a line elsewhere.
        Block(Vec<bool>),
        /// Messages that the channel's queue could not take.
        Overrun(u64),
        /// The writer writes this many parcels.
        Write(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let is_status = prop::bool::weighted(0.2);
        let step = prop_oneof![
            5 => prop::collection::vec(is_status, 1..9).prop_map(Step::Block),
            1 => (1..5u64).prop_map(Step::Overrun),
            3 => (0..4usize).prop_map(Step::Write),
        ];
        prop::collection::vec(step, 1..60)
    }

    fn config(queue: usize) -> Config {
        Config {
            queue,
            ..Config::default()
        }
    }

    proptest! {
        /// Whatever fits, a live subscription is told of every message once and in order: by the
        /// message itself, or by a gap. All of it is counted to the unit.
        #[test]
        fn a_live_subscription_gets_each_message_or_is_told_of_its_gap(
            steps in steps(),
            queue in 1..12usize,
            batch in any::<bool>(),
        ) {
            let channel = channel_with(config(queue));
            let options = SubscribeOptions { gaps: true, batch, ..SubscribeOptions::default() };
            let to = subscription(&channel, Some(options));
            let (mut tally, mut gap, mut last) = (Tally::default(), Gap::default(), 0);
            let (mut reader, mut told) = (OutboxReader::default(), Vec::new());
            let end = [Step::Write(usize::MAX), Step::Write(usize::MAX)];
            for step in steps.into_iter().chain(end) {
                let (channel, tally) = (&channel.profile, &mut tally);
                let mut delivery = Delivery { channel, to: &to, tally };
                match step {
                    Step::Block(statuses) => {
                        let block = numbered_block(last + 1, &statuses);
                        last = block.last_seq();
                        delivery.live(&mut gap, &block);
                    }
                    Step::Overrun(messages) => {
                        delivery.overrun(&mut gap, last + 1, messages);
                        last += messages;
                    }
                    Step::Write(parcels) => {
                        if write(&mut reader, &to.client, parcels, &mut told) {
                            delivery.tell_last_gap(&mut gap, last + 1);
                        }
                    }
                }
            }
            let (next, skipped) = contiguous(&told, 1);
            prop_assert_eq!(next, last + 1, "all of it: {:?}", told);
            prop_assert_eq!(skipped, tally.skipped);
            prop_assert_eq!(skipped, to.client.skipped());
            prop_assert_eq!(tally.offered, to.client.written() + tally.skipped);
            prop_assert_eq!(tally.discarded, 0);
        }

        /// A plain subscription gets messages in order and is told nothing. The rest is counted.
        #[test]
        fn a_plain_subscription_gets_what_fits_and_the_rest_is_counted(
            steps in steps(),
            queue in 1..12usize,
        ) {
            let channel = channel_with(config(queue));
            let to = subscription(&channel, None);
            let (mut tally, mut last) = (Tally::default(), 0);
            let (mut reader, mut told) = (OutboxReader::default(), Vec::new());
            for step in steps.into_iter().chain([Step::Write(usize::MAX)]) {
                let (channel, tally) = (&channel.profile, &mut tally);
                let mut delivery = Delivery { channel, to: &to, tally };
                match step {
                    Step::Block(statuses) => {
                        let block = numbered_block(last + 1, &statuses);
                        last = block.last_seq();
                        delivery.plain(&block);
                    }
                    Step::Overrun(_) => {}
                    Step::Write(parcels) => {
                        prop_assert!(!write(&mut reader, &to.client, parcels, &mut told));
                    }
                }
            }
            let numbers = told.iter().map(|told| match told {
                Told::Message(seq) => *seq,
                other => panic!("told {other:?}"),
            });
            prop_assert!(numbers.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(tally.offered, last);
            prop_assert_eq!(told.len() as u64 + tally.skipped, last);
        }
    }

    #[test]
    fn a_client_that_is_gone_discards_its_messages_once() {
        let channel = channel_with(config(8));
        for options in [None, Some(SubscribeOptions::default())] {
            let to = subscription(&channel, options);
            to.client.outbox.discard();
            let mut tally = Tally::default();
            let mut delivery = Delivery {
                channel: &channel.profile,
                to: &to,
                tally: &mut tally,
            };
            let block = numbered_block(1, &[false, true, false]);
            if to.is_tracked() {
                delivery.live(&mut Gap::default(), &block);
            } else {
                delivery.plain(&block);
            }
            assert_eq!((tally.offered, tally.discarded, tally.skipped), (3, 3, 0));
        }
    }
}
