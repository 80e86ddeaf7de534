//! The hub's one flush clock at work: seals what waits at its deadline, all channels on a common tick.
//!
//! One task for the whole hub, no timer per channel or client. It begins with the first client, in that client's runtime, and sleeps
//! without any timer while nothing waits.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;

use super::Channel;
use super::alarm::Alarm;
use super::pace::Pace;
use super::shared::HubShared;
use crate::sync::{AtomicBool, Ordering, fence};
use crate::wake::WakeFlag;

/// The flush clock of one hub, and the channels that wait for it.
#[derive(Debug)]
pub(crate) struct Ticker {
    pub(crate) pace: Pace,
    start: Instant,
    due: SegQueue<Arc<Channel>>,
    /// The task's sleep for want of channels.
    task: WakeFlag,
    attendance: TaskPresence,
    stopped: AtomicBool,
}

impl Ticker {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            pace: Pace::new(longest),
            start: Instant::now(),
            due: SegQueue::new(),
            task: WakeFlag::default(),
            attendance: TaskPresence::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the hub began.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Starts the task unless it runs. To be called within a tokio runtime.
    pub(super) fn start(self: &Arc<Self>, core: Weak<HubShared>) {
        if self.attendance.begin() {
            tokio::spawn(run(Running(Arc::clone(self)), core));
        }
    }

    /// Whether the task runs.
    pub(crate) fn is_running(&self) -> bool {
        self.attendance.is_there()
    }

    /// Has the channel sealed at the next tick.
    pub(crate) fn schedule(&self, channel: Arc<Channel>) {
        self.due.push(channel);
        self.task.wake();
        if !self.attendance.is_there_after_push() {
            self.seal_due();
        }
    }

    /// Ends the task.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Sleeps until a channel is due; false when the hub has ended.
    async fn wait(&self) -> bool {
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

    /// Seals the channels that are due now; what becomes due meanwhile is the next tick's.
    fn seal_due(&self) {
        for _ in 0..self.due.len() {
            let Some(channel) = self.due.pop() else { break };
            channel.seal_scheduled();
        }
    }
}

/// Whether somebody attends to the queue of channels that are due.
#[derive(Debug, Default)]
struct TaskPresence {
    there: AtomicBool,
}

impl TaskPresence {
    /// True when the caller is to attend from now on. AcqRel: it owns what the last one's `end` released.
    fn begin(&self) -> bool {
        !self.there.swap(true, Ordering::AcqRel)
    }

    fn is_there(&self) -> bool {
        self.there.load(Ordering::Acquire)
    }

    /// After a push: false when the caller has to empty the queue itself. SeqCst, paired with the fence in `end`: either this load
    /// sees the end, or who ended sees the push.
    fn is_there_after_push(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_there()
    }

    /// Ends it. The caller empties the queue once more after this.
    fn end(&self) {
        self.there.store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// Held by the task. When the runtime ends and drops the task, channels stop counting on it.
struct Running(Arc<Ticker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.attendance.end();
        self.0.seal_due();
    }
}

/// Between two looks for history that is too old.
fn sweep_interval(core: &Weak<HubShared>) -> Option<Duration> {
    const LEAST: Duration = Duration::from_millis(250);
    const MOST: Duration = Duration::from_secs(60);
    let core = core.upgrade().filter(|core| core.keeps_history())?;
    Some((core.config.history_age / 4).clamp(LEAST, MOST))
}

async fn run(running: Running, core: Weak<HubShared>) {
    let ticker = &*running.0;
    let mut alarm = Alarm::new();
    let interval = sweep_interval(&core);
    let mut sweep = std::pin::pin!(tokio::time::sleep(interval.unwrap_or_default()));
    loop {
        tokio::select! {
            alive = ticker.wait() => if !alive { return },
            () = &mut sweep, if interval.is_some() => {
                if let Some(core) = core.upgrade() {
                    core.sweep();
                }
                sweep.as_mut().reset(tokio::time::Instant::now() + interval.unwrap_or_default());
                continue;
            }
        }
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

#[cfg(all(test, outrace_loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    #[derive(Default)]
    struct Model {
        due: AtomicUsize,
        attendance: TaskPresence,
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
            assert!(model.attendance.begin());
            let publisher = {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    // Relaxed: the fence alone has to do.
                    model.due.fetch_add(1, Ordering::Relaxed);
                    if !model.attendance.is_there_after_push() {
                        model.seal_due();
                    }
                })
            };
            model.attendance.end();
            model.seal_due();
            publisher.join().unwrap();
            assert_eq!(model.due.load(Ordering::Acquire), 0);
        });
    }
}
