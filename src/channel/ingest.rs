//! Stage 1: what publishers have pushed and the sealer has not yet taken, in the channel's one
//! total order.
//!
//! Joins and leaves are in the same queue as messages. That makes the seam exact: a subscriber gets
//! every message that was pushed after its join, and none from before.

use std::sync::Arc;

use crossbeam_queue::SegQueue;

use super::block::{Block, Run};
use super::client::Client;
use super::mirror::Renumbering;
use super::overflow_row::OverflowRow;
use super::reading::Reading;
use super::role::RoleChange;
use super::seal::SealToken;
use super::subscription::Subscription;
use crate::protocol::Range;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// One push.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Messages.
    Run(Run),
    /// A subscriber that gets all messages that come after.
    Join(Arc<Subscription>),
    /// A subscriber that gets no message that comes after.
    Leave(Arc<Subscription>),
    /// A subscriber that has something pending, and has room again.
    Resume(Arc<Subscription>),
    /// A subscriber that wants a range of messages again.
    Refetch(Arc<Subscription>, Range),
    /// Messages of a bridge or of another node, which have their time but no number yet.
    Imported(Box<Block>, Origin),
    /// Messages that were published on another node, to be numbered here.
    Forwarded(Box<Block>),
    /// The channel's home is here or elsewhere from now on.
    Role(Box<RoleChange>),
    /// Messages of a mirror, which have their numbers and their time.
    Numbered(Box<Block>),
    /// A mirror's numbering starts again.
    Renumber(Box<Renumbering>),
    /// The messages of a mirror up to this number cannot be had.
    SkipTo(u64),
    /// Whether a mirror has caught up with its source.
    Synced(bool),
    /// A client's ping, which is answered once its subscription to a mirror is active.
    Ping(Arc<Client>),
    /// A reader wants kept messages.
    Read(Box<Reading>),
    /// The unfinished line is to be shown.
    Partial,
    /// The history may hold blocks that are too old.
    Trim,
    /// The history has to make room for those of other channels.
    Forget,
    /// So many messages found no room here. They keep their numbers, and do not count as skipped
    /// for a subscriber that joins later.
    Overflowed(u64),
    /// A row of messages that found no room begins here, unless it has ended: then a note of it
    /// comes later.
    Overflowing(u64),
}

impl Entry {
    /// Returns whether it may enter although the queue is at its bound: it must not be lost behind
    /// a flood.
    fn is_reserved(&self) -> bool {
        match self {
            Self::Run(Run::Message(message)) => message.is_reserved(),
            Self::Imported(block, _) | Self::Forwarded(block) => block.has_reserved(),
            _ => false,
        }
    }

    fn weight(&self) -> Waiting {
        match self {
            Self::Run(run) => Waiting {
                messages: run.messages(),
                bytes: run.bytes(),
            },
            Self::Imported(block, _) | Self::Forwarded(block) => Waiting {
                messages: block.len(),
                bytes: block.bytes(),
            },
            _ => Waiting::default(),
        }
    }
}

/// Where messages were published that are imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In another system. Other nodes have not seen them.
    Bridge,
    /// On another node.
    Node,
}

/// An amount of waiting data, in messages and raw bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

const BYTES_BITS: u32 = 40;
/// The most statuses and errors that may wait beyond the queue's bound.
const MAX_RESERVED: usize = 1024;

impl Waiting {
    fn unpack(word: u64) -> Self {
        Self {
            messages: (word >> BYTES_BITS) as usize,
            bytes: (word & ((1 << BYTES_BITS) - 1)) as usize,
        }
    }

    fn pack(self) -> u64 {
        ((self.messages as u64) << BYTES_BITS) + self.bytes as u64
    }

    /// Returns whether either amount has reached the bound.
    pub(crate) fn exceeds(self, bound: Waiting) -> bool {
        self.messages >= bound.messages || self.bytes >= bound.bytes
    }
}

impl std::ops::AddAssign for Waiting {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// The outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The entry waits. The amount is all that waits now, this entry included.
    Accepted(Waiting),
    /// The queue was at its bound, and the messages were only counted. `first` is true for the
    /// first of a row of them: its publisher has the channel sealed, and with it the others are
    /// accounted for.
    Dropped { first: bool },
}

/// The queue between the publishers of a channel and its sealer.
///
/// The counters are Relaxed: they decide when to seal and bound what waits, and order nothing. The
/// queue's own push and pop order the entries.
pub(crate) struct Ingest {
    queue: SegQueue<Entry>,
    /// Messages (upper 24 bits) and bytes (lower 40) that wait.
    waiting: AtomicU64,
    overflow: OverflowRow,
    /// Reserved messages that wait.
    reserved: AtomicUsize,
}

impl Ingest {
    pub(crate) fn new() -> Self {
        Self {
            queue: SegQueue::new(),
            waiting: AtomicU64::new(0),
            overflow: OverflowRow::default(),
            reserved: AtomicUsize::new(0),
        }
    }

    /// Pushes an entry without waiting. At `bound`, messages are not pushed but counted.
    ///
    /// A status or an error enters all the same, as it has a reserve in the clients' queues: a
    /// process's last lines may have filled this queue just before its exit status. The number of
    /// these has a bound too.
    ///
    /// The bound is met only when publishers push faster than one of them can seal. An empty queue
    /// takes an entry of any size.
    pub(crate) fn push(&self, entry: Entry, bound: Waiting) -> Pushed {
        let weight = entry.weight();
        let waiting = if weight.messages == 0 {
            self.waiting()
        } else {
            match self.admit(&entry, weight, bound) {
                Some(waiting) => waiting,
                None => {
                    let row = self.overflow.add(weight.messages as u64);
                    if let Some(row) = row {
                        self.queue.push(Entry::Overflowing(row));
                    }
                    return Pushed::Dropped {
                        first: row.is_some(),
                    };
                }
            }
        };
        self.enter(entry);
        Pushed::Accepted(waiting)
    }

    /// Pushes messages if there is room for them, and returns them if there is none.
    pub(crate) fn try_push(&self, entry: Entry, bound: Waiting) -> Result<Pushed, Entry> {
        match self.admit(&entry, entry.weight(), bound) {
            Some(waiting) => {
                self.enter(entry);
                Ok(Pushed::Accepted(waiting))
            }
            None => Err(entry),
        }
    }

    fn enter(&self, entry: Entry) {
        // One note for all messages that found no room since the last entry, at their place.
        let overflowed = self.overflow.end(None);
        if overflowed > 0 {
            self.queue.push(Entry::Overflowed(overflowed));
        }
        self.queue.push(entry);
    }

    /// Claims room for messages. Returns all that waits then, or `None` when there is no room.
    fn admit(&self, entry: &Entry, weight: Waiting, bound: Waiting) -> Option<Waiting> {
        let is_reserved = entry.is_reserved();
        let has_place = is_reserved && self.reserved.fetch_add(1, Ordering::Relaxed) < MAX_RESERVED;
        // A load first: publishers that only drop must not take the counter from the sealer.
        if has_place || !self.waiting().exceeds(bound) {
            let mut waiting =
                Waiting::unpack(self.waiting.fetch_add(weight.pack(), Ordering::Relaxed));
            if has_place || !waiting.exceeds(bound) {
                waiting += weight;
                return Some(waiting);
            }
            self.release(weight);
        }
        if is_reserved {
            self.reserved.fetch_sub(1, Ordering::Relaxed);
        }
        None
    }

    /// Returns the amount that waits now.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting::unpack(self.waiting.load(Ordering::Relaxed))
    }

    /// Returns the number of entries that a pass which starts now takes. Entries that are pushed
    /// later belong to a later pass, so that a pass ends.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next entry.
    pub(super) fn pop(&self, _: &SealToken) -> Option<Entry> {
        let entry = self.queue.pop()?;
        if entry.is_reserved() {
            self.reserved.fetch_sub(1, Ordering::Relaxed);
        }
        Some(entry)
    }

    /// Releases the room of entries that were taken.
    pub(crate) fn release(&self, taken: Waiting) {
        self.waiting.fetch_sub(taken.pack(), Ordering::Relaxed);
    }

    /// Returns the count of the messages in a row that found no room, whose mark was taken. It is 0
    /// if an entry has ended the row: then a note of it stands before that entry.
    pub(super) fn end_overflow(&self, row: u64, _: &SealToken) -> u64 {
        self.overflow.end(Some(row))
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest")
            .field("entries", &self.queue.len())
            .field(
                "waiting",
                &Waiting::unpack(self.waiting.load(Ordering::Relaxed)),
            )
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::seal::SealFlag;
    use crate::channel::testing;
    use crate::message::{Message, Status};

    const BOUND: Waiting = Waiting {
        messages: 2,
        bytes: 1000,
    };

    fn token() -> SealToken {
        SealFlag::default().request().expect("the flag is down")
    }

    /// Takes the mark of a row, which must be next. Returns the count of the row.
    fn ended_row(ingest: &Ingest, token: &SealToken) -> u64 {
        match ingest.pop(token) {
            Some(Entry::Overflowing(row)) => ingest.end_overflow(row, token),
            other => panic!("{other:?}"),
        }
    }

    fn line() -> Entry {
        Entry::Run(Run::Line("line".into()))
    }

    #[test]
    fn what_found_no_room_before_a_join_stands_before_it() {
        let subscription = testing::subscription(&testing::channel(), None);
        let token = token();
        let ingest = Ingest::new();
        for _ in 0..5 {
            ingest.push(line(), BOUND);
        }
        ingest.push(Entry::Join(subscription), BOUND);
        ingest.push(line(), BOUND);
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert_eq!(ended_row(&ingest, &token), 0, "the join has ended it");
        assert!(matches!(ingest.pop(&token), Some(Entry::Overflowed(3))));
        assert!(matches!(ingest.pop(&token), Some(Entry::Join(_))));
        assert_eq!(ended_row(&ingest, &token), 1, "the one after the join");
        assert!(ingest.pop(&token).is_none());
    }

    #[test]
    fn what_found_no_room_stands_between_what_was_pushed_before_and_after_it() {
        let ingest = Ingest::new();
        let token = token();
        for _ in 0..3 {
            ingest.push(line(), BOUND);
        }
        ingest.release(Waiting {
            messages: 2,
            bytes: 8,
        });
        ingest.push(line(), BOUND);
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert_eq!(ended_row(&ingest, &token), 0);
        assert!(matches!(ingest.pop(&token), Some(Entry::Overflowed(1))));
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
    }

    #[test]
    fn what_finds_no_room_takes_none_and_the_first_of_it_has_the_channel_sealed() {
        let ingest = Ingest::new();
        let token = token();
        let dropped = |first| Pushed::Dropped { first };
        for _ in 0..2 {
            assert!(matches!(ingest.push(line(), BOUND), Pushed::Accepted(_)));
        }
        assert_eq!(ingest.push(line(), BOUND), dropped(true));
        for _ in 0..100_000 {
            assert_eq!(ingest.push(line(), BOUND), dropped(false));
        }
        assert_eq!(ingest.len(), 3, "two lines and the mark of a row");
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert_eq!(ended_row(&ingest, &token), 100_001);
        assert_eq!(ingest.push(line(), BOUND), dropped(true));
    }

    #[test]
    fn a_row_that_goes_on_when_its_mark_is_taken_comes_before_the_next_entry() {
        let ingest = Ingest::new();
        let token = token();
        for _ in 0..3 {
            ingest.push(line(), BOUND);
        }
        while !matches!(ingest.pop(&token), Some(Entry::Overflowing(0))) {}
        // The sealer has the mark in hand while a publisher drops one more, and another enters.
        ingest.push(line(), BOUND);
        ingest.release(Waiting {
            messages: 2,
            bytes: 8,
        });
        ingest.push(line(), BOUND);
        assert_eq!(ingest.end_overflow(0, &token), 0, "a note stands for it");
        assert!(matches!(ingest.pop(&token), Some(Entry::Overflowed(2))));
        assert!(matches!(ingest.pop(&token), Some(Entry::Run(_))));
        assert!(ingest.pop(&token).is_none());
    }

    #[test]
    fn statuses_enter_a_full_queue_up_to_a_bound_of_their_own() {
        let ingest = Ingest::new();
        let token = token();
        let status = || Entry::Run(Run::Message(Box::new(Message::status(&Status::Exited, 0))));
        for _ in 0..3 {
            ingest.push(line(), BOUND);
        }
        for _ in 0..MAX_RESERVED + 5 {
            ingest.push(status(), BOUND);
        }
        assert_eq!(
            ingest.len(),
            2 + 2 + MAX_RESERVED + 1,
            "two lines, the mark and the note of one that found no room, the statuses, and a mark"
        );
        for _ in 0..4 + MAX_RESERVED {
            ingest.pop(&token);
        }
        assert_eq!(ended_row(&ingest, &token), 5);
        assert!(
            matches!(ingest.push(status(), BOUND), Pushed::Accepted(_)),
            "a taken one gives its place back"
        );
    }
}
