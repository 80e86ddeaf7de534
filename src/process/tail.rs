//! A file whose lines are published as they are written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::message::{NameError, Status};
use crate::{Hub, Lossless};

use super::LineFeed;
use super::follow::{Begin, Follower, Looked, TailEvent};
use super::hint::Hint;

/// How long what is written may wait for more: a file's writer does not notice, and a busy one is read in few reads.
const BUSY: Duration = Duration::from_millis(2);

/// What is read before the runtime is asked what to do next: a signal is heard soon.
const MAX_AT_ONCE: usize = 4 << 20;

type OnEvent = dyn FnMut(TailEvent) + Send;

/// A file to follow, with options. See [`Tail`].
#[must_use = "nothing is followed until start"]
pub struct TailBuilder {
    path: PathBuf,
    begin: Begin,
    interval: Duration,
    lossless: Option<Duration>,
    on_event: Option<Box<OnEvent>>,
}

impl TailBuilder {
    /// Begins with the last lines of a file that is there already: 10 by default. A last line without an end is begun too, and does not count. A file
    /// that appears later is read from its beginning.
    pub fn lines(mut self, lines: u64) -> Self {
        self.begin = Begin::LastLines(lines);
        self
    }

    /// Begins at the beginning.
    pub fn from_start(mut self) -> Self {
        self.begin = Begin::Start;
        self
    }

    /// How often to look for something new where the system does not tell: 250 ms by default, at least 1 ms. Linux tells as soon as
    /// something is written on this machine, but not of what others do on a network's file system.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Whether subscribers without room are waited for, each time for at most so long, instead of being skipped. See [`Lossless`].
    pub fn lossless(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.lossless = limit.into();
        self
    }

    /// Called for what happens to the file, by what reads it: keep it short, and do not panic, or the following ends.
    pub fn on_event(mut self, callback: impl FnMut(TailEvent) + Send + 'static) -> Self {
        self.on_event = Some(Box::new(callback));
        self
    }

    /// Begins to follow the file and publishes its lines to a channel, such as `file:syslog`. It need not be there yet.
    ///
    /// # Errors
    /// The channel name is not valid.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(self, hub: &Hub, channel: &str) -> Result<Tail, NameError> {
        let publisher = hub.publisher(channel)?;
        let lossless = self
            .lossless
            .map(|limit| Lossless::new(publisher.clone(), limit));
        let feed = match &lossless {
            Some(lossless) => LineFeed::lossless(lossless.clone()),
            None => LineFeed::new(publisher),
        };
        let (stop, stopped) = watch::channel(false);
        let following = Following {
            // A feed that waits for subscribers is settled after each read.
            follower: Follower::new(
                &self.path,
                self.begin,
                if lossless.is_some() { 1 } else { MAX_AT_ONCE },
            ),
            feed,
            hint: Hint::new(),
            on_event: self.on_event.unwrap_or_else(|| Box::new(|_| {})),
            status: None,
        };
        let task = tokio::spawn(follow(following, self.interval, stopped));
        Ok(Tail {
            stop,
            task: Some(task),
            lossless: lossless.map(Arc::new),
        })
    }
}

/// A file that is followed by its path, as `tail -F` does, its lines published to a channel.
///
/// It goes on through rotations (another file at the path), truncations, and times without a file. Over a rotation by renaming no line is lost
/// or published twice, as long as a writer is done with the old file when it begins with the new one, and no more than one rotation happens between two looks. A
/// truncation loses what was written since the last look: nobody has kept it. A line is published when its end is there, and one without an end when the
/// file was rotated or truncated, or the following ends.
///
/// The channel's status is `running` while there is a file, `missing` while there is none, and `stopped` in the end.
///
/// Dropping it ends the following at once.
///
/// ```no_run
/// # async fn example(hub: outrace::Hub) -> Result<(), Box<dyn std::error::Error>> {
/// let log = outrace::process::Tail::builder("/var/log/syslog").lines(100).start(&hub, "file:syslog")?;
/// tokio::signal::ctrl_c().await?;
/// log.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tail {
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    lossless: Option<Arc<Lossless>>,
}

impl Tail {
    /// A file to follow.
    pub fn builder(path: impl AsRef<Path>) -> TailBuilder {
        TailBuilder {
            path: path.as_ref().to_owned(),
            begin: Begin::LastLines(10),
            interval: Duration::from_millis(250),
            lossless: None,
            on_event: None,
        }
    }

    /// Reads what is there and ends the following. Returns when all of it is published, a last line without an end too, and the status `stopped`. Waits for
    /// no subscriber any more.
    ///
    /// # Cancel safety
    /// Dropping the future ends the following at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(lossless) = &self.lossless {
            lossless.give_up();
        }
        if let Some(task) = &mut self.task {
            // It fails only if a callback panicked, and then there is nothing to wait for.
            let _ = task.await;
        }
        self.task = None;
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What goes to the thread that reads and comes back.
struct Following {
    follower: Follower,
    feed: LineFeed,
    on_event: Box<OnEvent>,
    status: Option<Status>,
    hint: Hint,
}

impl Following {
    /// One look, in a thread that may block.
    fn look(&mut self, refresh: bool) -> Looked {
        let Self {
            follower,
            feed,
            on_event,
            status,
            hint,
        } = self;
        if refresh {
            // Before the look, so that nothing happens in between unseen.
            hint.watch(&follower.folders());
        }
        let publisher = feed.publisher().clone();
        let mut tell = |event| {
            let now = match event {
                TailEvent::Missing => Some(Status::Other("missing".to_owned())),
                TailEvent::CaughtUp => None,
                _ => Some(Status::Running),
            };
            if now.is_some() && now != *status {
                *status = now;
                publisher.send_status(status.as_ref().expect("it was set just now"), 0);
            }
            on_event(event);
        };
        follower.look(feed, &mut tell)
    }
}

/// Reading a file may block, and a runtime's thread must not: each look is a blocking task's.
async fn follow(mut following: Following, interval: Duration, mut stopped: watch::Receiver<bool>) {
    let hint = following.hint.clone();
    let (mut caught_up, mut refresh) = (true, true);
    loop {
        // Asked before the look: what was there when it was is read.
        let stopping = *stopped.borrow_and_update();
        let look = tokio::task::spawn_blocking(move || {
            let looked = following.look(refresh);
            (following, looked)
        });
        let Ok((back, looked)) = look.await else {
            return;
        };
        following = back;
        following.feed.settle().await;
        refresh = false;
        if let Looked::Read(_) = looked {
            caught_up = false;
            continue;
        }
        if !std::mem::replace(&mut caught_up, true) {
            (following.on_event)(TailEvent::CaughtUp);
        }
        if stopping {
            break;
        }
        tokio::select! {
            // Whoever writes line by line is read a few lines at a time.
            () = hint.changed() => sleep(BUSY).await,
            () = sleep(interval) => refresh = true,
            _ = stopped.changed() => {}
        }
    }
    following.feed.finish();
    following.feed.settle().await;
    following.feed.publisher().send_status(Status::Stopped, 0);
}
