//! Publishes the lines of a file as they are written.

mod builder;
mod decoder;
mod encoding;
mod event;
mod file_reader;
mod follower;
mod holes;
mod open_file;
mod rewrite;
mod start;
mod stream;
mod stream_input;
mod task;
mod watch;

use std::path::Path;

use tokio::task::JoinHandle;

use crate::Lossless;

pub use builder::TailBuilder;
pub use event::TailEvent;

/// A file that is followed by its path, as `tail -F` does. Its lines are published to a channel.
///
/// # Rotation and truncation
///
/// The following continues through rotations (another file at the path), truncations, and times
/// without a file or with one that cannot be read.
///
/// A rotation by renaming loses and repeats no line, under two conditions: a single writer finishes
/// the old file before it starts with the new one, and at most one rotation happens between two
/// checks. One of several writers may go on with the old file: that is read until nothing was
/// written to it for [`rotated_timeout`](TailBuilder::rotated_timeout).
///
/// A truncation loses the lines that were written since the last check: no copy of them exists. A
/// writer that does not append leaves a hole of NULs before its next line. Such a hole is passed
/// over, and so are NULs at the beginning of any line.
///
/// A removed file is let go when nothing was written to it for
/// [`deleted_timeout`](TailBuilder::deleted_timeout).
///
/// # Lines
///
/// A line is published when its terminator is read. An unterminated line is published when the file
/// is rotated or truncated, or when the following ends. Lines that stood in the file when the
/// following began are marked as its past: see [`Lines::with_past`](crate::Lines::with_past).
///
/// A byte-order mark is no part of the first line. A file that begins with one of UTF-16 is
/// decoded.
///
/// # Streams
///
/// A FIFO, a device, a file of `/proc`, `/dev/stdin`, or the pipe that a shell makes of `<(…)` is
/// read as fast as it is written, from where it is to its end. A FIFO with a name has no end, since
/// another writer may come.
///
/// # Status
///
/// The status of the channel is `running` while the file exists, `missing` while it does not,
/// `unreadable` while something is at the path that cannot be read, `exited` after the end of a
/// stream, and `stopped` at the end. It is `too many open files` while no descriptor is left to
/// open the file with.
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
    stop: tokio::sync::watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    lossless: Option<Lossless>,
}

impl Tail {
    /// Returns a builder for the file at `path`.
    pub fn builder(path: impl AsRef<Path>) -> TailBuilder {
        TailBuilder::new(path.as_ref())
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
