//! Reads one output pipe: publishes its lines and passes its bytes through.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::process::LinePublisher;
use crate::process::lines::LineEnded;

/// The size of one read with a tee: a pipe of the default size.
const TEE_BUFFER_BYTES: usize = 64 * 1024;

/// The reading end of an output pipe.
pub(super) type OutputPipe = Pin<Box<dyn AsyncRead + Send>>;

/// The destination of raw output.
pub(in crate::process) type OutputSink = Pin<Box<dyn AsyncWrite + Send>>;

/// One output pipe of the process.
pub(super) struct PipeReader {
    /// `None` once the pipe is closed.
    pipe: Option<OutputPipe>,
    lines: LinePublisher,
    tee: Option<Tee>,
}

/// The pass-through, with a buffer of its own. The bytes are published before they are passed on,
/// and publishing gives the publisher's buffer away with the run of lines.
struct Tee {
    sink: OutputSink,
    raw: Vec<u8>,
}

impl PipeReader {
    /// Creates a reader; without a `pipe`, it is closed from the start.
    pub(super) fn new(
        lines: LinePublisher,
        pipe: Option<OutputPipe>,
        sink: Option<OutputSink>,
    ) -> Self {
        let tee = sink.map(|sink| Tee {
            sink,
            raw: vec![0; TEE_BUFFER_BYTES],
        });
        Self {
            tee: tee.filter(|_| pipe.is_some()),
            pipe,
            lines,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads once. Never completes after the pipe was closed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else {
            return std::future::pending().await;
        };
        match &mut self.tee {
            Some(tee) => pipe.read(&mut tee.raw).await,
            None => pipe.read(self.lines.spare_mut()).await,
        }
    }

    /// Publishes the input of one [`read`](Self::read) and passes it on. Returns how long this
    /// waited for subscribers and the sink.
    pub(super) async fn handle(&mut self, read: io::Result<usize>) -> Duration {
        let n = match read {
            Ok(0) | Err(_) => {
                self.pipe = None;
                return Duration::ZERO;
            }
            Ok(n) => n,
        };
        let Some(tee) = &mut self.tee else {
            self.lines.commit(n);
            let begin = Instant::now();
            self.lines.flush().await;
            return begin.elapsed();
        };
        self.lines.push(&tee.raw[..n]);
        let begin = Instant::now();
        self.lines.flush().await;
        if tee.pass_on(n).await.is_err() {
            // Publishing goes on without the sink.
            self.tee = None;
        }
        begin.elapsed()
    }

    /// Returns whether there was input since the last call.
    pub(super) fn take_input(&mut self) -> Option<LineEnded> {
        self.lines.take_input()
    }

    /// Returns whether a line is unfinished.
    pub(super) fn is_unfinished(&self) -> bool {
        self.lines.is_unfinished()
    }

    /// Returns the text of the unfinished line as a terminal shows it.
    pub(super) fn partial(&self) -> &[u8] {
        self.lines.partial()
    }

    /// Publishes the remaining input and shuts the sink down.
    pub(super) async fn finish(&mut self) {
        self.lines.finish();
        self.lines.flush().await;
        if let Some(tee) = &mut self.tee {
            let _ = tee.sink.shutdown().await;
        }
    }
}

impl Tee {
    async fn pass_on(&mut self, n: usize) -> io::Result<()> {
        self.sink.write_all(&self.raw[..n]).await?;
        self.sink.flush().await
    }
}
