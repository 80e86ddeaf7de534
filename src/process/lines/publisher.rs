//! Publishes the lines of a byte stream.

use std::time::Duration;

use crate::{Lines, Publisher};

use super::{LineSender, LineSplitter};

/// A read of at least this many bytes is followed by the next read without a delay.
const SMALL_READ_BYTES: usize = 8 * 1024;

/// The time to collect more input after a small read.
const COALESCE_DELAY: Duration = Duration::from_millis(1);

/// Publishes the lines of one byte stream to one channel.
///
/// While the channel has neither subscribers nor a history, complete lines are only counted, at the
/// speed of a search for `\n`. The unfinished line is always kept: a subscriber that joins in the
/// middle of a line gets the whole line.
///
/// ```no_run
/// # use outrace::{Hub, process::LinePublisher};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hub = Hub::new();
/// use std::io::Read;
/// let mut lines = LinePublisher::new(hub.publisher("process:build")?);
/// let mut file = std::fs::File::open("build.log")?;
/// loop {
///     let n = file.read(lines.spare_mut())?;
///     if n == 0 {
///         break;
///     }
///     lines.commit(n);
/// }
/// lines.finish();
/// # Ok(())
/// # }
/// ```
///
/// # Waiting for subscribers
///
/// Made from a [`Lossless`](crate::Lossless), it waits for subscribers without room instead of
/// skipping them. [`commit`](Self::commit), [`push`](Self::push) and [`finish`](Self::finish) then
/// only collect lines, and each of them must be followed by [`flush`](Self::flush), which
/// publishes.
///
/// ```
/// # use outrace::{Hub, Lossless, process::LinePublisher};
/// # async fn example(hub: Hub) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// let lossless = Lossless::new(hub.publisher("process:build")?, Duration::from_secs(30));
/// let mut lines = LinePublisher::new(lossless);
/// lines.push(b"one\ntwo\n");
/// lines.flush().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LinePublisher {
    splitter: LineSplitter,
    sender: LineSender,
    /// The length of the slice that [`spare_mut`](Self::spare_mut) returned last.
    spare_len: usize,
    /// Lines that wait for [`flush`](Self::flush). Always empty for a sender that never waits.
    unpublished: Lines,
    /// Whether the lines were written before the stream was followed.
    is_past: bool,
}

impl LinePublisher {
    /// Creates a publisher of lines from a [`Publisher`], a [`Lossless`](crate::Lossless) or a
    /// [`LineSender`].
    pub fn new(sender: impl Into<LineSender>) -> Self {
        Self {
            splitter: LineSplitter::new(),
            sender: sender.into(),
            spare_len: 0,
            unpublished: Lines::new(),
            is_past: false,
        }
    }

    /// Returns buffer space to read into, 4 to 256 KiB by the size of earlier reads.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let spare = self.splitter.spare_mut();
        self.spare_len = spare.len();
        spare
    }

    /// Takes the first `n` bytes of [`spare_mut`](Self::spare_mut) as input and publishes the lines
    /// that they complete. Never blocks.
    ///
    /// # Panics
    /// If `n` is greater than the length of the space that was returned.
    pub fn commit(&mut self, n: usize) {
        self.splitter.commit(n);
        if self.publisher().is_watched() || !self.unpublished.is_empty() {
            let lines = self.splitter.take_lines();
            self.publish(lines);
        } else {
            let count = self.splitter.discard_lines();
            if count > 0 {
                self.publisher().count_unwatched(count);
            }
        }
    }

    /// Copies `chunk` in and publishes the lines that it completes. Never blocks.
    ///
    /// Reading into [`spare_mut`](Self::spare_mut) avoids the copy.
    pub fn push(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let spare = self.spare_mut();
            let n = spare.len().min(chunk.len());
            spare[..n].copy_from_slice(&chunk[..n]);
            self.commit(n);
            chunk = &chunk[n..];
        }
    }

    /// Ends the stream: publishes the remaining input, with a last line that has no terminator.
    ///
    /// The publisher may be used for another stream afterwards.
    pub fn finish(&mut self) {
        let lines = self.splitter.finish();
        self.publish(lines);
    }

    /// Publishes the collected lines as subscribers get room. Returns at once if the sender never
    /// waits.
    ///
    /// # Cancel safety
    /// Cancel safe. Lines that are not published when the future is dropped are published by the
    /// next call.
    pub async fn flush(&mut self) {
        if let LineSender::Lossless(lossless) = &self.sender
            && !self.unpublished.is_empty()
        {
            lossless.send_lines(&mut self.unpublished).await;
        }
    }

    /// Returns how long the caller should wait before the next read, after one of `n` bytes.
    ///
    /// The delay is 1 ms after a read that was small and took everything there was, while published
    /// lines would only wait for the hub's next flush. Otherwise it is `None`. The writer of the
    /// stream does not notice the delay, since a pipe holds many times as much.
    ///
    /// The delay is not suitable for one of several streams whose relative order matters: input
    /// that arrives during the delay loses its order.
    pub fn coalesce_delay(&self, n: usize) -> Option<Duration> {
        (n < SMALL_READ_BYTES.min(self.spare_len) && self.publisher().is_paced())
            .then_some(COALESCE_DELAY)
    }

    /// Sets whether the lines that are published next were written before the stream was followed.
    /// A publisher that waits for subscribers must be flushed before a change.
    pub(crate) fn set_past(&mut self, is_past: bool) {
        self.is_past = is_past;
    }

    /// Returns the publisher that the lines go through.
    pub fn publisher(&self) -> &Publisher {
        self.sender.publisher()
    }

    fn publish(&mut self, lines: Lines) {
        if lines.is_empty() {
            return;
        }
        let lines = if self.is_past {
            lines.with_past()
        } else {
            lines
        };
        match &self.sender {
            LineSender::Plain(publisher) => {
                publisher.send_lines(lines);
            }
            LineSender::Lossless(_) if self.unpublished.is_empty() => self.unpublished = lines,
            LineSender::Lossless(_) => self.unpublished.extend(lines.iter()),
        }
    }
}
