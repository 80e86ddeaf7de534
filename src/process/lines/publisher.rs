//! Publishes the lines of a byte stream.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Lines, OutputStream, Publisher};

use super::{LineSender, LineSplitter, PartialLine};

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
///
/// # The unfinished line
///
/// A progress bar or a prompt is an unfinished line. It is shown to subscriptions with `partial` if
/// the caller asks [`partial_due`](Self::partial_due) after each read, and calls
/// [`show_partial`](Self::show_partial) at that instant unless there is more input before. A
/// [`PartialTimer`](super::PartialTimer) waits for it beside the next read.
#[derive(Debug)]
pub struct LinePublisher {
    splitter: LineSplitter,
    sender: LineSender,
    stream: Option<OutputStream>,
    /// The length of the slice that [`spare_mut`](Self::spare_mut) returned last.
    spare_len: usize,
    /// Runs that wait for [`flush`](Self::flush). Always empty for a sender that never waits.
    unpublished: VecDeque<Lines>,
    /// Whether there was input since [`take_input`](Self::take_input), and whether a line has ended
    /// in it.
    input: Option<LineEnded>,
    partial: PartialLine,
    /// Whether the lines were written before the stream was followed.
    is_past: bool,
}

/// Whether a line has ended in some input.
#[derive(Clone, Copy, Debug)]
pub(in crate::process) struct LineEnded(pub(in crate::process) bool);

impl LinePublisher {
    /// Creates a publisher of lines from a [`Publisher`], a [`Lossless`](crate::Lossless) or a
    /// [`LineSender`].
    pub fn new(sender: impl Into<LineSender>) -> Self {
        Self {
            splitter: LineSplitter::new(),
            sender: sender.into(),
            stream: None,
            spare_len: 0,
            unpublished: VecDeque::new(),
            input: None,
            partial: PartialLine::default(),
            is_past: false,
        }
    }

    /// Says which stream of its process this is. Subscriptions with `detail` are told.
    #[must_use]
    pub fn with_stream(mut self, stream: OutputStream) -> Self {
        self.stream = Some(stream);
        self
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
        self.input.get_or_insert(LineEnded(false));
        if self.publisher().is_watched() || !self.unpublished.is_empty() {
            let lines = self.splitter.take_lines();
            self.publish(lines);
        } else {
            let count = self.splitter.discard_lines();
            if count > 0 {
                self.input = Some(LineEnded(true));
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
        self.partial.clear(self.sender.publisher());
    }

    /// Publishes the collected lines as subscribers get room. Returns at once if the sender never
    /// waits.
    ///
    /// # Cancel safety
    /// Cancel safe. Lines that are not published when the future is dropped are published by the
    /// next call.
    pub async fn flush(&mut self) {
        if let LineSender::Lossless(lossless) = &self.sender {
            while let Some(lines) = self.unpublished.front_mut() {
                // Leaves the rest in the run when the future is dropped.
                lossless.send_lines(lines).await;
                self.unpublished.pop_front();
            }
        }
    }

    /// Returns the text of the unfinished line as a terminal shows it. See
    /// [`LineSplitter::partial`].
    pub fn partial(&self) -> &[u8] {
        self.splitter.partial()
    }

    /// Takes note of the unfinished line after a read, and returns when
    /// [`show_partial`](Self::show_partial) is to be called: 20 ms after the line was begun, and at
    /// most ten times a second. Returns `None` if there is nothing to show.
    pub fn partial_due(&mut self) -> Option<Instant> {
        if let Some(LineEnded(has_ended)) = self.take_input() {
            let (publisher, is_unfinished) = (self.sender.publisher(), self.is_unfinished());
            self.partial
                .update(has_ended, is_unfinished, Instant::now(), publisher);
        }
        self.partial.due()
    }

    /// Shows the unfinished line to subscriptions with `partial` if it is due.
    pub fn show_partial(&mut self) {
        let publisher = self.sender.publisher();
        self.partial
            .show(self.splitter.partial(), Instant::now(), publisher);
    }

    /// Returns whether there was input since the last call.
    pub(in crate::process) fn take_input(&mut self) -> Option<LineEnded> {
        self.input.take()
    }

    /// Returns whether a line is unfinished.
    pub(in crate::process) fn is_unfinished(&self) -> bool {
        self.splitter.pending_bytes() > 0
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
        self.input = Some(LineEnded(true));
        let lines = match self.stream {
            Some(stream) => lines.with_stream(stream),
            None => lines,
        };
        let lines = if self.is_past {
            lines.with_past()
        } else {
            lines
        };
        match &self.sender {
            LineSender::Plain(publisher) => {
                publisher.send_lines(lines);
            }
            LineSender::Lossless(_) => self.unpublished.push_back(lines),
        }
    }
}
