//! The options of a followed file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::Tail;
use super::event::{OnTailEvent, Reporter, TailEvent};
use super::follower::{Follower, TailLimits};
use super::start::StartPosition;
use super::task::TailTask;
use crate::Hub;
use crate::message::NameError;
use crate::process::LineSender;

const DEFAULT_LINES: u64 = 10;
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(250);
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(1);
const DEFAULT_ROTATED_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_DELETED_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of bytes that one check reads at most, so that a stop request is noticed soon.
const MAX_CHECK_BYTES: usize = 4 << 20;

/// Configures and starts a [`Tail`]. See [`Tail::builder`].
#[must_use = "nothing is followed until start"]
pub struct TailBuilder {
    path: PathBuf,
    start: StartPosition,
    poll_interval: Duration,
    rotated_timeout: Duration,
    deleted_timeout: Duration,
    wait_limit: Option<Duration>,
    on_event: Option<Box<OnTailEvent>>,
}

impl TailBuilder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            start: StartPosition::LastLines(DEFAULT_LINES),
            poll_interval: DEFAULT_POLL_INTERVAL,
            rotated_timeout: DEFAULT_ROTATED_TIMEOUT,
            deleted_timeout: DEFAULT_DELETED_TIMEOUT,
            wait_limit: None,
            on_event: None,
        }
    }

    /// Starts with the last `lines` lines of a file that exists already. The default is 10.
    ///
    /// A trailing unterminated line is included, and is not counted. A file that appears later is
    /// read from its beginning, and a stream from where it is.
    pub fn lines(mut self, lines: u64) -> Self {
        self.start = StartPosition::LastLines(lines);
        self
    }

    /// Starts with the line of this number of a file that exists already, as `tail -n +NUMBER`
    /// does. The first line has the number 1. A file with fewer lines is followed from its end.
    pub fn from_line(mut self, number: u64) -> Self {
        self.start = StartPosition::Line(number);
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
    /// Linux reports changes that were made on the same machine at once, unless its limits are
    /// reached (see [`TailEvent::Polled`]). It does not report changes that other machines make on
    /// a network file system. Other systems report nothing.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(MIN_POLL_INTERVAL);
        self
    }

    /// Sets how long a file is read on after its rotation while nothing is written to it. The
    /// default is 5 s.
    pub fn rotated_timeout(mut self, timeout: Duration) -> Self {
        self.rotated_timeout = timeout;
        self
    }

    /// Sets how long a removed file is read on while nothing is written to it and no other file is
    /// at its path. The file takes space until then. The default is 30 s.
    pub fn deleted_timeout(mut self, timeout: Duration) -> Self {
        self.deleted_timeout = timeout;
        self
    }

    /// Sets how long to wait for a subscriber without room before it is skipped. The default is
    /// `None`: subscribers are skipped without waiting. See [`Lossless`](crate::Lossless).
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
        let limits = TailLimits {
            // A publisher that waits for subscribers is flushed after each read.
            check_bytes: if lossless.is_some() {
                1
            } else {
                MAX_CHECK_BYTES
            },
            rotated_timeout: self.rotated_timeout,
            deleted_timeout: self.deleted_timeout,
        };
        let task = TailTask {
            reporter: Reporter::new(sender.publisher().clone(), self.on_event),
            follower: Follower::new(&self.path, self.start, limits, sender),
        };
        Ok(Tail {
            stop,
            task: Some(tokio::spawn(task.run(self.poll_interval, stopped))),
            lossless,
        })
    }
}
