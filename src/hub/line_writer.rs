//! A writer whose lines are published.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Hub;
use crate::channel::Publisher;
use crate::message::{Lines, NameError};

/// The longest line that is kept until it ends. A longer one is published in pieces.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Publishes what is written to it, line by line. Returned by [`Hub::writer`].
///
/// A line ends with `\n` or `\r\n`. Writing never fails and never waits. `flush` shows the line
/// that has not ended to subscriptions with `partial`, as a prompt or a progress bar is shown.
/// Dropping the writer publishes it.
///
/// Clones write to the same channel, each with a line of its own. With the feature `tracing` it is
/// a `MakeWriter` for `tracing_subscriber::fmt`.
#[derive(Debug)]
pub struct LineWriter {
    publisher: Arc<Publisher>,
    /// The line that has not ended.
    begun: Vec<u8>,
    /// Whether the line that has not ended is shown.
    is_shown: bool,
}

impl Hub {
    /// Returns a writer that publishes each line to a channel.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Write;
    ///
    /// let hub = outrace::Hub::new();
    /// writeln!(hub.writer("logs")?, "a line")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the channel name is not valid.
    pub fn writer(&self, channel: &str) -> Result<LineWriter, NameError> {
        Ok(LineWriter {
            publisher: Arc::new(self.publisher(channel)?),
            begun: Vec::new(),
            is_shown: false,
        })
    }
}

impl LineWriter {
    /// Publishes complete lines.
    fn publish(&mut self, lines: &[u8]) {
        if self.publisher.is_watched() {
            self.publisher
                .send_lines(Lines::split(Bytes::copy_from_slice(lines)));
        } else {
            let count = memchr::memchr_iter(b'\n', lines).count();
            self.publisher.count_unwatched(count as u64);
        }
        self.hide();
    }

    /// Takes back what `flush` has shown.
    fn hide(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            self.publisher.show_partial(b"");
        }
    }

    /// Publishes pieces of the line that has not ended until the rest is short enough.
    fn publish_pieces(&mut self) {
        while self.begun.len() > MAX_LINE_BYTES {
            let mut end = MAX_LINE_BYTES;
            // Not within a character. No character has more than three bytes after its first.
            while end > MAX_LINE_BYTES - 3 && self.begun[end] & 0xc0 == 0x80 {
                end -= 1;
            }
            let mut piece = Lines::new();
            piece.push(&self.begun[..end]);
            self.begun.drain(..end);
            self.publisher.send_lines(piece.with_continued(vec![0]));
        }
    }
}

impl io::Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(last) = memchr::memrchr(b'\n', bytes) else {
            self.begun.extend_from_slice(bytes);
            self.publish_pieces();
            return Ok(bytes.len());
        };
        let (lines, begun) = bytes.split_at(last + 1);
        if self.begun.is_empty() {
            self.publish(lines);
        } else {
            let mut whole = std::mem::take(&mut self.begun);
            whole.extend_from_slice(lines);
            self.publish(&whole);
        }
        self.begun.extend_from_slice(begun);
        self.publish_pieces();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.begun.is_empty() {
            self.publisher.show_partial(&self.begun);
            self.is_shown = true;
        }
        Ok(())
    }
}

impl Clone for LineWriter {
    fn clone(&self) -> Self {
        Self {
            publisher: Arc::clone(&self.publisher),
            begun: Vec::new(),
            is_shown: false,
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            let mut line = std::mem::take(&mut self.begun);
            line.push(b'\n');
            self.publish(&line);
        }
    }
}
