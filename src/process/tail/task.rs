//! The task that follows a file.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::folder_watch::FolderWatch;
use super::follower::{CheckOutcome, Follower, TailEvent};
use crate::message::Status;
use crate::process::LinePublisher;

/// The time to collect more content after a change. The writer of a file does not notice the delay,
/// and a file that changes often takes few reads.
const COALESCE_DELAY: Duration = Duration::from_millis(2);

pub(super) type OnTailEvent = dyn FnMut(TailEvent) + Send;

/// The state of the task. Each check moves it to a thread that may block, and back.
pub(super) struct TailTask {
    pub(super) follower: Follower,
    pub(super) lines: LinePublisher,
    pub(super) on_event: Box<OnTailEvent>,
    /// The last published status.
    pub(super) status: Option<Status>,
    pub(super) watch: FolderWatch,
}

impl TailTask {
    /// Follows the file until `stopped` is `true`.
    ///
    /// A file read may block, and a thread of the runtime must not. So each check is a blocking
    /// task.
    pub(super) async fn run(mut self, poll_interval: Duration, mut stopped: watch::Receiver<bool>) {
        let watch = self.watch.clone();
        let (mut caught_up, mut refresh) = (true, true);
        loop {
            // Precedes the check: content that was there at the stop is read.
            let stopping = *stopped.borrow_and_update();
            let check = tokio::task::spawn_blocking(move || {
                let outcome = self.check(refresh);
                (self, outcome)
            });
            let Ok((task, outcome)) = check.await else {
                return;
            };
            self = task;
            self.lines.flush().await;
            refresh = false;
            if outcome == CheckOutcome::Read {
                caught_up = false;
                continue;
            }
            if !std::mem::replace(&mut caught_up, true) {
                (self.on_event)(TailEvent::CaughtUp);
            }
            if stopping {
                break;
            }
            tokio::select! {
                () = watch.changed() => sleep(COALESCE_DELAY).await,
                () = sleep(poll_interval) => refresh = true,
                _ = stopped.changed() => {}
            }
        }
        self.lines.finish();
        self.lines.flush().await;
        self.lines.publisher().send_status(Status::Stopped, 0);
    }

    /// Checks the file once, in a thread that may block.
    fn check(&mut self, refresh: bool) -> CheckOutcome {
        let Self {
            follower,
            lines,
            on_event,
            status,
            watch,
        } = self;
        if refresh {
            // Precedes the check, so that no change in between is missed.
            watch.add(&follower.folders());
        }
        let publisher = lines.publisher().clone();
        let mut emit = |event| {
            let now = match event {
                TailEvent::Missing => Some(Status::Other("missing".to_owned())),
                TailEvent::TooManyOpenFiles => {
                    Some(Status::Other("too many open files".to_owned()))
                }
                TailEvent::CaughtUp => None,
                _ => Some(Status::Running),
            };
            if let Some(now) = now
                && status.as_ref() != Some(&now)
            {
                publisher.send_status(&now, 0);
                *status = Some(now);
            }
            on_event(event);
        };
        follower.check(lines, &mut emit)
    }
}
