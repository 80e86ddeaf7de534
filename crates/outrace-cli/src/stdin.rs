//! Reads standard input as fast as it comes.
//!
//! A task reads a pipe, socket or terminal. It waits for readiness, and yields to the writers of
//! the clients after each read. The descriptor stays in blocking mode: the mode belongs to the open
//! file, so a change would reach every other process that has it open, such as the shell. A read
//! that follows a `poll` with input does not block, as long as no other process reads in between.
//!
//! A thread reads a regular file, which is always ready and cannot be waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrace::process::{DRAIN_IDLE_TIMEOUT, DRAIN_TIMEOUT, LinePublisher, PartialTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::descriptor::register;
use crate::output::{Output, OutputSink};
use crate::signals::Signals;

/// The requested capacity of a pipe: the most that an unprivileged process may have.
const PIPE_BYTES: usize = 1 << 20;

/// The size of one read that is passed through.
const TEE_BUFFER_BYTES: usize = 64 * 1024;

/// The reason why reading ended.
pub(crate) enum End {
    Eof,
    Signal,
}

/// Feeds standard input until it ends. With `tee`, the input is also passed through to standard
/// output after it was published, byte for byte. A slow reader of that slows the input down.
///
/// On a signal it calls `on_signal` and then leaves the input a short time to end by itself, since
/// the same Ctrl-C may have reached the program that writes it.
pub(crate) async fn feed(
    feed: LinePublisher,
    tee: bool,
    signals: &mut Signals,
    on_signal: impl Fn(),
) -> io::Result<End> {
    // A larger pipe means fewer switches between the writer and us. Where it is no pipe, or this is
    // not allowed, it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(io::stdin(), PIPE_BYTES);
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    // AsyncFd waits for any descriptor that epoll accepts, and leaves its mode as it is.
    match register(stdin, Interest::READABLE) {
        Ok(stdin) => {
            let (stop, stopped) = watch::channel(None);
            let input = Input::new(feed, tee);
            let mut reading = tokio::spawn(read_when_ready(stdin, input, stopped));
            tokio::select! {
                end = &mut reading => return end?,
                _ = signals.next() => on_signal(),
            }
            // Without a reader of the output there are no viewers either: nobody gets the rest.
            let drain = match Output::stdout().is_closed() {
                true => Duration::ZERO,
                false => DRAIN_TIMEOUT,
            };
            stop.send_replace(Some(Instant::now() + drain));
            tokio::select! {
                end = &mut reading => return end?,
                _ = signals.next() => {}
                // Only standard output that nobody reads takes longer.
                () = sleep(DRAIN_TIMEOUT + DRAIN_IDLE_TIMEOUT), if tee => {}
            }
            reading.abort();
            Ok(End::Signal)
        }
        Err(_) => {
            let stop = Arc::new(AtomicBool::new(false));
            let mut reading = tokio::task::spawn_blocking({
                let stop = Arc::clone(&stop);
                let wait = Handle::current();
                move || read_blocking(Input::new(feed, tee), &stop, &wait)
            });
            tokio::select! {
                end = &mut reading => return end?,
                _ = signals.next() => on_signal(),
            }
            // Relaxed: the flag publishes no other data.
            stop.store(true, Ordering::Relaxed);
            match tokio::time::timeout(DRAIN_TIMEOUT, reading).await {
                Ok(end) => end?,
                Err(_) => Ok(End::Signal),
            }
        }
    }
}

/// Reads until the end, or until the deadline that `stopped` holds once there is one.
async fn read_when_ready(
    mut stdin: AsyncFd<OwnedFd>,
    mut input: Input,
    mut stopped: watch::Receiver<Option<Instant>>,
) -> io::Result<End> {
    let mut timer = PartialTimer::new();
    loop {
        let limit = *stopped.borrow_and_update();
        timer.arm(input.feed.partial_due());
        let ready = match limit {
            None => tokio::select! {
                ready = stdin.readable() => ready,
                Ok(()) = stopped.changed() => continue,
                () = timer.fired() => {
                    input.feed.show_partial();
                    continue;
                }
            },
            Some(limit) if Instant::now() >= limit => break,
            Some(limit) => {
                match timeout_at(
                    limit.min(Instant::now() + DRAIN_IDLE_TIMEOUT),
                    stdin.readable(),
                )
                .await
                {
                    Ok(ready) => ready,
                    Err(_) => break,
                }
            }
        };
        let mut ready = ready?;
        // Readiness is edge-triggered and may be stale. `WouldBlock` clears it, except for an edge
        // that came after this check.
        let read = ready.try_io(|stdin| {
            if has_input(stdin.as_fd())? {
                Ok(rustix::io::read(stdin, input.spare_mut())?)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        let Ok(read) = read else { continue };
        match read {
            Ok(0) => {
                input.finish().await;
                return Ok(End::Eof);
            }
            Ok(n) => {
                input.take(n).await?;
                match input.feed.coalesce_delay(n) {
                    Some(pause) => stdin = unregistered(stdin, sleep(pause)).await?,
                    None => tokio::task::yield_now().await,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                input.finish().await;
                return Err(error);
            }
        }
    }
    input.finish().await;
    Ok(End::Signal)
}

/// Awaits `pause` with the descriptor unregistered. While it is registered, each write into the
/// pipe wakes the runtime, even if no task waits for it: at 10,000 lines a second that alone was a
/// sixth of the server's CPU.
async fn unregistered(
    stdin: AsyncFd<OwnedFd>,
    pause: impl Future<Output = ()>,
) -> io::Result<AsyncFd<OwnedFd>> {
    let stdin = stdin.into_inner();
    pause.await;
    register(stdin, Interest::READABLE)
}

/// Returns whether a read would return at once, with bytes, the end or an error.
pub(crate) fn has_input(stdin: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read_blocking(mut input: Input, stop: &AtomicBool, wait: &Handle) -> io::Result<End> {
    while !stop.load(Ordering::Relaxed) {
        match rustix::io::read(io::stdin(), input.spare_mut()) {
            Ok(0) => {
                wait.block_on(input.finish());
                return Ok(End::Eof);
            }
            Ok(n) => wait.block_on(input.take(n))?,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                wait.block_on(input.finish());
                return Err(error.into());
            }
        }
    }
    wait.block_on(input.finish());
    Ok(End::Signal)
}

/// The destinations of what is read.
struct Input {
    feed: LinePublisher,
    tee: Option<Tee>,
}

/// The pass-through, with a buffer of its own: publishing gives the publisher's buffer away with
/// the run of lines.
struct Tee {
    sink: OutputSink,
    raw: Vec<u8>,
}

impl Input {
    fn new(feed: LinePublisher, tee: bool) -> Self {
        Self {
            feed,
            tee: tee.then(|| Tee {
                sink: OutputSink::new(Output::stdout()),
                raw: vec![0; TEE_BUFFER_BYTES],
            }),
        }
    }

    /// Returns the buffer of the next read.
    fn spare_mut(&mut self) -> &mut [u8] {
        match &mut self.tee {
            Some(tee) => &mut tee.raw,
            None => self.feed.spare_mut(),
        }
    }

    /// Publishes the `n` bytes of one read, and passes them through.
    async fn take(&mut self, n: usize) -> io::Result<()> {
        let Some(tee) = &mut self.tee else {
            self.feed.commit(n);
            self.feed.flush().await;
            return Ok(());
        };
        self.feed.push(&tee.raw[..n]);
        self.feed.flush().await;
        tee.sink.write_all(&tee.raw[..n]).await?;
        tee.sink.flush().await
    }

    /// Publishes a last line without an end.
    async fn finish(&mut self) {
        self.feed.finish();
        self.feed.flush().await;
    }
}
