//! Reads a stream that a path leads to: a FIFO, a device, or a pipe that this program inherited.
//!
//! A stream is read as fast as it comes, so its writer never waits. A FIFO with a name is read on
//! when its writers have gone: the next writer finds a reader. Any other stream has an end.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::decoder::TextDecoder;
use super::event::{Reporter, TailEvent, Trouble};
use super::open_file::{FileIdentity, Opened, open};
use super::stream_input::StreamInput;
use crate::process::{LinePublisher, LineSender};

/// The most bytes that are read after a stop: the most that a pipe of an unprivileged writer holds.
const MAX_DRAIN_BYTES: usize = 1 << 20;

/// The reason why the reading of a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    Stopped,
    /// Something else is at the path, or nothing.
    Replaced,
    /// The stream has ended.
    Ended,
}

pub(super) struct StreamReader<'a> {
    input: StreamInput,
    path: &'a Path,
    /// The identity of a stream that may be replaced at its path, which is checked.
    identity: Option<FileIdentity>,
    /// Whether more writers may come after the last one has gone.
    is_named_fifo: bool,
    lines: LinePublisher,
    decoder: TextDecoder,
}

impl<'a> StreamReader<'a> {
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub(super) fn new(stream: File, path: &'a Path, sender: &LineSender) -> Self {
        let metadata = stream.metadata().ok();
        // The inode of a file in /proc may be another one at each look.
        let metadata = metadata.filter(|it| !it.is_file() && !is_inherited(path));
        Self {
            is_named_fifo: metadata.as_ref().is_some_and(|it| it.file_type().is_fifo()),
            identity: metadata.as_ref().map(FileIdentity::of),
            input: StreamInput::new(OwnedFd::from(stream)),
            path,
            lines: LinePublisher::new(sender.clone()),
            decoder: TextDecoder::new(),
        }
    }

    /// Reads until the stream ends or is replaced, or until `stopped` is `true`. What was written
    /// before the stop is read.
    pub(super) async fn read_all(
        mut self,
        reporter: &mut Reporter,
        poll_interval: Duration,
        stopped: &mut watch::Receiver<bool>,
    ) -> StreamEnd {
        let end = self.read_until_end(reporter, poll_interval, stopped).await;
        if end != StreamEnd::Ended {
            self.drain().await;
        }
        self.finish_text().await;
        end
    }

    async fn read_until_end(
        &mut self,
        reporter: &mut Reporter,
        poll_interval: Duration,
        stopped: &mut watch::Receiver<bool>,
    ) -> StreamEnd {
        let mut next_look = Instant::now() + poll_interval;
        loop {
            if *stopped.borrow_and_update() {
                return StreamEnd::Stopped;
            }
            let read = tokio::select! {
                read = self.input.read() => read,
                // Fails only if the handle is gone, and then this task is aborted.
                _ = stopped.changed() => continue,
                () = sleep_until(next_look), if self.identity.is_some() => {
                    next_look = Instant::now() + poll_interval;
                    if self.is_replaced(reporter).await {
                        return StreamEnd::Replaced;
                    }
                    continue;
                }
            };
            match read {
                Ok(0) if self.is_named_fifo => {
                    self.finish_text().await;
                    if !self.reopen().await {
                        return StreamEnd::Replaced;
                    }
                }
                Ok(0) => return StreamEnd::Ended,
                Ok(n) => {
                    self.publish(n).await;
                    reporter.emit(TailEvent::CaughtUp);
                    match self.lines.coalesce_delay(n) {
                        Some(delay) => sleep(delay).await,
                        None => tokio::task::yield_now().await,
                    }
                }
                Err(error) => {
                    reporter.say(Err(Trouble::from(&error)));
                    return StreamEnd::Ended;
                }
            }
        }
    }

    /// Publishes the last `n` bytes that were read.
    async fn publish(&mut self, n: usize) {
        let lines = &mut self.lines;
        let bytes = &self.input.bytes()[..n];
        self.decoder.decode(bytes, &mut |text| lines.push(text));
        self.lines.flush().await;
    }

    /// Publishes an unterminated last line. The next text is another one.
    async fn finish_text(&mut self) {
        let lines = &mut self.lines;
        self.decoder.finish(&mut |text| lines.push(text));
        self.decoder = TextDecoder::new();
        self.lines.finish();
        self.lines.flush().await;
    }

    /// Reads what has been written already.
    async fn drain(&mut self) {
        let mut read_bytes = 0;
        while read_bytes < MAX_DRAIN_BYTES {
            let Some(n) = self.input.read_now() else {
                return;
            };
            self.publish(n).await;
            read_bytes += n;
        }
    }

    /// Opens the FIFO anew, since the end of the last writer is the end of one opening. Returns
    /// whether the same FIFO is at the path.
    ///
    /// The old opening is closed last, so that a writer finds a reader at any time.
    async fn reopen(&mut self) -> bool {
        let path = self.path.to_owned();
        let opened = tokio::task::spawn_blocking(move || match open(&path)? {
            Opened::Stream(stream) => Ok((FileIdentity::of(&stream.metadata()?), stream)),
            Opened::File(_) => Err(io::Error::from(io::ErrorKind::NotFound)),
        });
        match opened.await {
            Ok(Ok((identity, stream))) if Some(identity) == self.identity => {
                self.input = StreamInput::new(OwnedFd::from(stream));
                true
            }
            _ => false,
        }
    }

    /// Returns whether something else is at the path. While nothing is there, that is said and the
    /// stream is read on.
    async fn is_replaced(&self, reporter: &mut Reporter) -> bool {
        let path = self.path.to_owned();
        let metadata = tokio::task::spawn_blocking(move || fs::metadata(path)).await;
        match metadata {
            Ok(Ok(metadata)) => {
                reporter.say(Ok(()));
                Some(FileIdentity::of(&metadata)) != self.identity
            }
            Ok(Err(error)) => {
                reporter.say(Err(Trouble::from(&error)));
                false
            }
            Err(_) => false,
        }
    }
}

/// Returns whether `path` names a descriptor of this program, such as `/dev/stdin`, or `/dev/fd/63`
/// that a shell makes of `<(…)`. Such a stream is never replaced, and its end is final.
fn is_inherited(path: &Path) -> bool {
    let names_descriptor = |path: &Path| {
        path == Path::new("/dev/stdin")
            || path.starts_with("/dev/fd")
            || path.starts_with("/proc/self/fd")
    };
    names_descriptor(path) || fs::read_link(path).is_ok_and(|target| names_descriptor(&target))
}
