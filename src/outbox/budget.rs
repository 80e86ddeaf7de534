//! The account of one client's queue: messages and bytes, and a reserve for messages that must not
//! be lost.
//!
//! The whole account is one word. A block is therefore admitted by one compare-and-swap, and
//! closing is atomic with respect to admission: the word's value at closing is exactly the amount
//! that was accepted and never written.

use crate::sync::{AtomicU64, Ordering};

const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;
const MESSAGES_MASK: u64 = (1 << 23) - 1;
const CLOSED: u64 = 1 << 63;

/// The largest configurable number of messages. The account has 23 bits for them, which leaves room
/// for the reserve.
pub(crate) const MAX_MESSAGES: usize = 1 << 22;
/// The largest configurable number of bytes. The account has 40 bits for them, which leaves room
/// for one more message. Where addresses have 32 bits, half of them is the limit.
#[cfg(target_pointer_width = "64")]
pub(crate) const MAX_BYTES: usize = 1 << 38;
#[cfg(not(target_pointer_width = "64"))]
pub(crate) const MAX_BYTES: usize = usize::MAX / 2;

/// Messages beyond the queue's own bound that only statuses, gaps and control messages may use.
pub(crate) const RESERVE_MESSAGES: usize = 16;
/// Bytes beyond the queue's own bound that only statuses, gaps and control messages may use.
pub(crate) const RESERVE_BYTES: usize = 64 * 1024;

/// The bounds of one client's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl QueueLimits {
    fn with_reserve(self) -> Self {
        Self {
            messages: self.messages + RESERVE_MESSAGES,
            bytes: self.bytes + RESERVE_BYTES,
        }
    }
}

/// An amount of queued data, in messages and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Used {
    fn unpack(word: u64) -> Self {
        Self {
            messages: ((word >> BYTES_BITS) & MESSAGES_MASK) as usize,
            bytes: (word & BYTES_MASK) as usize,
        }
    }

    fn pack(self) -> u64 {
        ((self.messages as u64) << BYTES_BITS) | self.bytes as u64
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// The account of one client's queue.
///
/// All orderings are Relaxed, because the word guards no other memory. Admitted messages reach the
/// writer through the queue, whose push and pop order the payload. The word itself only has to be
/// exact, and read-modify-writes of one location are.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    word: AtomicU64,
}

impl Budget {
    /// Admits the whole amount if there is room for it. Returns false when it does not fit, and
    /// when the account is closed.
    // The usual case of an offer, kept apart and inlined: as one function with `admit` it costs
    // about 40 instructions more for each subscriber of a block.
    #[inline]
    pub(crate) fn admit_whole(&self, limits: QueueLimits, weight: Used) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let used = Used::unpack(word);
            if word & CLOSED != 0
                || used.messages + weight.messages > limits.messages
                || used.bytes + weight.bytes > limits.bytes
            {
                return false;
            }
            match self.word.compare_exchange_weak(
                word,
                word + weight.pack(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Admits as many of the first messages of a run as fit, and returns their number: 0 when there
    /// is no room, `None` when the account is closed.
    ///
    /// `fit` gets the free room in messages and bytes. It returns the number of messages that fit
    /// and their bytes, and may be called more than once.
    ///
    /// An empty queue admits one message of any size, so that every message can be sent at some
    /// time.
    pub(crate) fn admit(
        &self,
        limits: QueueLimits,
        reserved: bool,
        mut fit: impl FnMut(usize, usize) -> Used,
    ) -> Option<usize> {
        let limits = if reserved {
            limits.with_reserve()
        } else {
            limits
        };
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return None;
            }
            let used = Used::unpack(word);
            let room_messages = limits.messages.saturating_sub(used.messages);
            let room_bytes = limits.bytes.saturating_sub(used.bytes);
            if room_messages == 0 {
                return Some(0);
            }
            let mut taken = fit(room_messages, room_bytes);
            if taken.messages == 0 {
                if used.messages != 0 {
                    return Some(0);
                }
                taken = fit(1, usize::MAX);
                if taken.messages == 0 {
                    return Some(0);
                }
            }
            match self.word.compare_exchange_weak(
                word,
                word + taken.pack(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(taken.messages),
                Err(now) => word = now,
            }
        }
    }

    /// Releases the room of written messages.
    pub(crate) fn release(&self, written: Used) {
        self.word.fetch_sub(written.pack(), Ordering::Relaxed);
    }

    /// Closes the account: nothing is admitted any more. The first call returns the amount that was
    /// admitted and not released. Later calls return `None`.
    pub(crate) fn close(&self) -> Option<Used> {
        let word = self.word.fetch_or(CLOSED, Ordering::Relaxed);
        (word & CLOSED == 0).then(|| Used::unpack(word))
    }

    /// Returns the amount that is queued now, which is nothing once the account is closed.
    pub(crate) fn used(&self) -> Used {
        let word = self.word.load(Ordering::Relaxed);
        if word & CLOSED == 0 {
            Used::unpack(word)
        } else {
            Used::default()
        }
    }

    /// Returns whether an unreserved message of any size would find no room.
    pub(crate) fn is_full(&self, limits: QueueLimits) -> bool {
        let used = self.used();
        used.messages >= limits.messages || (used.messages > 0 && used.bytes >= limits.bytes)
    }

    /// Returns whether the account is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        messages: 4,
        bytes: 100,
    };

    fn ask(budget: &Budget, reserved: bool, sizes: &[usize]) -> Option<usize> {
        budget.admit(LIMITS, reserved, |messages, bytes| {
            let mut taken = Used::default();
            for size in sizes.iter().take(messages) {
                if taken.bytes + size > bytes {
                    break;
                }
                taken.messages += 1;
                taken.bytes += size;
            }
            taken
        })
    }

    #[test]
    fn admits_the_first_messages_that_fit_by_count_and_by_bytes() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[10; 3]), Some(3));
        assert_eq!(ask(&budget, false, &[10; 3]), Some(1));
        assert_eq!(ask(&budget, false, &[10]), Some(0));
        budget.release(Used {
            messages: 3,
            bytes: 30,
        });
        assert_eq!(ask(&budget, false, &[60, 30, 1]), Some(2));
        assert_eq!(
            budget.used(),
            Used {
                messages: 3,
                bytes: 100
            }
        );
    }

    #[test]
    fn a_whole_amount_is_admitted_up_to_the_bounds_and_not_once_closed() {
        let budget = Budget::default();
        let amount = |messages, bytes| Used { messages, bytes };
        assert!(budget.admit_whole(LIMITS, amount(3, 100)));
        assert!(!budget.admit_whole(LIMITS, amount(1, 1)));
        assert!(budget.admit_whole(LIMITS, amount(1, 0)));
        assert!(!budget.admit_whole(LIMITS, amount(1, 0)));
        budget.release(amount(4, 100));
        assert!(!budget.admit_whole(LIMITS, amount(5, 0)));
        assert!(!budget.admit_whole(LIMITS, amount(1, 101)));
        assert_eq!(budget.used(), Used::default());
        budget.close();
        assert!(!budget.admit_whole(LIMITS, amount(1, 1)));
    }

    #[test]
    fn the_reserve_is_for_reserved_messages_alone() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[1; 9]), Some(4));
        assert_eq!(ask(&budget, true, &[1; 40]), Some(RESERVE_MESSAGES));
        assert_eq!(ask(&budget, true, &[1]), Some(0));
    }

    #[test]
    fn an_empty_queue_admits_one_message_of_any_size() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[1_000_000, 1]), Some(1));
        assert_eq!(ask(&budget, false, &[1]), Some(0));
        budget.release(Used {
            messages: 1,
            bytes: 1_000_000,
        });
        assert_eq!(budget.used(), Used::default());
    }

    #[test]
    fn closing_tells_once_what_was_left_and_admits_nothing_more() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[5, 5]), Some(2));
        assert_eq!(
            budget.close(),
            Some(Used {
                messages: 2,
                bytes: 10
            })
        );
        assert_eq!(budget.close(), None);
        assert_eq!(ask(&budget, true, &[5]), None);
        assert_eq!(budget.used(), Used::default());
    }
}
