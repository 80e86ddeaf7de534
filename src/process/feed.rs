//! Bytes in, published lines out: what connects a [`LineSplitter`] with a [`Publisher`].

use std::time::Duration;

use crate::{Lines, Lossless, Publisher};

use super::LineSplitter;

/// Publishes the lines of one byte stream to one channel.
///
/// While nobody subscribes (and no history is kept), lines are only counted, at the speed of a search
/// for `\n`. The unfinished line is kept through all of it: who joins in the middle of a line gets the
/// whole line.
///
/// ```no_run
/// # use outrace::{Hub, process::LineFeed};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hub = Hub::new();
/// use std::io::Read;
/// let mut feed = LineFeed::new(hub.publisher("process:build")?);
/// let mut file = std::fs::File::open("build.log")?;
/// loop {
///     let read = file.read(feed.spare())?;
///     if read == 0 {
///         break;
///     }
///     feed.filled(read);
/// }
/// feed.finish();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LineFeed {
    splitter: LineSplitter,
    publisher: Publisher,
    /// The room that was given last.
    room: usize,
    lossless: Option<Lossless>,
    /// Lines that wait for [`LineFeed::settle`], in a feed that loses none.
    unpublished: Lines,
}

impl LineFeed {
    /// A feed for the publisher's channel.
    pub fn new(publisher: Publisher) -> Self {
        Self {
            splitter: LineSplitter::new(),
            publisher,
            room: 0,
            lossless: None,
            unpublished: Lines::new(),
        }
    }

    /// A feed that waits for slow subscribers: what is filled is published by [`settle`](Self::settle), which has to be
    /// awaited after each [`filled`](Self::filled), [`push`](Self::push) and [`finish`](Self::finish).
    pub fn lossless(lossless: Lossless) -> Self {
        Self {
            lossless: Some(lossless.clone()),
            ..Self::new(lossless.publisher().clone())
        }
    }

    /// Publishes what is filled, in a [lossless](Self::lossless) feed, as subscribers have room; in any other there is nothing to do.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future: what is not published yet is by the next call.
    pub async fn settle(&mut self) {
        if let Some(lossless) = &self.lossless
            && !self.unpublished.is_empty()
        {
            lossless.send_lines(&mut self.unpublished).await;
        }
    }

    fn publish(&mut self, lines: Lines) {
        match (&self.lossless, self.unpublished.is_empty()) {
            _ if lines.is_empty() => {}
            (None, _) => {
                self.publisher.send_lines(lines);
            }
            (Some(_), true) => self.unpublished = lines,
            (Some(_), false) => self.unpublished.extend(lines.iter()),
        }
    }

    /// Room to read into, 4 to 256 KiB by the size of earlier reads.
    pub fn spare(&mut self) -> &mut [u8] {
        let spare = self.splitter.spare();
        self.room = spare.len();
        spare
    }

    /// Publishes the lines that the first `n` bytes of [`spare`](Self::spare) complete. Never blocks.
    ///
    /// # Panics
    /// When `n` is more than the room that was given.
    pub fn filled(&mut self, n: usize) {
        self.splitter.filled(n);
        if self.publisher.is_watched() || !self.unpublished.is_empty() {
            let lines = self.splitter.take();
            self.publish(lines);
        } else {
            let count = self.splitter.count();
            if count > 0 {
                self.publisher.count_unwatched(count);
            }
        }
    }

    /// How long to let more arrive after a read of `n` bytes: about a millisecond after a small one that took all there was, while what is published would only wait for
    /// the hub's next flush; else nothing. The stream's writer does not notice, since a pipe has room for many times as much.
    ///
    /// Not for one of several streams whose order matters: what arrives meanwhile has lost it.
    pub fn linger(&self, n: usize) -> Option<Duration> {
        const SMALL: usize = 8 * 1024;
        (n < SMALL.min(self.room) && self.publisher.is_paced()).then_some(Duration::from_millis(1))
    }

    /// Publishes the lines that `chunk` completes, for bytes that are in memory already: they are copied.
    pub fn push(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let spare = self.spare();
            let n = spare.len().min(chunk.len());
            spare[..n].copy_from_slice(&chunk[..n]);
            self.filled(n);
            chunk = &chunk[n..];
        }
    }

    /// The stream ended: publishes what is left as the last line. The feed may go on with another stream.
    pub fn finish(&mut self) {
        let lines = self.splitter.finish();
        self.publish(lines);
    }

    /// The publisher the lines go through.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }
}
