//! The task that owns both output pipes of a process: reads, publishes, passes through, and reports.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::message::Status;
use crate::{Lossless, Publisher};

use super::LineFeed;
use super::handle::{ExitReport, Target};

/// How long a pipe that outlives its process may be silent before it is given up.
pub const DRAIN_QUIET: Duration = Duration::from_millis(200);
/// How long a pipe that outlives its process is read at most. What a slow [tee](super::Spawn::tee) takes
/// does not count, so that nothing the process itself wrote is cut off.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What is read at once with a tee: a pipe of the default size.
const TEE_BUFFER: usize = 64 * 1024;

/// Where raw output is passed on to.
pub(super) type Sink = Pin<Box<dyn AsyncWrite + Send>>;

pub(super) struct Pump {
    publisher: Publisher,
    stdout: PipeReader,
    stderr: PipeReader,
}

impl Pump {
    pub(super) fn new<O, E>(
        publisher: Publisher,
        lossless: Option<&Lossless>,
        stdout: Option<(O, Option<Sink>)>,
        stderr: Option<(E, Option<Sink>)>,
    ) -> Self
    where
        O: AsyncRead + Send + 'static,
        E: AsyncRead + Send + 'static,
    {
        let feed = || match lossless {
            Some(lossless) => LineFeed::lossless(lossless.clone()),
            None => LineFeed::new(publisher.clone()),
        };
        Self {
            stdout: PipeReader::new(feed(), stdout),
            stderr: PipeReader::new(feed(), stderr),
            publisher,
        }
    }

    pub(super) async fn run(
        mut self,
        mut child: Child,
        target: Arc<Target>,
        report: watch::Sender<Option<ExitReport>>,
    ) {
        let exit = {
            let mut wait = pin!(child.wait());
            let mut exit = pin!(poll_fn(|cx| target.reap(|| wait.as_mut().poll(cx))));
            loop {
                tokio::select! {
                    exit = &mut exit => break exit,
                    read = self.stdout.read() => self.stdout.handle(read).await,
                    read = self.stderr.read() => self.stderr.handle(read).await,
                };
                // Reads of a busy process are always ready; on one core the clients' writers need their turn.
                tokio::task::yield_now().await;
            }
        };
        self.drain().await;
        for stream in [&mut self.stdout, &mut self.stderr] {
            stream.feed.finish();
            stream.feed.settle().await;
            if let Some(tee) = &mut stream.tee {
                let _ = tee.sink.shutdown().await;
            }
        }
        let exit = target.judge(exit);
        // Only an exit has a code on the wire.
        let code = if exit.status == Status::Stopped {
            0
        } else {
            exit.code
        };
        self.publisher.send_status(exit.status.clone(), code);
        report.send_replace(Some(exit));
    }

    /// Reads what is left in the pipes after the process has ended.
    async fn drain(&mut self) {
        let mut limit = Instant::now() + DRAIN_LIMIT;
        while self.stdout.is_open() || self.stderr.is_open() {
            let deadline = limit.min(Instant::now() + DRAIN_QUIET);
            let tee = tokio::select! {
                // What is there goes before silence, whose deadline may have passed unnoticed.
                biased;
                () = sleep_until(limit) => break,
                read = self.stdout.read() => self.stdout.handle(read).await,
                read = self.stderr.read() => self.stderr.handle(read).await,
                () = sleep_until(deadline) => break,
            };
            limit += tee;
            tokio::task::yield_now().await;
        }
    }
}

/// One output pipe of the process.
struct PipeReader {
    pipe: Option<Pin<Box<dyn AsyncRead + Send>>>,
    feed: LineFeed,
    tee: Option<Tee>,
}

/// The pass-through, with a buffer of its own: the bytes are published first and passed on then, and by
/// that time the feed has given its buffer to the run of lines.
struct Tee {
    sink: Sink,
    raw: Vec<u8>,
}

impl PipeReader {
    fn new<R>(feed: LineFeed, pipe: Option<(R, Option<Sink>)>) -> Self
    where
        R: AsyncRead + Send + 'static,
    {
        let (pipe, sink) = match pipe {
            Some((pipe, sink)) => (Some(Box::pin(pipe) as _), sink),
            None => (None, None),
        };
        let tee = sink.map(|sink| Tee {
            sink,
            raw: vec![0; TEE_BUFFER],
        });
        Self { pipe, feed, tee }
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// One read. Never ready once the pipe is closed. Nothing is lost by dropping the future.
    async fn read(&mut self) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else {
            return std::future::pending().await;
        };
        match &mut self.tee {
            Some(tee) => pipe.read(&mut tee.raw).await,
            None => pipe.read(self.feed.spare()).await,
        }
    }

    /// Publishes what was read and passes it on; returns how long it took to wait for others.
    async fn handle(&mut self, read: io::Result<usize>) -> Duration {
        let n = match read {
            Ok(0) | Err(_) => {
                self.pipe = None;
                return Duration::ZERO;
            }
            Ok(n) => n,
        };
        let Some(tee) = &mut self.tee else {
            self.feed.filled(n);
            let begin = Instant::now();
            self.feed.settle().await;
            return begin.elapsed();
        };
        self.feed.push(&tee.raw[..n]);
        let begin = Instant::now();
        self.feed.settle().await;
        if tee.pass_on(n).await.is_err() {
            // The process can still be watched: go on without the sink, at full size.
            self.tee = None;
        }
        begin.elapsed()
    }
}

impl Tee {
    async fn pass_on(&mut self, n: usize) -> io::Result<()> {
        self.sink.write_all(&self.raw[..n]).await?;
        self.sink.flush().await
    }
}
