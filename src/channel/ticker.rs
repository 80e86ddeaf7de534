//! The channels that wait for the hub's next flush.
//!
//! One queue and one task serve the whole hub; there is no timer per channel or client. The task
//! sleeps without a timer while nothing waits.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crossbeam_queue::SegQueue;

use super::clock::Clock;
use crate::sync::{AtomicBool, Ordering, fence};
use crate::wake::WakeFlag;

/// Something that waits for the next flush.
pub(super) trait Flush: fmt::Debug + Send + Sync {
    /// Flushes it.
    fn flush(self: Arc<Self>);
}

/// The queue of the channels that are due, and the sleep of the task that flushes them.
#[derive(Debug)]
pub(super) struct Ticker {
    clock: Arc<Clock>,
    due: SegQueue<Arc<dyn Flush>>,
    /// The task's sleep while no channel is due.
    task: WakeFlag,
    presence: TaskPresence,
    stopped: AtomicBool,
}

impl Ticker {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            due: SegQueue::new(),
            task: WakeFlag::default(),
            presence: TaskPresence::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Claims the task. Returns `None` when it runs already.
    pub(super) fn attend(self: &Arc<Self>) -> Option<Attendance> {
        self.presence.begin().then(|| Attendance(Arc::clone(self)))
    }

    /// Returns whether the task runs.
    pub(super) fn is_running(&self) -> bool {
        self.presence.is_present()
    }

    /// Has the channel flushed at the next tick.
    pub(super) fn schedule(&self, channel: Arc<dyn Flush>) {
        self.due.push(channel);
        self.task.wake();
        if !self.presence.is_present_after_push() {
            self.flush_due();
        }
    }

    /// Ends the task.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Sleeps until a channel is due. Returns false when the hub has ended.
    pub(super) async fn wait(&self) -> bool {
        poll_fn(|cx| {
            self.task.register(cx);
            let look = || {
                if self.stopped.load(Ordering::Acquire) {
                    return Some(false);
                }
                (!self.due.is_empty()).then_some(true)
            };
            self.task
                .sleep_unless(look)
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Returns the time until the next tick; `None` when it is now.
    pub(super) fn until_tick(&self) -> Option<Duration> {
        self.clock.until_flush()
    }

    /// Flushes the channels that are due now. Those that become due meanwhile wait for the next
    /// tick.
    pub(super) fn flush_due(&self) {
        for _ in 0..self.due.len() {
            let Some(channel) = self.due.pop() else { break };
            channel.flush();
        }
    }
}

/// Whether a task attends to the queue of channels that are due.
#[derive(Debug, Default)]
struct TaskPresence {
    present: AtomicBool,
}

impl TaskPresence {
    /// Returns true when the caller is to attend from now on. AcqRel: the caller then owns what the
    /// last task's `end` released.
    fn begin(&self) -> bool {
        !self.present.swap(true, Ordering::AcqRel)
    }

    fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }

    /// Returns false when the caller, who has just pushed, has to empty the queue itself. SeqCst,
    /// paired with the fence in `end`: either this load sees the end, or the task that ends sees
    /// the push.
    fn is_present_after_push(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_present()
    }

    /// Ends the presence. The caller empties the queue once more after this.
    fn end(&self) {
        self.present.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// Held by the task. When the runtime ends and drops the task, channels no longer count on it.
pub(super) struct Attendance(Arc<Ticker>);

impl std::ops::Deref for Attendance {
    type Target = Ticker;

    fn deref(&self) -> &Ticker {
        &self.0
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.presence.end();
        self.0.flush_due();
    }
}

#[cfg(all(test, outrace_loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    #[derive(Default)]
    struct Model {
        due: AtomicUsize,
        presence: TaskPresence,
    }

    impl Model {
        fn seal_due(&self) {
            self.due.swap(0, Ordering::AcqRel);
        }
    }

    #[test]
    fn loom_what_becomes_due_while_the_task_ends_is_sealed_by_one_or_the_other() {
        loom::model(|| {
            let model = Arc::new(Model::default());
            assert!(model.presence.begin());
            let publisher = {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    // Relaxed: the fence alone has to suffice.
                    model.due.fetch_add(1, Ordering::Relaxed);
                    if !model.presence.is_present_after_push() {
                        model.seal_due();
                    }
                })
            };
            model.presence.end();
            model.seal_due();
            publisher.join().unwrap();
            assert_eq!(model.due.load(Ordering::Acquire), 0);
        });
    }
}
