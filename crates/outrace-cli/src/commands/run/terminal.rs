//! The terminal that several processes write to: whole lines, each after the name of its process,
//! and below them the unfinished lines.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, Notify};

use super::prefixed::Prefixed;
use super::unfinished::{MIN_STANDING, UnfinishedLines};

use crate::color::has_color;
use crate::console::notice;
use crate::output::{Output, OutputSink};

/// Colors that can be read on light and on dark backgrounds.
const COLORS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Standard output and standard error under one lock. Where both are the same terminal, a line on
/// one never falls into a line on the other.
pub(crate) struct Terminal {
    streams: Mutex<Streams>,
    /// Whether standard output, and whether standard error, shows colors.
    colored: (bool, bool),
    /// The stream that the unfinished lines are shown on, if one can.
    screen: Option<OutputStream>,
    unfinished: Lock<UnfinishedLines>,
    /// Wakes [`show_unfinished`](Terminal::show_unfinished).
    changed: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputStream {
    Out,
    Error,
}

impl Terminal {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: Mutex::new(Streams(
                OutputSink::new(Output::stdout()),
                OutputSink::new(Output::stderr()),
            )),
            colored: (has_color(&io::stdout()), has_color(&io::stderr())),
            screen: screen(),
            unfinished: Lock::default(),
            changed: Notify::new(),
        })
    }

    /// Writes all of `text`, which ends with a line end, with no other text in between.
    pub(super) async fn write(&self, stream: OutputStream, text: &[u8]) -> io::Result<()> {
        let mut streams = self.streams.lock().await;
        let Some(screen) = self.screen.filter(|_| stream.is_terminal()) else {
            return streams.write(stream, text).await;
        };
        let clear = self.unfinished().clear();
        if screen == stream {
            let rows = self.unfinished().rows(Instant::now()).to_vec();
            let text = [&clear, text, &rows].concat();
            return streams.write(stream, &text).await;
        }
        streams.write(screen, &clear).await?;
        streams.write(stream, text).await?;
        let rows = self.unfinished().rows(Instant::now()).to_vec();
        streams.write(screen, &rows).await
    }

    /// Sets the unfinished line of one stream of a process, or none if `text` is empty. `key`
    /// identifies the stream and orders the rows. `has_ended` says that a line ended before.
    pub(super) fn set_unfinished(&self, key: usize, has_ended: bool, prefix: &[u8], text: &[u8]) {
        let mut unfinished = self.unfinished();
        if unfinished.set(key, has_ended, prefix, text, Instant::now()) {
            self.changed.notify_one();
        }
    }

    /// Shows unfinished lines that stand for a moment, and shows them again as they grow. Never
    /// returns.
    pub(super) async fn show_unfinished(&self) {
        loop {
            self.changed.notified().await;
            // Collects further changes too, so that a fast progress bar costs 50 writes a second.
            tokio::time::sleep(MIN_STANDING).await;
            let mut streams = self.streams.lock().await;
            let now = Instant::now();
            let (bytes, is_waiting) = {
                let mut unfinished = self.unfinished();
                (unfinished.update(now), unfinished.is_waiting(now))
            };
            if let (Some(bytes), Some(screen)) = (bytes, self.screen) {
                // What cannot be shown is written as a line when it has ended.
                let _ = streams.write(screen, &bytes).await;
            }
            if is_waiting {
                self.changed.notify_one();
            }
        }
    }

    fn unfinished(&self) -> MutexGuard<'_, UnfinishedLines> {
        // A panic while it was held leaves rows that are cleared too early or too late.
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message of the program between the lines of the processes. A message that standard
    /// error does not take is dropped, and does not count as output that was lost.
    pub(crate) async fn tell(&self, message: &str) {
        let mut streams = self.streams.lock().await;
        let screen = self.screen.filter(|_| OutputStream::Error.is_terminal());
        if let Some(screen) = screen {
            let clear = self.unfinished().clear();
            let _ = streams.write(screen, &clear).await;
        }
        notice!("{message}");
        if let Some(screen) = screen {
            let rows = self.unfinished().rows(Instant::now()).to_vec();
            let _ = streams.write(screen, &rows).await;
        }
    }

    /// Returns the writer for one stream of process number `index`.
    pub(crate) fn sink(
        self: &Arc<Self>,
        stream: OutputStream,
        id: &str,
        width: usize,
        index: usize,
    ) -> Prefixed {
        let colored = if stream == OutputStream::Out {
            self.colored.0
        } else {
            self.colored.1
        };
        let prefix = prefix(id, width, colored.then(|| COLORS[index % COLORS.len()])).into_bytes();
        let key = (self.screen.is_some() && stream.is_terminal())
            .then(|| 2 * index + usize::from(stream == OutputStream::Error));
        Prefixed::new(Arc::clone(self), stream, prefix, key)
    }
}

/// Standard output and standard error.
struct Streams(OutputSink, OutputSink);

impl Streams {
    async fn write(&mut self, stream: OutputStream, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        match stream {
            OutputStream::Out => {
                self.0.write_all(text).await?;
                self.0.flush().await
            }
            OutputStream::Error => {
                self.1.write_all(text).await?;
                self.1.flush().await
            }
        }
    }
}

impl OutputStream {
    fn is_terminal(self) -> bool {
        match self {
            Self::Out => io::stdout().is_terminal(),
            Self::Error => io::stderr().is_terminal(),
        }
    }
}

/// Returns the stream on which rows can be cleared and shown again.
fn screen() -> Option<OutputStream> {
    if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return None;
    }
    [OutputStream::Out, OutputStream::Error]
        .into_iter()
        .find(|stream| stream.is_terminal())
}

/// Returns the prefix of a line. It begins with a reset, since the process may have left a color
/// on.
fn prefix(id: &str, width: usize, color: Option<u8>) -> String {
    match color {
        Some(color) => format!("\x1b[0;{color}m{id:width$} |\x1b[0m "),
        None => format!("{id:width$} | "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_padded_and_colored_only_if_asked_to() {
        assert_eq!(prefix("web", 6, None), "web    | ");
        assert_eq!(prefix("worker", 6, Some(33)), "\x1b[0;33mworker |\x1b[0m ");
    }
}
