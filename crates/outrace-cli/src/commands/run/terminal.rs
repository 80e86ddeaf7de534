//! The terminal that several processes write to: whole lines, each after the name of its process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use outrace::process::LineSplitter;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::color::has_color;
use crate::console::notice;
use crate::output::{Output, OutputSink};

/// Colors that can be read on light and on dark backgrounds.
const COLORS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Standard output and standard error under one lock. Where both are the same terminal, a line on
/// one never falls into a line on the other.
pub(crate) struct Terminal {
    streams: Mutex<(OutputSink, OutputSink)>,
    /// Whether standard output, and whether standard error, shows colors.
    colored: (bool, bool),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputStream {
    Out,
    Error,
}

impl Terminal {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: Mutex::new((
                OutputSink::new(Output::stdout()),
                OutputSink::new(Output::stderr()),
            )),
            colored: (has_color(&io::stdout()), has_color(&io::stderr())),
        })
    }

    /// Writes all of `text` with no other text in between.
    async fn write(&self, stream: OutputStream, text: &[u8]) -> io::Result<()> {
        let mut streams = self.streams.lock().await;
        match stream {
            OutputStream::Out => {
                streams.0.write_all(text).await?;
                streams.0.flush().await
            }
            OutputStream::Error => {
                streams.1.write_all(text).await?;
                streams.1.flush().await
            }
        }
    }

    /// Writes a message of the program between the lines of the processes. A message that standard
    /// error does not take is dropped, and does not count as output that was lost.
    pub(crate) async fn tell(&self, message: &str) {
        let _streams = self.streams.lock().await;
        notice!("{message}");
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
        Prefixed {
            terminal: Arc::clone(self),
            stream,
            prefix: prefix(id, width, colored.then(|| COLORS[index % COLORS.len()])).into_bytes(),
            splitter: LineSplitter::new(),
            writing: None,
        }
    }
}

/// Returns the prefix of a line. It begins with a reset, since the process may have left a color
/// on.
fn prefix(id: &str, width: usize, color: Option<u8>) -> String {
    match color {
        Some(color) => format!("\x1b[0;{color}m{id:width$} |\x1b[0m "),
        None => format!("{id:width$} | "),
    }
}

type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Writes whole lines, each after the prefix. An unfinished line waits for its end or for shutdown.
pub(crate) struct Prefixed {
    terminal: Arc<Terminal>,
    stream: OutputStream,
    prefix: Vec<u8>,
    splitter: LineSplitter,
    /// The write to the terminal that is under way.
    writing: Option<Writing>,
}

impl Prefixed {
    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(writing.as_mut().poll(cx));
            self.writing = None;
            written?;
        }
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, lines: &outrace::Lines) {
        if lines.is_empty() {
            return;
        }
        let mut text = Vec::with_capacity(lines.byte_len() + lines.len() * (self.prefix.len() + 1));
        for line in lines.iter() {
            text.extend_from_slice(&self.prefix);
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        let (terminal, stream) = (Arc::clone(&self.terminal), self.stream);
        self.writing = Some(Box::pin(async move { terminal.write(stream, &text).await }));
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writing(cx))?;
        self.splitter.push(bytes);
        let lines = self.splitter.take_lines();
        self.begin(&lines);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_writing(cx))?;
        let last = self.splitter.finish();
        self.begin(&last);
        self.poll_writing(cx)
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
