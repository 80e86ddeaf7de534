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
