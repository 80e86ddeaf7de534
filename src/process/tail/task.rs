//! The task that follows a file, or reads a stream.

use std::fs::File;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::event::{Reporter, TailEvent};
use super::follower::{CheckOutcome, Follower};
use super::stream::{StreamEnd, StreamReader};

/// The time to collect more content after a change. The writer of a file does not notice the delay,
/// and a file that changes often takes few reads.
const COALESCE_DELAY: Duration = Duration::from_millis(2);

/// The state of the task. Each check moves it to a thread that may block, and back.
pub(super) struct TailTask {
    pub(super) follower: Follower,
    pub(super) reporter: Reporter,
}

/// The reason why the following of a file is over.
enum FollowEnd {
    Stopped,
    /// The path leads to this stream.
    Stream(File),
    /// A callback panicked.
    Failed,
}

impl TailTask {
    /// Follows the path until `stopped` is `true`, or until the stream at the path has ended.
    pub(super) async fn run(mut self, poll_interval: Duration, mut stopped: watch::Receiver<bool>) {
        loop {
            let (task, end) = self.follow(poll_interval, &mut stopped).await;
            let Some(task) = task else { return };
            self = task;
            let stream = match end {
                FollowEnd::Stopped => break,
                FollowEnd::Failed => return,
                FollowEnd::Stream(stream) => stream,
            };
            let Self { follower, reporter } = &mut self;
            let stream = StreamReader::new(stream, follower.path(), follower.sender());
            match stream.read_all(reporter, poll_interval, &mut stopped).await {
                StreamEnd::Stopped => break,
                StreamEnd::Replaced => {}
                StreamEnd::Ended => {
                    reporter.emit(TailEvent::Ended);
                    return;
                }
            }
        }
        self.follower.finish();
        self.follower.flush().await;
        self.reporter.stop();
    }

    /// Follows the file until `stopped` is `true`, or until a stream is at the path.
    ///
    /// A file read may block, and a thread of the runtime must not. So each check is a blocking
    /// task.
    async fn follow(
        mut self,
        poll_interval: Duration,
        stopped: &mut watch::Receiver<bool>,
    ) -> (Option<Self>, FollowEnd) {
        let wake = self.follower.watch().wake();
        let (mut caught_up, mut refresh) = (true, true);
        loop {
            // Precedes the check: content that was there at the stop is read.
            let stopping = *stopped.borrow_and_update();
            let check = tokio::task::spawn_blocking(move || {
                let outcome = self.check(refresh);
                (self, outcome)
            });
            let Ok((task, outcome)) = check.await else {
                return (None, FollowEnd::Failed);
            };
            self = task;
            self.follower.flush().await;
            refresh = false;
            match outcome {
                CheckOutcome::Read => {
                    caught_up = false;
                    continue;
                }
                CheckOutcome::Stream(stream) => return (Some(self), FollowEnd::Stream(stream)),
                CheckOutcome::Idle => {}
            }
            if !std::mem::replace(&mut caught_up, true) {
                self.reporter.emit(TailEvent::CaughtUp);
            }
            if stopping {
                return (Some(self), FollowEnd::Stopped);
            }
            tokio::select! {
                () = wake.notified() => sleep(COALESCE_DELAY).await,
                () = sleep(poll_interval) => refresh = true,
                _ = stopped.changed() => {}
            }
        }
    }

    /// Checks the file once, in a thread that may block.
    fn check(&mut self, refresh: bool) -> CheckOutcome {
        if refresh {
            // Precedes the check, so that no change in between is missed.
            self.follower.refresh_watch(&mut self.reporter);
        }
        self.follower.check(Instant::now(), &mut self.reporter)
    }
}
