//! Stage 5: the bounded queue of one client.
//!
//! Any number of channels offer blocks at once, and one reader takes them. No caller waits: a block
//! that does not fit is admitted in part, and the channel that offered it counts the rest.

mod budget;
mod parcel;
mod queue;
mod reader;

use std::collections::VecDeque;
use std::ops::Range;
use std::task::Context;

use bytes::Bytes;

use crate::encode::Frames;
use crate::reason::CloseReason;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use crate::wake::WakeFlag;

pub(crate) use budget::{MAX_BYTES, MAX_MESSAGES, QueueLimits, Used};
pub(crate) use parcel::Parcel;
pub(crate) use reader::OutboxReader;

use budget::Budget;
use queue::ParcelQueue;

/// The outcome of offering frames to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The first `frames` frames were accepted, and the rest did not fit. `woke` is true when the
    /// client's writer slept until this offer.
    Accepted { frames: usize, woke: bool },
    /// The client is gone.
    Closed,
}

impl Offered {
    /// The outcome when there is no room.
    pub(crate) const NONE: Self = Self::Accepted {
        frames: 0,
        woke: false,
    };
}

/// The queue between the channels and the writer of one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    budget: Budget,
    /// The writer's sleep while the queue is empty.
    writer: WakeFlag,
    /// The reason to end the connection; 0 while there is none.
    closing: AtomicU8,
    /// A subscription has something pending that found no room.
    pending: AtomicBool,
    /// A publisher waits for the queue to become empty.
    awaited: AtomicBool,
    limits: QueueLimits,
    /// Messages whose room was released after they were written.
    written: AtomicU64,
    queue: ParcelQueue,
}

impl Outbox {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            budget: Budget::default(),
            writer: WakeFlag::default(),
            closing: AtomicU8::new(0),
            pending: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            limits,
            written: AtomicU64::new(0),
            queue: ParcelQueue::new(),
        }
    }

    /// Returns whether a block without reserved messages would be skipped whole.
    ///
    /// This is a hint that avoids encoding a block in vain. The queue may drain a moment later,
    /// which is the same as if the block had come a moment earlier.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.is_full(self.limits)
    }

    /// Offers some of a block's frames. The first frames that fit are accepted.
    ///
    /// Never waits. Takes constant time, except for a binary search in a block that fits in part.
    // Inlined into the fan-out, where most offers are of a whole block. Left to the compiler it
    // costs 33 instructions more or less, as it happens to split the crate.
    #[inline]
    pub(crate) fn offer(&self, frames: &Frames, wanted: Range<usize>) -> Offered {
        debug_assert!(!wanted.is_empty());
        let (start, end) = (wanted.start, wanted.end);
        let all = Used {
            messages: frames.messages_before(end) - frames.messages_before(start),
            bytes: frames.bytes_before(end) - frames.bytes_before(start),
        };
        if !self.budget.admit_whole(self.limits, all) {
            return self.offer_part(frames, wanted);
        }
        self.push(frames.slice(wanted), all.messages, end - start)
    }

    /// Offers frames that do not all fit.
    #[cold]
    fn offer_part(&self, frames: &Frames, wanted: Range<usize>) -> Offered {
        let Range { start, end } = wanted;
        let (messages_start, bytes_start) =
            (frames.messages_before(start), frames.bytes_before(start));
        let mut accepted = 0;
        let admission = self.budget.admit(self.limits, false, |messages, bytes| {
            accepted = frames.fit_from(start, messages, bytes).min(end - start);
            Used {
                messages: frames.messages_before(start + accepted) - messages_start,
                bytes: frames.bytes_before(start + accepted) - bytes_start,
            }
        });
        match admission {
            None => Offered::Closed,
            Some(0) => Offered::NONE,
            Some(messages) => self.push(frames.slice(start..start + accepted), messages, accepted),
        }
    }

    /// Queues frames that were admitted, and wakes the writer.
    fn push(&self, bytes: Bytes, messages: usize, frames: usize) -> Offered {
        self.queue.push(Parcel {
            bytes,
            messages: messages as u32,
        });
        Offered::Accepted {
            frames,
            woke: self.writer.wake(),
        }
    }

    /// Offers one frame of one message that may use the reserve: a status, a gap, a refusal, a
    /// pong.
    pub(crate) fn offer_reserved(&self, frame: Bytes) -> Offered {
        self.offer_one(frame, true)
    }

    /// Offers one frame of one message that may not use the reserve.
    pub(crate) fn offer_frame(&self, frame: Bytes) -> Offered {
        self.offer_one(frame, false)
    }

    fn offer_one(&self, frame: Bytes, reserved: bool) -> Offered {
        let weight = Used {
            messages: 1,
            bytes: frame.len(),
        };
        let admission = self.budget.admit(self.limits, reserved, |_, bytes| {
            if weight.bytes <= bytes {
                weight
            } else {
                Used::default()
            }
        });
        match admission {
            None => Offered::Closed,
            Some(0) => Offered::NONE,
            Some(_) => self.push(frame, 1, 1),
        }
    }

    /// Registers `cx`'s task to be woken by pushes and close requests.
    ///
    /// The reader calls this at the start of each poll, before it looks at the queue and the close
    /// request: whatever comes after that look finds this waker.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.writer.register(cx);
    }

    /// Moves all waiting parcels to the end of `into`. Returns false when there are none, and then
    /// the next push wakes the registered task.
    fn take_or_sleep(&self, into: &mut VecDeque<Parcel>) -> bool {
        self.take(into)
            || self
                .writer
                .sleep_unless(|| self.take(into).then_some(()))
                .is_some()
    }

    /// Moves all waiting parcels to the end of `into`, without a request to be woken. Returns
    /// whether there were any.
    fn take(&self, into: &mut VecDeque<Parcel>) -> bool {
        self.queue.take(into)
    }

    /// Releases the room of written messages, and counts them.
    fn release(&self, written: Used) {
        self.budget.release(written);
        // Relaxed: a counter for reports, which orders nothing.
        self.written
            .fetch_add(written.messages as u64, Ordering::Relaxed);
    }

    /// Returns the amount that waits now.
    pub(crate) fn used(&self) -> Used {
        self.budget.used()
    }

    /// Returns the number of messages written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Asks the reader to come back when it has written everything. The sealer looks for room once
    /// more after this call.
    ///
    /// SeqCst fences, here and in [`Outbox::take_pending`]: either the sealer's second look sees
    /// the room that the reader released, or the reader's look sees the request.
    pub(crate) fn mark_pending(&self) {
        // Release, paired with the swap in `take_pending`: the reader that takes this sees which
        // subscription it was set for.
        self.pending.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Takes the request of [`Outbox::mark_pending`], after the reader released the room of all it
    /// wrote.
    fn take_pending(&self) -> bool {
        fence(Ordering::SeqCst);
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    /// Asks the reader to report when it has written everything. Relaxed: the publisher that asks
    /// looks again before long.
    pub(crate) fn await_room(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Takes the request of [`Outbox::await_room`]. This is usually one load.
    fn take_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) && self.awaited.swap(false, Ordering::Relaxed)
    }

    /// Asks the connection to end. The first reason stands.
    pub(crate) fn ask_to_close(&self, reason: CloseReason) {
        // AcqRel: the connection that reads the reason sees what led to it.
        if self
            .closing
            .compare_exchange(0, reason.to_u8(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.writer.wake_always();
        }
    }

    /// Returns the reason why the connection has to end, if it has to.
    pub(crate) fn close_asked(&self) -> Option<CloseReason> {
        CloseReason::from_u8(self.closing.load(Ordering::Acquire))
    }

    /// Closes the outbox: nothing is accepted any more. Returns the number of accepted messages
    /// that are discarded, which is 0 at the second call.
    pub(crate) fn discard(&self) -> usize {
        let left = self.budget.close().map_or(0, |used| used.messages);
        self.take(&mut VecDeque::new());
        left
    }

    /// Returns whether the outbox was closed by [`Outbox::discard`].
    pub(crate) fn is_closed(&self) -> bool {
        self.budget.is_closed()
    }
}

#[cfg(all(test, not(outrace_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// A longer sleep means that a wake-up was lost.
    const MAX_SLEEP: Duration = Duration::from_secs(30);

    /// A writer that is a thread, which is woken by unparking it.
    struct WriterThread(thread::Thread);

    impl Wake for WriterThread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Runs four producers against a writer that sleeps whenever nothing waits, with a close
    /// request in between if `close` is set.
    fn contend(limits: QueueLimits, close: bool) {
        const PRODUCERS: usize = 4;
        const EACH: usize = if cfg!(miri) { 50 } else { 20_000 };
        let outbox = Outbox::new(limits);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let waker = Waker::from(Arc::new(WriterThread(thread::current())));
                let mut parcels = VecDeque::new();
                let mut written = 0;
                loop {
                    outbox.register(&Context::from_waker(&waker));
                    if outbox.close_asked().is_some() {
                        return (written, outbox.discard());
                    }
                    let last = done.load(Ordering::Acquire);
                    while outbox.take_or_sleep(&mut parcels) {
                        for parcel in parcels.drain(..) {
                            written += parcel.messages as usize;
                            outbox.release(parcel.weight());
                        }
                        assert!(outbox.used().messages <= limits.messages);
                    }
                    if last {
                        return (written, 0);
                    }
                    let asleep = Instant::now();
                    thread::park_timeout(MAX_SLEEP);
                    assert!(asleep.elapsed() < MAX_SLEEP, "the writer was not woken");
                }
            });
            let handle = writer.thread().clone();
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let outbox = &outbox;
                    scope.spawn(move || {
                        let mut accepted = 0;
                        for number in 0..EACH {
                            match outbox.offer_frame(Bytes::from_static(b"frame")) {
                                Offered::Accepted { frames, .. } => accepted += frames,
                                Offered::Closed => break,
                            }
                            if close && producer == 0 && number == EACH / 2 {
                                outbox.ask_to_close(CloseReason::Kicked);
                            }
                        }
                        accepted
                    })
                })
                .collect();
            let accepted: usize = producers
                .into_iter()
                .map(|producer| producer.join().expect("it does not panic"))
                .sum();
            done.store(true, Ordering::Release);
            handle.unpark();
            let (written, discarded) = writer.join().expect("it does not panic");
            assert_eq!(accepted, written + discarded);
            assert!(accepted > 0);
        });
        assert_eq!(outbox.used(), Used::default());
    }

    #[test]
    fn everything_accepted_is_written_once_however_many_push_while_the_writer_falls_asleep() {
        for messages in [1, 8, 100_000] {
            contend(
                QueueLimits {
                    messages,
                    bytes: 1 << 20,
                },
                false,
            );
        }
    }

    #[test]
    fn everything_accepted_before_the_end_is_written_or_discarded_to_the_unit() {
        for messages in [1, 8, 100_000] {
            contend(
                QueueLimits {
                    messages,
                    bytes: 1 << 20,
                },
                true,
            );
        }
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    use loom::thread;

    use super::*;
    use crate::sync::AtomicBool;

    /// A writer's task, which the runtime polls again when it was woken.
    #[derive(Default)]
    struct Task {
        woken: AtomicBool,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.woken.swap(true, Ordering::AcqRel);
        }
    }

    /// An outbox, its writer, and the number of parcels written.
    struct Model {
        outbox: loom::sync::Arc<Outbox>,
        task: Arc<Task>,
        written: usize,
        closed: Option<CloseReason>,
    }

    impl Model {
        fn new(messages: usize) -> Self {
            Self {
                outbox: loom::sync::Arc::new(Outbox::new(QueueLimits {
                    messages,
                    bytes: 1000,
                })),
                task: Arc::default(),
                written: 0,
                closed: None,
            }
        }

        /// Offers one frame in a new thread, which returns whether it was accepted.
        fn producer(&self) -> thread::JoinHandle<bool> {
            let outbox = loom::sync::Arc::clone(&self.outbox);
            thread::spawn(move || {
                matches!(
                    outbox.offer_frame(Bytes::from_static(b"x")),
                    Offered::Accepted { frames: 1, .. }
                )
            })
        }

        /// Polls once, as a connection does: writes everything, releases its room, and sleeps.
        fn poll(&mut self) {
            let waker = Waker::from(Arc::clone(&self.task));
            self.outbox.register(&Context::from_waker(&waker));
            self.closed = self.closed.or(self.outbox.close_asked());
            let mut parcels = VecDeque::new();
            while self.outbox.take_or_sleep(&mut parcels) {
                for parcel in parcels.drain(..) {
                    self.outbox.release(parcel.weight());
                    self.written += 1;
                }
            }
        }

        fn poll_while_woken(&mut self) {
            while self.task.woken.swap(false, Ordering::AcqRel) {
                self.poll();
            }
        }
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut bounded = loom::model::Builder::new();
        // Every interleaving with at most three preemptions. All of them take minutes.
        bounded.preemption_bound = Some(3);
        bounded.check(model);
    }

    #[test]
    fn loom_what_is_accepted_is_written_and_its_room_given_back_though_the_writer_falls_asleep_meanwhile()
     {
        check(|| {
            let mut model = Model::new(1);
            let producers = [model.producer(), model.producer()];
            model.poll();
            model.poll_while_woken();
            let accepted = producers.map(|producer| producer.join().unwrap());
            // Polls only if the task was woken: a task that was not stays asleep.
            model.poll_while_woken();
            assert_eq!(
                model.written,
                accepted.into_iter().filter(|&accepted| accepted).count()
            );
            assert!(model.written > 0, "an empty queue takes one");
            assert_eq!(model.outbox.used(), Used::default());
        });
    }

    #[test]
    fn loom_what_was_accepted_is_written_or_discarded_with_its_client_to_the_unit() {
        check(|| {
            let mut model = Model::new(4);
            let producers = [model.producer(), model.producer()];
            model.poll();
            let discarded = model.outbox.discard();
            let accepted = producers.map(|producer| producer.join().unwrap());
            assert_eq!(
                model.written + discarded,
                accepted.into_iter().filter(|&accepted| accepted).count()
            );
            assert_eq!(model.outbox.discard(), 0, "once");
        });
    }

    #[test]
    fn loom_no_request_to_close_is_slept_through() {
        check(|| {
            let mut model = Model::new(4);
            let producer = model.producer();
            let closer = {
                let outbox = loom::sync::Arc::clone(&model.outbox);
                thread::spawn(move || outbox.ask_to_close(CloseReason::Kicked))
            };
            model.poll();
            producer.join().unwrap();
            closer.join().unwrap();
            model.poll_while_woken();
            assert_eq!(
                (model.closed, model.written),
                (Some(CloseReason::Kicked), 1)
            );
        });
    }

    /// The queue is full when the sealer has a gap to tell, while the writer releases the room and
    /// looks for a pending request: either the gap is told, or the writer comes back for it.
    #[test]
    fn loom_a_pending_message_finds_the_room_or_the_writer_comes_back_for_it() {
        loom::model(|| {
            let outbox = loom::sync::Arc::new(Outbox::new(QueueLimits {
                messages: 1,
                bytes: 1000,
            }));
            let offer = |outbox: &Outbox| {
                matches!(
                    outbox.offer_frame(Bytes::from_static(b"x")),
                    Offered::Accepted { frames: 1, .. }
                )
            };
            assert!(offer(&outbox));
            let writer = {
                let outbox = loom::sync::Arc::clone(&outbox);
                thread::spawn(move || {
                    outbox.release(Used {
                        messages: 1,
                        bytes: 1,
                    });
                    outbox.take_pending()
                })
            };
            let told = offer(&outbox) || {
                outbox.mark_pending();
                // A sealer looks whether there is room before it encodes anything.
                !outbox.is_full() && offer(&outbox)
            };
            let called = writer.join().unwrap();
            assert!(
                told || called,
                "the gap stays untold until something else happens"
            );
        });
    }
}
