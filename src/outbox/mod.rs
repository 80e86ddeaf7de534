//! Stage 5: the bounded queue of one client.
//!
//! Any number of channels offer blocks at once, one writer takes. Nobody waits: a block that does not fit is admitted
//! in part, and the rest is reported to whoever offered it, who counts it.

mod budget;
mod parcel;
mod queue;

use std::collections::VecDeque;
use std::ops::Range;
use std::task::Context;

use bytes::Bytes;

use crate::encode::Frames;
use crate::reason::CloseReason;
use crate::sync::{AtomicU8, Ordering};
use crate::wake::WakeFlag;

pub(crate) use budget::{Admitted, Limits, MAX_BYTES, MAX_MESSAGES, Used};
pub(crate) use parcel::Parcel;

use budget::Budget;
use queue::Queue;

/// The outcome of offering frames to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// So many of the frames were accepted; the rest did not fit. `woke`: the client's writer slept until now.
    Accepted { frames: usize, woke: bool },
    /// The client is gone.
    Closed,
}

/// The queue between the channels and the writer of one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    budget: Budget,
    /// The writer's sleep for want of parcels.
    writer: WakeFlag,
    /// The reason why the connection has to end, 0 while it does not.
    closing: AtomicU8,
    limits: Limits,
    queue: Queue,
}

impl Outbox {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            budget: Budget::default(),
            writer: WakeFlag::default(),
            closing: AtomicU8::new(0),
            limits,
            queue: Queue::new(),
        }
    }

    /// Whether a block without reserved messages would be skipped whole. A hint that spares encoding for nobody: the
    /// queue may drain a moment later, which is as if the block had come a moment sooner.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.is_full(self.limits)
    }

    /// Offers some of a block's frames: the first that fit are accepted.
    ///
    /// Never waits. Constant time but for a binary search in a block that fits only in part.
    // Inlined into the fan-out, where most offers are of a whole block: left to the compiler it is 33 instructions more or less, as it happens to
    // split the crate.
    #[inline]
    pub(crate) fn offer(&self, frames: &Frames, wanted: Range<usize>) -> Offered {
        let Range { start, end } = wanted;
        let (messages_start, bytes_start) =
            (frames.messages_before(start), frames.bytes_before(start));
        let all_messages = frames.messages_before(end) - messages_start;
        let all_bytes = frames.bytes_before(end) - bytes_start;
        let mut accepted = 0;
        let admission = self.budget.admit(self.limits, false, |messages, bytes| {
            if messages >= all_messages && bytes >= all_bytes {
                accepted = end - start;
                return Used {
                    messages: all_messages,
                    bytes: all_bytes,
                };
            }
            accepted = frames.fit_from(start, messages, bytes).min(end - start);
            Used {
                messages: frames.messages_before(start + accepted) - messages_start,
                bytes: frames.bytes_before(start + accepted) - bytes_start,
            }
        });
        match admission {
            Admitted::Closed => Offered::Closed,
            Admitted::Admitted(0) => Offered::Accepted {
                frames: 0,
                woke: false,
            },
            Admitted::Admitted(messages) => {
                self.queue.push(Parcel {
                    bytes: frames.slice(start..start + accepted),
                    messages: messages as u32,
                });
                Offered::Accepted {
                    frames: accepted,
                    woke: self.writer.wake(),
                }
            }
        }
    }

    /// Offers one frame of one message that may use the reserve: a status, a gap, a refusal, a pong.
    pub(crate) fn offer_reserved(&self, frame: Bytes) -> Offered {
        self.offer_one(frame, true)
    }

    /// Offers one frame of one message, as any other.
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
            Admitted::Closed => Offered::Closed,
            Admitted::Admitted(0) => Offered::Accepted {
                frames: 0,
                woke: false,
            },
            Admitted::Admitted(_) => {
                self.queue.push(Parcel {
                    bytes: frame,
                    messages: 1,
                });
                Offered::Accepted {
                    frames: 1,
                    woke: self.writer.wake(),
                }
            }
        }
    }

    /// Makes `cx`'s task the one that pushes and close requests wake. To be called at the start of each poll, before
    /// the queue and the close request are looked at: what comes after the look finds this waker.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.writer.register(cx);
    }

    /// Moves all that waits to the end of `into`; false when nothing does, and then the next push wakes the registered task. One caller at a
    /// time: the connection.
    pub(crate) fn take_or_sleep(&self, into: &mut VecDeque<Parcel>) -> bool {
        self.take(into)
            || self
                .writer
                .sleep_unless(|| self.take(into).then_some(()))
                .is_some()
    }

    /// Moves all that waits to the end of `into`, without asking to be woken; answers whether there was anything.
    pub(crate) fn take(&self, into: &mut VecDeque<Parcel>) -> bool {
        self.queue.take(into)
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
        // AcqRel: the connection that reads the reason sees what led to it.
        if self
            .closing
            .compare_exchange(0, reason.to_u8(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.writer.wake_always();
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
        self.take(&mut VecDeque::new());
        left
    }

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

    /// Nothing sleeps so long unless it is broken.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A writer that is a thread: to wake it is to unpark it.
    struct Writer(thread::Thread);

    impl Wake for Writer {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Four producers against a writer that sleeps whenever nothing waits; a close, at a moment of its own, or none.
    fn contend(limits: Limits, close: bool) {
        const PRODUCERS: usize = 4;
        const EACH: usize = if cfg!(miri) { 50 } else { 20_000 };
        let outbox = Outbox::new(limits);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let waker = Waker::from(Arc::new(Writer(thread::current())));
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
                    thread::park_timeout(PATIENCE);
                    assert!(asleep.elapsed() < PATIENCE, "nobody has woken it");
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
                Limits {
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
                Limits {
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

    /// A writer's task: the runtime polls it again when it was woken.
    #[derive(Default)]
    struct Task {
        woken: AtomicBool,
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.woken.swap(true, Ordering::AcqRel);
        }
    }

    /// An outbox, its writer, and what that has written.
    struct Model {
        outbox: loom::sync::Arc<Outbox>,
        task: Arc<Task>,
        written: usize,
        closed: Option<CloseReason>,
    }

    impl Model {
        fn new(messages: usize) -> Self {
            Self {
                outbox: loom::sync::Arc::new(Outbox::new(Limits {
                    messages,
                    bytes: 1000,
                })),
                task: Arc::default(),
                written: 0,
                closed: None,
            }
        }

        /// Offers one frame in a thread of its own, which answers whether it was accepted.
        fn producer(&self) -> thread::JoinHandle<bool> {
            let outbox = loom::sync::Arc::clone(&self.outbox);
            thread::spawn(move || {
                matches!(
                    outbox.offer_frame(Bytes::from_static(b"x")),
                    Offered::Accepted { frames: 1, .. }
                )
            })
        }

        /// One poll, as a connection's: it writes all there is, gives back its room, and sleeps.
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
        // Every interleaving with at most three preemptions; all of them take minutes.
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
            // Only if it was woken: who sleeps on stays asleep.
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
}
