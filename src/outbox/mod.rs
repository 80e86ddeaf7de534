//! Stage 5: the bounded queue of one client.
//!
//! Any number of channels offer blocks at once, one writer takes. Nobody waits: a block that does not fit is admitted
//! in part, and the rest is reported to whoever offered it, who counts it.

mod budget;
mod parcel;

use std::task::Context;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use crossbeam_queue::SegQueue;

use crate::encode::Frames;
use crate::reason::CloseReason;
use crate::sync::{AtomicBool, AtomicU8, Ordering};

pub(crate) use budget::{Admission, Limits, MOST_BYTES, MOST_MESSAGES, Used};
pub(crate) use parcel::Parcel;

use budget::Budget;

/// The outcome of offering a block to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// So many of the block's messages were accepted; the rest did not fit. `woke`: its writer slept until now.
    Accepted { messages: usize, woke: bool },
    /// The client is gone.
    Closed,
}

/// The queue between the channels and the writer of one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    budget: Budget,
    /// True while the writer sleeps for want of parcels: whoever turns it false wakes the writer.
    asleep: AtomicBool,
    /// The reason why the connection has to end, 0 while it does not.
    closing: AtomicU8,
    limits: Limits,
    waker: AtomicWaker,
    queue: SegQueue<Parcel>,
}

impl Outbox {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            budget: Budget::default(),
            asleep: AtomicBool::new(false),
            closing: AtomicU8::new(0),
            limits,
            waker: AtomicWaker::new(),
            queue: SegQueue::new(),
        }
    }

    /// Whether a block without reserved messages would be skipped whole. A hint that spares encoding for nobody: the
    /// queue may drain a moment later, which is as if the block had come a moment sooner.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.is_full(self.limits)
    }

    /// Offers frames `first..` of a block: the first that fit are accepted, and after them those `reserved` ones (by
    /// ascending index) that did not fit but have a place in the reserve.
    ///
    /// Never waits. Constant time but for a binary search in a block that fits only in part.
    pub(crate) fn offer(&self, frames: &Frames, reserved: &[u32]) -> Offered {
        let total = frames.len();
        let mut accepted = match self.budget.admit(self.limits, false, |messages, bytes| {
            let n = if messages >= total && bytes >= frames.byte_len() {
                total
            } else {
                frames.fit(messages, bytes)
            };
            Used { messages: n, bytes: frames.bytes_before(n) }
        }) {
            Admission::Closed => return Offered::Closed,
            Admission::Admitted(n) => n,
        };
        if accepted > 0 {
            self.queue.push(Parcel { bytes: frames.slice(0..accepted), messages: accepted as u32 });
        }
        if accepted < total {
            let prefix = accepted;
            for &index in reserved.iter().filter(|&&index| index as usize >= prefix) {
                let range = index as usize..index as usize + 1;
                match self.offer_reserved(frames.slice(range)) {
                    Admission::Admitted(n) => accepted += n,
                    Admission::Closed => break,
                }
            }
        }
        Offered::Accepted { messages: accepted, woke: accepted > 0 && self.wake() }
    }

    /// Offers one message to this client alone (a refusal, a pong), which may use the reserve. True when it was accepted.
    pub(crate) fn offer_one(&self, frame: Bytes) -> bool {
        let accepted = matches!(self.offer_reserved(frame), Admission::Admitted(1));
        if accepted {
            self.wake();
        }
        accepted
    }

    fn offer_reserved(&self, frame: Bytes) -> Admission {
        let weight = Used { messages: 1, bytes: frame.len() };
        let admission = self.budget.admit(self.limits, true, |_, bytes| {
            if weight.bytes <= bytes { weight } else { Used::default() }
        });
        if admission == Admission::Admitted(1) {
            self.queue.push(Parcel { bytes: frame, messages: 1 });
        }
        admission
    }

    /// Wakes the writer if it sleeps; answers whether it did.
    ///
    /// AcqRel, paired with the swap in [`Outbox::pop_or_sleep`]: all changes of `asleep` stand in one modification order. If this
    /// swap comes after the writer's, it reads true and wakes; if it comes before, the writer's swap reads this one's
    /// value and thereby sees the push that went before it. Either way the parcel is not slept through.
    fn wake(&self) -> bool {
        let slept = self.asleep.swap(false, Ordering::AcqRel);
        if slept {
            self.waker.wake();
        }
        slept
    }

    /// Makes `cx`'s task the one that pushes and close requests wake. To be called at the start of each poll, before
    /// the queue and the close request are looked at: what comes after the look finds this waker.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// The next parcel; or `None`, and then the next push wakes the registered task. One caller at a time: the
    /// connection.
    pub(crate) fn pop_or_sleep(&self) -> Option<Parcel> {
        if let Some(parcel) = self.queue.pop() {
            return Some(parcel);
        }
        self.asleep.swap(true, Ordering::AcqRel);
        let parcel = self.queue.pop()?;
        // Relaxed: only spares a needless wake; a producer that still reads true wakes an awake task.
        self.asleep.store(false, Ordering::Relaxed);
        Some(parcel)
    }

    /// The next parcel if one waits, without asking to be woken.
    pub(crate) fn pop(&self) -> Option<Parcel> {
        self.queue.pop()
    }

    /// Gives back the budget of what was written.
    pub(crate) fn release(&self, written: Used) {
        self.budget.release(written);
    }

    /// What waits now.
    pub(crate) fn used(&self) -> Used {
        self.budget.used()
    }

    /// Asks the connection to end. The first reason stands.
    pub(crate) fn ask_to_close(&self, reason: CloseReason) {
        // AcqRel on both: the connection that reads the reason sees what led to it, and the wake below cannot be missed (as in `wake`).
        if self.closing.compare_exchange(0, reason.to_u8(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.asleep.store(false, Ordering::Release);
            self.waker.wake();
        }
    }

    /// Why the connection has to end, if it has to.
    pub(crate) fn close_asked(&self) -> Option<CloseReason> {
        CloseReason::from_u8(self.closing.load(Ordering::Acquire))
    }

    /// The client is gone: nothing is accepted any more. Answers how many accepted messages are discarded with it; 0 at the second
    /// call.
    pub(crate) fn discard(&self) -> usize {
        let left = self.budget.close().map_or(0, |used| used.messages);
        while self.queue.pop().is_some() {}
        left
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.budget.is_closed()
    }
}
