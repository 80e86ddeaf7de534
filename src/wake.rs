//! The sleep of one consumer on a queue that many producers push to.

use std::task::Context;

use atomic_waker::AtomicWaker;

use crate::sync::{AtomicBool, Ordering};

/// The sleep flag of the consumer, and its waker.
///
/// Each change of the flag is a read-modify-write. All changes therefore share one modification
/// order, and each continues the release sequence of those before it. A producer's swap that comes
/// after the consumer's reads true and wakes the consumer. If it comes before, the consumer's swap
/// sees the push that preceded it. No push is slept through either way. A plain store would end the
/// release sequence.
#[derive(Debug, Default)]
pub(crate) struct WakeFlag {
    asleep: AtomicBool,
    waker: AtomicWaker,
}

impl WakeFlag {
    /// Registers the task of `cx` as the one to wake. The consumer calls this at the start of each
    /// poll, before it looks at the queue.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Wakes the consumer if it sleeps. A producer calls this after a push. Returns whether the
    /// consumer slept.
    pub(crate) fn wake(&self) -> bool {
        let slept = self.rouse();
        if slept {
            self.waker.wake();
        }
        slept
    }

    /// Wakes the consumer in any state, for a change outside the queue.
    pub(crate) fn wake_always(&self) {
        self.rouse();
        self.waker.wake();
    }

    /// Sets the flag and clears it again if `look` finds something. Only the consumer may call
    /// this.
    pub(crate) fn sleep_unless<T>(&self, look: impl FnOnce() -> Option<T>) -> Option<T> {
        self.asleep.swap(true, Ordering::AcqRel);
        let found = look()?;
        // Relaxed: this only avoids a needless wake. A producer that still reads true wakes a task
        // that is awake.
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
