//! An output as the end of a pass-through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::task::JoinHandle;

use super::Output;

/// Writes to an [`Output`] in a thread of the runtime's blocking pool, one write after the other.
///
/// Fails only if the runtime ends. Lines that the output does not take are counted there.
pub(crate) struct OutputSink {
    output: &'static Output,
    /// The buffer of the next write.
    buffer: Vec<u8>,
    /// The write under way, which gives its buffer back.
    writing: Option<JoinHandle<Vec<u8>>>,
}

impl OutputSink {
    pub(crate) fn new(output: &'static Output) -> Self {
        Self {
            output,
            buffer: Vec::new(),
            writing: None,
        }
    }

    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(Pin::new(writing).poll(cx));
            self.writing = None;
            self.buffer = written.map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OutputSink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_writing(cx))?;
        let (output, mut buffer) = (self.output, std::mem::take(&mut self.buffer));
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            output.write(&buffer);
            buffer
        }));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx)
    }
}
