//! The writer for one stream of a process: whole lines, each after the name of the process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use outrace::process::LineSplitter;
use tokio::io::AsyncWrite;

use super::terminal::{OutputStream, Terminal};

type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Writes whole lines, each after the prefix. An unfinished line waits for its end or for shutdown,
/// and is shown meanwhile if the terminal can.
pub(super) struct Prefixed {
    terminal: Arc<Terminal>,
    stream: OutputStream,
    prefix: Vec<u8>,
    /// Identifies the stream's unfinished line, if the terminal shows them.
    key: Option<usize>,
    splitter: LineSplitter,
    /// The write to the terminal that is under way.
    writing: Option<Writing>,
}

impl Prefixed {
    /// Creates a writer to one stream. With a `key`, its unfinished line is shown too.
    pub(super) fn new(
        terminal: Arc<Terminal>,
        stream: OutputStream,
        prefix: Vec<u8>,
        key: Option<usize>,
    ) -> Self {
        Self {
            terminal,
            stream,
            prefix,
            key,
            splitter: LineSplitter::new(),
            writing: None,
        }
    }

    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(writing.as_mut().poll(cx));
            self.writing = None;
            written?;
        }
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, lines: &outrace::Lines) {
        if let Some(key) = self.key {
            let (has_ended, partial) = (!lines.is_empty(), self.splitter.partial());
            self.terminal
                .set_unfinished(key, has_ended, &self.prefix, partial);
        }
        if lines.is_empty() {
            return;
        }
        let mut text = Vec::with_capacity(lines.byte_len() + lines.len() * (self.prefix.len() + 1));
        for line in lines.iter() {
            text.extend_from_slice(&self.prefix);
            text.extend_from_slice(match self.key {
                Some(_) => visible_part(line),
                None => line,
            });
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

/// Returns the part of a line after its last `\r`. On a terminal the rest would be written over the
/// prefix.
fn visible_part(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| byte != b'\r');
    let line = &line[..end.map_or(0, |last| last + 1)];
    let start = memchr::memrchr(b'\r', line).map_or(0, |at| at + 1);
    &line[start..]
}

#[cfg(test)]
mod tests {
    use super::visible_part;

    #[test]
    fn a_line_with_carriage_returns_shows_its_last_part() {
        for (line, part) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"\r10%\r20%\rdone", b"done"),
            (b"10%\r20%\r\r", b"20%"),
            (b"\r", b""),
        ] {
            assert_eq!(visible_part(line), part);
        }
    }
}
