//! The sleep of one consumer on a queue that many producers push to.

use std::task::Context;

use atomic_waker::AtomicWaker;

use crate::sync::{AtomicBool, Ordering};

/// Whether the consumer sleeps for want of work, and how to wake it.
///
/// Every change of the flag is a read-modify-write, so that all of them stand in one modification order and each carries on what
/// those before it released. If a producer's swap comes after the consumer's, it reads true and wakes; if it comes before, the consumer's swap
/// sees the push that went before it. Either way nothing is slept through. A plain store would cut that chain.
#[derive(Debug, Default)]
pub(crate) struct WakeFlag {
    asleep: AtomicBool,
    waker: AtomicWaker,
}

impl WakeFlag {
    /// Makes `cx`'s task the one to wake. To be called at the start of each poll, before anything is looked at.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Wakes the consumer if it sleeps, after a push; answers whether it did.
    pub(crate) fn wake(&self) -> bool {
        let slept = self.rouse();
        if slept {
            self.waker.wake();
        }
        slept
    }

    /// Wakes the consumer whatever it does: for what it looks at beside the queue.
    pub(crate) fn wake_always(&self) {
        self.rouse();
        self.waker.wake();
    }

    /// Goes to sleep unless `look` finds something. One caller at a time: the consumer.
    pub(crate) fn sleep_unless<T>(&self, look: impl FnOnce() -> Option<T>) -> Option<T> {
        self.asleep.swap(true, Ordering::AcqRel);
        let found = look()?;
        // Relaxed: only spares a needless wake; a producer that still reads true wakes an awake task.
        self.asleep.swap(false, Ordering::Relaxed);
        Some(found)
    }

    fn rouse(&self) -> bool {
        self.asleep.swap(false, Ordering::AcqRel)
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// An outbox and its writer's task. The runtime polls the task again when it was woken.
    struct Model {
        parcels: AtomicUsize,
        woken: AtomicBool,
        flag: WakeFlag,
    }

    impl Model {
        fn push(&self) {
            self.parcels.fetch_add(1, Ordering::Release);
            if self.flag.rouse() {
                self.woken.swap(true, Ordering::AcqRel);
            }
        }

        fn pop(&self) -> Option<()> {
            if self.parcels.load(Ordering::Acquire) == 0 {
                return None;
            }
            self.parcels.fetch_sub(1, Ordering::AcqRel);
            Some(())
        }

        /// One poll of the task: takes all there is, then sleeps.
        fn poll(&self) {
            while self
                .pop()
                .or_else(|| self.flag.sleep_unless(|| self.pop()))
                .is_some()
            {}
        }

        fn run_while_woken(&self) {
            while self.woken.swap(false, Ordering::AcqRel) {
                self.poll();
            }
        }
    }

    #[test]
    fn loom_no_parcel_is_slept_through() {
        let mut bounded = loom::model::Builder::new();
        // Every interleaving with at most three preemptions; all of them take minutes.
        bounded.preemption_bound = Some(3);
        bounded.check(|| {
            let model = Arc::new(Model {
                parcels: AtomicUsize::new(0),
                woken: AtomicBool::new(false),
                flag: WakeFlag::default(),
            });
            let producers: Vec<_> = (0..2)
                .map(|_| {
                    let model = Arc::clone(&model);
                    thread::spawn(move || model.push())
                })
                .collect();
            model.poll();
            model.run_while_woken();
            for producer in producers {
                producer.join().unwrap();
            }
            // Only if it was woken: who sleeps on stays asleep.
            model.run_while_woken();
            assert_eq!(model.parcels.load(Ordering::Acquire), 0);
        });
    }
}
