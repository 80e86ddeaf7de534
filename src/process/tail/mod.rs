//! Publishes the lines of a file as they are written.

mod folder_watch;
mod follower;
mod open_file;
mod task;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::message::NameError;
use crate::process::{LinePublisher, LineSender};
use crate::{Hub, Lossless};

use folder_watch::FolderWatch;
use follower::Follower;
pub use follower::TailEvent;
use open_file::StartPosition;
use task::{OnTailEvent, TailTask};

const DEFAULT_LINES: u64 = 10;
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The number of bytes that one check reads at most, so that a stop request is noticed soon.
const MAX_CHECK_BYTES: usize = 4 << 20;

/// Configures and starts a [`Tail`]. See [`Tail::builder`].
#[must_use = "nothing is followed until start"]
pub struct TailBuilder {
    path: PathBuf,
    start: StartPosition,
    poll_interval: Duration,
    wait_limit: Option<Duration>,
    on_event: Option<Box<OnTailEvent>>,
}

impl TailBuilder {
    /// Starts with the last `lines` lines of a file that exists already. The default is 10.
    ///
    /// A trailing unterminated line is included, and is not counted. A file that appears later is
    /// read from its beginning.
    pub fn lines(mut self, lines: u64) -> Self {
        self.start = StartPosition::LastLines(lines);
        self
    }

    /// Starts at the beginning of the file.
    pub fn from_start(mut self) -> Self {
        self.start = StartPosition::Beginning;
        self
    }

    /// Sets how often to check a file whose changes the system does not report. The default is
    /// 250 ms, the minimum 1 ms.
    ///
    /// Linux reports changes that were made on the same machine at once. It does not report changes
    /// that other machines make on a network file system.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(MIN_POLL_INTERVAL);
        self
    }

    /// Sets how long to wait for a subscriber without room before it is skipped. The default is
    /// `None`: subscribers are skipped without waiting. See [`Lossless`].
    pub fn lossless(mut self, wait_limit: impl Into<Option<Duration>>) -> Self {
        self.wait_limit = wait_limit.into();
        self
    }

    /// Sets a callback for the events of the file.
    ///
    /// The task that reads the file calls it, so it should return soon. A panic in it ends the
    /// following.
    pub fn on_event(mut self, callback: impl FnMut(TailEvent) + Send + 'static) -> Self {
        self.on_event = Some(Box::new(callback));
        self
    }

    /// Starts to follow the file, which need not exist yet, and publishes its lines to `channel`,
    /// such as `file:syslog`.
    ///
    /// # Errors
    /// Returns an error if the channel name is not valid.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(self, hub: &Hub, channel: &str) -> Result<Tail, NameError> {
        let sender = LineSender::new(hub.publisher(channel)?, self.wait_limit);
        let lossless = sender.lossless().cloned();
        let (stop, stopped) = watch::channel(false);
        // A publisher that waits for subscribers is flushed after each read.
        let max_check_bytes = if lossless.is_some() {
            1
        } else {
            MAX_CHECK_BYTES
        };
        let task = TailTask {
            follower: Follower::new(&self.path, self.start, max_check_bytes),
            lines: LinePublisher::new(sender),
            watch: FolderWatch::new(),
            on_event: self.on_event.unwrap_or_else(|| Box::new(|_| {})),
            status: None,
        };
        Ok(Tail {
            stop,
            task: Some(tokio::spawn(task.run(self.poll_interval, stopped))),
            lossless,
        })
    }
}

/// A file that is followed by its path, as `tail -F` does. Its lines are published to a channel.
///
/// # Rotation and truncation
///
/// The following continues through rotations (another file at the path), truncations, and times
/// without a file.
///
/// A rotation by renaming loses and repeats no line, under two conditions: the writer finishes the
/// old file before it starts with the new one, and at most one rotation happens between two checks.
/// A truncation loses the lines that were written since the last check: no copy of them exists.
///
/// A line is published when its terminator is read. An unterminated line is published when the file
/// is rotated or truncated, or when the following ends.
///
/// # Status
///
/// The status of the channel is `running` while the file exists, `missing` while it does not, and
/// `stopped` at the end.
///
/// Dropping a `Tail` ends the following at once, without the status `stopped`.
///
/// ```no_run
/// # async fn example(hub: outrace::Hub) -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::process::Tail;
///
/// let log = Tail::builder("/var/log/syslog").lines(100).start(&hub, "file:syslog")?;
/// tokio::signal::ctrl_c().await?;
/// log.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tail {
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    lossless: Option<Lossless>,
}

impl Tail {
    /// Returns a builder for the file at `path`.
    pub fn builder(path: impl AsRef<Path>) -> TailBuilder {
        TailBuilder {
            path: path.as_ref().to_owned(),
            start: StartPosition::LastLines(DEFAULT_LINES),
            poll_interval: DEFAULT_POLL_INTERVAL,
            wait_limit: None,
            on_event: None,
        }
    }

    /// Reads the rest of the file and ends the following.
    ///
    /// Returns when the rest is published, with an unterminated last line, and the status
    /// `stopped`. Does not wait for subscribers any more.
    ///
    /// # Cancel safety
    /// Not cancel safe. Dropping the future ends the following at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(lossless) = &self.lossless {
            lossless.give_up();
        }
        if let Some(task) = &mut self.task {
            // Fails only if a callback panicked. Then nothing is left to wait for.
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
