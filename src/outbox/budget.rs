//! What one client may have waiting: messages and bytes, and a reserve for the messages that must not be lost.
//!
//! The whole account is one word, so that a block is admitted by one compare-and-swap, and closing is
//! atomic with respect to admission: what the word held when it was closed is, to the unit, what was
//! accepted and never written.

use crate::sync::{AtomicU64, Ordering};

const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;
const MESSAGES_MASK: u64 = (1 << 23) - 1;
const CLOSED: u64 = 1 << 63;

/// The most messages a queue can be configured to hold (the account keeps them in 23 bits, with room for the reserve).
pub(crate) const MAX_MESSAGES: usize = 1 << 22;
/// The most bytes a queue can be configured to hold (the account keeps them in 40 bits, with room for one message more).
pub(crate) const MAX_BYTES: usize = 1 << 38;

/// Messages that only a status, gap or control message may use, beyond the queue's own.
pub(crate) const RESERVE_MESSAGES: usize = 16;
/// Bytes that only a status, gap or control message may use, beyond the queue's own.
pub(crate) const RESERVE_BYTES: usize = 64 * 1024;

/// The bounds of one client's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Limits {
    fn with_reserve(self) -> Self {
        Self {
            messages: self.messages + RESERVE_MESSAGES,
            bytes: self.bytes + RESERVE_BYTES,
        }
    }
}

/// What waits, in messages and bytes.
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

/// The outcome of asking for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// So many of the first messages are admitted; 0 when there is no room.
    Admitted(usize),
    /// The client is gone: nothing is admitted any more.
    Closed,
}

/// The account of one client's queue.
///
/// All orderings are Relaxed: the word guards no other memory. What is admitted reaches the writer through
/// the queue, whose push and pop order the payload; the word only has to be exact, and read-modify-writes of one
/// location are.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    word: AtomicU64,
}

impl Budget {
    /// Admits as many of the first messages of a run as fit. `fit` is given the room in messages and bytes and
    /// answers how many fit and their bytes; it may be asked more than once.
    ///
    /// An empty queue admits one message whatever its size, so that nothing is too large ever to be sent.
    pub(crate) fn admit(
        &self,
        limits: Limits,
        reserved: bool,
        mut fit: impl FnMut(usize, usize) -> Used,
    ) -> Admitted {
        let limits = if reserved {
            limits.with_reserve()
        } else {
            limits
        };
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Admitted::Closed;
            }
            let used = Used::unpack(word);
            let room_messages = limits.messages.saturating_sub(used.messages);
            let room_bytes = limits.bytes.saturating_sub(used.bytes);
            if room_messages == 0 {
                return Admitted::Admitted(0);
            }
            let mut taken = fit(room_messages, room_bytes);
            if taken.messages == 0 {
                if used.messages != 0 {
                    return Admitted::Admitted(0);
                }
                taken = fit(1, usize::MAX);
                if taken.messages == 0 {
                    return Admitted::Admitted(0);
                }
            }
            match self.word.compare_exchange_weak(
                word,
                word + taken.pack(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Admitted::Admitted(taken.messages),
                Err(now) => word = now,
            }
        }
    }

    /// Gives back what has been written.
    pub(crate) fn release(&self, written: Used) {
        self.word.fetch_sub(written.pack(), Ordering::Relaxed);
    }

    /// Admits nothing from now on; answers what had been admitted and not given back. The first call has the answer
    /// that counts; later ones answer `None`.
    pub(crate) fn close(&self) -> Option<Used> {
        let word = self.word.fetch_or(CLOSED, Ordering::Relaxed);
        (word & CLOSED == 0).then(|| Used::unpack(word))
    }

    /// What waits now; nothing once closed.
    pub(crate) fn used(&self) -> Used {
        let word = self.word.load(Ordering::Relaxed);
        if word & CLOSED == 0 {
            Used::unpack(word)
        } else {
            Used::default()
        }
    }

    /// Whether an ordinary message would be refused for want of a place, whatever its size.
    pub(crate) fn is_full(&self, limits: Limits) -> bool {
        let used = self.used();
        used.messages >= limits.messages || (used.messages > 0 && used.bytes >= limits.bytes)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        messages: 4,
        bytes: 100,
    };

    fn ask(budget: &Budget, reserved: bool, sizes: &[usize]) -> Admitted {
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
        assert_eq!(ask(&budget, false, &[10; 3]), Admitted::Admitted(3));
        assert_eq!(ask(&budget, false, &[10; 3]), Admitted::Admitted(1));
        assert_eq!(ask(&budget, false, &[10]), Admitted::Admitted(0));
        budget.release(Used {
            messages: 3,
            bytes: 30,
        });
        assert_eq!(ask(&budget, false, &[60, 30, 1]), Admitted::Admitted(2));
        assert_eq!(
            budget.used(),
            Used {
                messages: 3,
                bytes: 100
            }
        );
    }

    #[test]
    fn the_reserve_is_for_reserved_messages_alone() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[1; 9]), Admitted::Admitted(4));
        assert_eq!(
            ask(&budget, true, &[1; 40]),
            Admitted::Admitted(RESERVE_MESSAGES)
        );
        assert_eq!(ask(&budget, true, &[1]), Admitted::Admitted(0));
    }

    #[test]
    fn an_empty_queue_admits_one_message_of_any_size() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[1_000_000, 1]), Admitted::Admitted(1));
        assert_eq!(ask(&budget, false, &[1]), Admitted::Admitted(0));
        budget.release(Used {
            messages: 1,
            bytes: 1_000_000,
        });
        assert_eq!(budget.used(), Used::default());
    }

    #[test]
    fn closing_tells_once_what_was_left_and_admits_nothing_more() {
        let budget = Budget::default();
        assert_eq!(ask(&budget, false, &[5, 5]), Admitted::Admitted(2));
        assert_eq!(
            budget.close(),
            Some(Used {
                messages: 2,
                bytes: 10
            })
        );
        assert_eq!(budget.close(), None);
        assert_eq!(ask(&budget, true, &[5]), Admitted::Closed);
        assert_eq!(budget.used(), Used::default());
    }
}
