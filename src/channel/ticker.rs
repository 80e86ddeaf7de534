//! The hub's one flush clock at work: seals what waits at its deadline, all channels on a common tick.
//!
//! One task for the whole hub, no timer per channel or client. It begins with the first client, in that client's runtime, and sleeps
//! without any timer while nothing waits.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use crossbeam_queue::SegQueue;

use super::Channel;
use super::alarm::Alarm;
use super::pace::Pace;
use crate::sync::{AtomicBool, Ordering, fence};

/// The flush clock of one hub, and the channels that wait for it.
#[derive(Debug)]
pub(crate) struct Ticker {
    pub(crate) pace: Pace,
    start: Instant,
    due: SegQueue<Arc<Channel>>,
    /// True while the task sleeps for want of channels: whoever turns it false wakes it.
    asleep: AtomicBool,
    running: AtomicBool,
    stopped: AtomicBool,
    waker: AtomicWaker,
}

impl Ticker {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            pace: Pace::new(longest),
            start: Instant::now(),
            due: SegQueue::new(),
            asleep: AtomicBool::new(false),
            running: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Nanoseconds since the hub began.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Starts the task unless it runs. To be called within a tokio runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        // AcqRel: the one who turns it true owns the task's state, which the last owner's guard released.
        if !self.running.swap(true, Ordering::AcqRel) {
            tokio::spawn(run(Running(Arc::clone(self))));
        }
    }

    /// Whether the task runs.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Has the channel sealed at the next tick.
    pub(crate) fn schedule(&self, channel: Arc<Channel>) {
        self.due.push(channel);
        self.wake();
        // SeqCst, paired with the fence in `Running`'s drop: either this load sees that the task has ended, or the drop sees the push.
        fence(Ordering::SeqCst);
        if !self.is_running() {
            self.seal_due();
        }
    }

    /// Ends the task.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// AcqRel, paired with the swap in `sleep`: as in the outbox, either this swap reads true and wakes, or the task's swap reads
    /// this one's value and sees the push before it.
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Sleeps until a channel is due; false when the hub has ended.
    async fn wait(&self) -> bool {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            self.asleep.swap(true, Ordering::AcqRel);
            if self.stopped.load(Ordering::Acquire) {
                return Poll::Ready(false);
            }
            if self.due.is_empty() {
                return Poll::Pending;
            }
            // Relaxed: only spares a needless wake.
            self.asleep.store(false, Ordering::Relaxed);
            Poll::Ready(true)
        })
        .await
    }

    /// Seals the channels that are due now; what becomes due meanwhile is the next tick's.
    fn seal_due(&self) {
        for _ in 0..self.due.len() {
            let Some(channel) = self.due.pop() else { break };
            channel.seal_scheduled();
        }
    }
}

/// Held by the task. When the runtime ends and drops the task, channels stop counting on it.
struct Running(Arc<Ticker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
        self.0.seal_due();
    }
}

async fn run(running: Running) {
    let ticker = &*running.0;
    let mut alarm = Alarm::new();
    while ticker.wait().await {
        // What an earlier tick has woken writes first: on one core a clock that never yields would starve its own readers.
        tokio::task::yield_now().await;
        let next = ticker.pace.next();
        let now = ticker.now();
        if next > now {
            alarm.sleep(Duration::from_nanos(next - now)).await;
        }
        ticker.seal_due();
    }
}
