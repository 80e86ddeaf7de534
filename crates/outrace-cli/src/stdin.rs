//! Reading standard input at its own pace.
//!
//! A pipe, socket or terminal is read by a task that waits for readiness, and that gives the clients' writers
//! their turn after every read. Its descriptor stays in blocking mode: the mode is the open file's, so a change would
//! reach whoever else has it open, the shell among them. A read after `poll` said there is something does not block,
//! as long as no other process takes it in between.
//!
//! A regular file is always ready and cannot be waited for; a thread reads it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrace::process::{DRAIN_LIMIT, DRAIN_QUIET, LineFeed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::signals::Signals;

/// The room asked for in a pipe: what an unprivileged process may have.
const PIPE_BYTES: usize = 1 << 20;

/// Why reading ended.
pub(crate) enum End {
    Eof,
    Signal,
}

/// Feeds standard input until it ends. A signal leaves it a short time to end by itself, since the same Ctrl-C
/// may have gone to whoever writes it. `on_signal` is called first.
pub(crate) async fn feed(
    feed: LineFeed,
    signals: &mut Signals,
    on_signal: impl Fn(),
) -> io::Result<End> {
    // More room means fewer switches between the writer and us. Not a pipe, or not allowed: as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(io::stdin(), PIPE_BYTES);
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    // Unchecked: it need not be a pipe, as long as it can be waited for; and its mode stays as it is.
    match Receiver::from_owned_fd_unchecked(stdin) {
        Ok(stdin) => {
            let (stop, stopped) = watch::channel(None);
            let mut reading = tokio::spawn(read_when_ready(stdin, feed, stopped));
            tokio::select! {
                end = &mut reading => return end?,
                _ = signals.next() => on_signal(),
            }
            stop.send_replace(Some(Instant::now() + DRAIN_LIMIT));
            tokio::select! {
                end = &mut reading => end?,
                _ = signals.next() => {
                    reading.abort();
                    Ok(End::Signal)
                }
            }
        }
        Err(_) => {
            let stop = Arc::new(AtomicBool::new(false));
            let mut reading = tokio::task::spawn_blocking({
                let stop = Arc::clone(&stop);
                let wait = Handle::current();
                move || read_blocking(feed, &stop, &wait)
            });
            tokio::select! {
                end = &mut reading => return end?,
                _ = signals.next() => on_signal(),
            }
            // Relaxed: nothing else is told by it.
            stop.store(true, Ordering::Relaxed);
            match tokio::time::timeout(DRAIN_LIMIT, reading).await {
                Ok(end) => end?,
                Err(_) => Ok(End::Signal),
            }
        }
    }
}

/// `stopped` holds the time at which to end at the latest, once there is one.
async fn read_when_ready(
    mut stdin: Receiver,
    mut feed: LineFeed,
    mut stopped: watch::Receiver<Option<Instant>>,
) -> io::Result<End> {
    loop {
        let limit = *stopped.borrow_and_update();
        let ready = match limit {
            None => tokio::select! {
                ready = stdin.readable() => ready,
                Ok(()) = stopped.changed() => continue,
            },
            Some(limit) if Instant::now() >= limit => break,
            Some(limit) => {
                match timeout_at(limit.min(Instant::now() + DRAIN_QUIET), stdin.readable()).await {
                    Ok(ready) => ready,
                    Err(_) => break,
                }
            }
        };
        ready?;
        // Readiness is edge-triggered and may be stale. `WouldBlock` clears it, but not an edge that was made after
        // this look.
        let read = stdin.try_io(|| {
            if has_input(stdin.as_fd())? {
                Ok(rustix::io::read(&stdin, feed.spare())?)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        match read {
            Ok(0) => {
                feed.finish();
                feed.settle().await;
                return Ok(End::Eof);
            }
            Ok(n) => {
                feed.filled(n);
                feed.settle().await;
                match feed.linger(n) {
                    Some(pause) => stdin = unwatched(stdin, sleep(pause)).await?,
                    None => tokio::task::yield_now().await,
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => {
                feed.finish();
                feed.settle().await;
                return Err(error);
            }
        }
    }
    feed.finish();
    feed.settle().await;
    Ok(End::Signal)
}

/// Awaits with the descriptor out of the runtime's sight. While it is watched, each write into the pipe wakes the runtime, whether anybody
/// waits for it or not: at 10,000 lines a second that alone was a sixth of the server's CPU.
async fn unwatched(stdin: Receiver, pause: impl Future<Output = ()>) -> io::Result<Receiver> {
    // Its mode is not touched, whatever the name says: it was never made non-blocking.
    let stdin = stdin.into_nonblocking_fd()?;
    pause.await;
    Receiver::from_owned_fd_unchecked(stdin)
}

/// Whether a read would not block: there are bytes, or the end, or an error to be had.
fn has_input(stdin: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read_blocking(mut feed: LineFeed, stop: &AtomicBool, wait: &Handle) -> io::Result<End> {
    while !stop.load(Ordering::Relaxed) {
        match rustix::io::read(io::stdin(), feed.spare()) {
            Ok(0) => {
                feed.finish();
                wait.block_on(feed.settle());
                return Ok(End::Eof);
            }
            Ok(n) => {
                feed.filled(n);
                wait.block_on(feed.settle());
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                feed.finish();
                wait.block_on(feed.settle());
                return Err(error.into());
            }
        }
    }
    feed.finish();
    wait.block_on(feed.settle());
    Ok(End::Signal)
}
