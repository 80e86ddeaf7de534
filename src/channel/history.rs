//! The last blocks of a channel, for subscribers that come late, come back or missed messages.
//!
//! A history holds the blocks that were fanned out, not copies: their raw messages, and the
//! encodings that some subscriber needed. It belongs to the channel's sealer. Blocks are kept
//! whole: the bound in messages is exact for replays, and off by less than one block for what is
//! held.

use std::collections::VecDeque;
use std::sync::Arc;

use super::block::Block;

/// The bounds of one channel's history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// Messages. 0 keeps no history.
    pub(crate) messages: usize,
    /// Bytes of raw messages and of their encodings.
    pub(crate) bytes: usize,
    /// The age at which a block is dropped, in nanoseconds.
    pub(crate) age: u64,
}

/// The bytes charged for a channel with a history beside its blocks: its queue, names and
/// numbering.
pub(crate) const CHANNEL_BYTES: usize = 4096;

/// A channel's last blocks, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
    /// Messages of all blocks.
    messages: u64,
}

/// The number of bytes by which a history has changed.
pub(crate) type ByteChange = isize;

impl History {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Keeps a block, and drops the blocks that exceed the bounds.
    pub(crate) fn append(&mut self, block: Arc<Block>, keep: Keep, now: u64) -> ByteChange {
        let mut change = 0;
        if self.blocks.is_empty() {
            change += CHANNEL_BYTES as isize;
        }
        let bytes = block.memory();
        block.charge(bytes);
        self.bytes += bytes;
        self.messages += block.len() as u64;
        self.blocks.push_back(block);
        change + bytes as isize + self.trim(keep, now)
    }

    /// Drops the blocks that exceed the bounds at `now`.
    pub(crate) fn trim(&mut self, keep: Keep, now: u64) -> ByteChange {
        let mut change = 0;
        let needed_from = self.last_seq().saturating_sub(keep.messages as u64);
        while let Some(front) = self.blocks.front() {
            let too_old = now.saturating_sub(front.sealed_at()) > keep.age;
            let too_many = front.last_seq() <= needed_from;
            let too_large = self.bytes > keep.bytes && self.blocks.len() > 1;
            if !(too_old || too_many || too_large) {
                break;
            }
            self.bytes -= front.charged();
            self.messages -= front.len() as u64;
            change -= front.charged() as isize;
            self.blocks.pop_front();
        }
        if change < 0 && self.blocks.is_empty() {
            change -= CHANNEL_BYTES as isize;
        }
        change
    }

    /// Drops all blocks.
    pub(crate) fn clear(&mut self) -> ByteChange {
        if self.blocks.is_empty() {
            return 0;
        }
        let change = self.bytes + CHANNEL_BYTES;
        *self = Self::default();
        -(change as isize)
    }

    /// Accounts for the encodings that a block got after it was kept.
    pub(crate) fn settle(&mut self, block: &Block) -> ByteChange {
        let grown = block.memory() - block.charged();
        if grown == 0
            || self
                .find(block.first_seq())
                .is_none_or(|kept| !std::ptr::eq(&**kept, block))
        {
            return 0;
        }
        block.charge(block.memory());
        self.bytes += grown;
        grown as isize
    }

    /// Returns the number of the oldest message that can be replayed; `None` when there is none.
    pub(crate) fn oldest(&self, keep: Keep) -> Option<u64> {
        let first = self.blocks.front()?.first_seq();
        Some(first.max((self.last_seq() + 1).saturating_sub(keep.messages as u64)))
    }

    /// Returns the block that holds message `seq`, or else the next block after it.
    pub(crate) fn find(&self, seq: u64) -> Option<&Arc<Block>> {
        let index = self.blocks.partition_point(|block| block.last_seq() < seq);
        self.blocks.get(index)
    }

    /// Returns how many of the messages before `end`, from `start` on, are not held. They were
    /// dropped before they were sealed, or are too old.
    ///
    /// Linear in blocks where messages between two blocks are missing, which a flood alone causes.
    pub(crate) fn missing(&self, start: u64, end: u64) -> u64 {
        let wanted = end.saturating_sub(start);
        let first = self
            .blocks
            .front()
            .map_or(u64::MAX, |block| block.first_seq());
        let has_all = self.last_seq().saturating_sub(first) + 1 == self.messages;
        if has_all && first <= start && end <= self.last_seq() + 1 {
            return 0;
        }
        let from = self
            .blocks
            .partition_point(|block| block.last_seq() < start);
        let held: u64 = self
            .blocks
            .range(from..)
            .take_while(|block| block.first_seq() < end)
            .map(|block| (block.last_seq() + 1).min(end) - block.first_seq().max(start))
            .sum();
        wanted - held
    }

    fn last_seq(&self) -> u64 {
        self.blocks.back().map_or(0, |block| block.last_seq())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::Run;
    use super::*;
    use crate::encode::Timestamp;

    const KEEP: Keep = Keep {
        messages: 10,
        bytes: 1 << 20,
        age: u64::MAX,
    };

    fn block(first_seq: u64, lines: usize, line: &'static [u8], at: u64) -> Arc<Block> {
        let mut block = Block::with_capacity(lines);
        for _ in 0..lines {
            block.push(Run::Line(Bytes::from_static(line)));
        }
        block.seal(first_seq, Timestamp::from_unix_millis(0), at);
        Arc::new(block)
    }

    #[test]
    fn replays_exactly_as_many_messages_as_are_kept() {
        let mut history = History::default();
        history.append(block(1, 7, b"x", 0), KEEP, 0);
        assert_eq!(history.oldest(KEEP), Some(1));
        history.append(block(8, 7, b"x", 0), KEEP, 0);
        assert_eq!(history.oldest(KEEP), Some(5));
        history.append(block(15, 7, b"x", 0), KEEP, 0);
        assert_eq!(history.oldest(KEEP), Some(12));
        assert_eq!(history.find(12).map(|block| block.first_seq()), Some(8));
        assert_eq!(
            history.find(3).map(|block| block.first_seq()),
            Some(8),
            "the next one after what is gone"
        );
        assert!(history.find(22).is_none());
    }

    #[test]
    fn old_blocks_go_even_if_nothing_comes_after_them() {
        let keep = Keep { age: 100, ..KEEP };
        let mut history = History::default();
        let held = history.append(block(1, 3, b"x", 50), keep, 50);
        assert_eq!(history.trim(keep, 150), 0);
        assert_eq!(history.trim(keep, 151), -held);
        assert!(history.is_empty());
    }

    proptest! {
        #[test]
        fn the_changes_add_up_to_what_is_held_and_stay_within_the_bounds(
            blocks in prop::collection::vec((1..20usize, 0..3usize, 0..3u64), 1..60),
            bytes in 500..20_000usize,
            messages in 1..100usize,
        ) {
            let lines: [&'static [u8]; 3] = [b"", b"short", &[b'x'; 900]];
            let keep = Keep { messages, bytes, age: u64::MAX };
            let mut history = History::default();
            let (mut held, mut seq) = (0isize, 0u64);
            for (count, line, dropped) in blocks {
                let block = block(seq + 1 + dropped, count, lines[line], 0);
                seq += dropped + count as u64;
                held += history.append(Arc::clone(&block), keep, 0);
                let sum: usize = history.blocks.iter().map(|block| block.memory()).sum();
                prop_assert_eq!(held, (sum + CHANNEL_BYTES) as isize);
                prop_assert!(history.bytes <= bytes || history.blocks.len() == 1);
                let oldest = history.oldest(keep).unwrap();
                prop_assert!(seq + 1 - oldest <= messages as u64);
                let first = history.blocks[0].first_seq();
                for (start, end) in [(1, seq + 9), (first, seq + 1), (oldest, seq), (seq, seq)] {
                    let is_held = |seq: &u64| {
                        let block = history.find(*seq);
                        block.is_some_and(|block| block.first_seq() <= *seq)
                    };
                    let missing = (start..end).filter(|seq| !is_held(seq)).count();
                    prop_assert_eq!(history.missing(start, end), missing as u64);
                }
            }
            held += history.clear();
            prop_assert_eq!(held, 0);
        }
    }
}
