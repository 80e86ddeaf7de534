//! The messages that found no room in a channel's queue, at their place among its entries.

use crate::sync::{AtomicU64, Ordering};

/// The messages that found no room since the last entry, which are one row in the channel's order.
///
/// One word holds the number of the row and the count of its messages. The first message of a row
/// pushes a mark of it, so the row has a place in the queue. Whoever pushes an entry while a row is
/// open ends the row: its messages come before that entry. The sealer ends the row whose mark it
/// finds. A mark of a row that has ended stands for nothing.
///
/// No count is left behind: a row that is open has a mark in the queue, or on its way by the
/// publisher of its first message, who then has the channel sealed. All changes are
/// read-modify-writes of one location, hence in one order. Relaxed: they guard no data, and the
/// queue's own push and pop order the marks.
// On a cache line of its own: publishers that only drop write nothing else.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct OverflowRow(AtomicU64);

/// The bits of the word that count messages. A row that is 2^24 rows older than the open one has
/// its number, but the queue does not hold so many marks.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl OverflowRow {
    /// Adds messages to the open row. Returns the number of the row if these are its first.
    pub(super) fn add(&self, messages: u64) -> Option<u64> {
        let before = self.0.fetch_add(messages, Ordering::Relaxed);
        (before & COUNT_MASK == 0).then_some(before >> COUNT_BITS)
    }

    /// Ends the open row, or only if it has this number. Returns the count of its messages.
    pub(super) fn end(&self, row: Option<u64>) -> u64 {
        let ended = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let open = word >> COUNT_BITS;
                let is_meant = word & COUNT_MASK > 0 && row.is_none_or(|row| row == open);
                is_meant.then(|| (open + 1) << COUNT_BITS)
            });
        ended.map_or(0, |word| word & COUNT_MASK)
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use std::collections::VecDeque;

    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;
    use crate::channel::seal::SealFlag;
    use crate::sync::AtomicUsize;

    /// What concerns messages that find no room, in the order of the queue.
    enum Step {
        Mark(u64),
        Note(u64),
    }

    /// The part of a channel that concerns what finds no room.
    #[derive(Default)]
    struct Model {
        overflow: OverflowRow,
        queue: Mutex<VecDeque<Step>>,
        flag: SealFlag,
        told: AtomicUsize,
    }

    impl Model {
        /// Does the same as a publisher whose message finds no room.
        fn drop_one(&self) {
            if let Some(row) = self.overflow.add(1) {
                self.queue.lock().unwrap().push_back(Step::Mark(row));
                self.seal();
            }
        }

        /// Does the same as a publisher whose message has found room.
        fn enter(&self) {
            let overflowed = self.overflow.end(None);
            if overflowed > 0 {
                self.queue.lock().unwrap().push_back(Step::Note(overflowed));
            }
            self.seal();
        }

        fn seal(&self) {
            let Some(mut token) = self.flag.request() else {
                return;
            };
            loop {
                loop {
                    let Some(step) = self.queue.lock().unwrap().pop_front() else {
                        break;
                    };
                    let messages = match step {
                        Step::Mark(row) => self.overflow.end(Some(row)),
                        Step::Note(messages) => messages,
                    };
                    self.told.fetch_add(messages as usize, Ordering::Relaxed);
                }
                match self.flag.done(token) {
                    None => return,
                    Some(more) => token = more,
                }
            }
        }
    }

    /// Two threads drop a message each, and another one enters: both are told once, without any
    /// further request.
    #[test]
    fn loom_whatever_finds_no_room_is_told_once_by_a_mark_or_by_the_next_entry() {
        let mut bounded = loom::model::Builder::new();
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let model = Arc::new(Model::default());
            let dropping = {
                let model = Arc::clone(&model);
                thread::spawn(move || model.drop_one())
            };
            let entering = {
                let model = Arc::clone(&model);
                thread::spawn(move || model.enter())
            };
            model.drop_one();
            dropping.join().unwrap();
            entering.join().unwrap();
            assert_eq!(model.told.load(Ordering::Relaxed), 2);
        });
    }
}
