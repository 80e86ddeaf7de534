//! Standard output and standard error as the outputs of commands are passed through to them.
//!
//! Nothing ends because an output cannot be written. What a full disk does not take is left out,
//! told once and counted ([`line_guard`]), and later lines are written when they can be. Without a
//! reader the program ends as any other in a pipe does, unless it has others to serve.

mod line_guard;
mod sink;

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGPIPE;
use tokio::io::Interest;
use tokio::sync::Notify;

use self::line_guard::{LineGuard, Loss};
pub(crate) use self::sink::OutputSink;
use crate::console::notice;
use crate::descriptor::register;
use crate::failure::plain;

/// The time between two messages about losses. An output that is full and not full in turns has
/// many.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(10);

/// The exit code of a program whose output was lost, if nothing else failed.
const LOSS_CODE: u8 = 1;

/// One of the two outputs, of which the process has one each.
pub(crate) struct Output {
    name: &'static str,
    fd: BorrowedFd<'static>,
    /// Whether the loss of its reader is that of standard output.
    is_standard_output: bool,
    state: Mutex<State>,
    /// Whether the program is to go on without a reader.
    goes_on: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    /// Set by a write that ended the output for want of a reader. `closed` gets a permit then.
    is_closed: AtomicBool,
    closed: Notify,
}

#[derive(Default)]
struct State {
    guard: LineGuard,
    /// Whether the last write failed.
    is_failing: bool,
    total: Loss,
    /// What no message has told yet.
    untold: Loss,
    told_at: Option<Instant>,
}

static STDOUT: LazyLock<Output> =
    LazyLock::new(|| Output::new("standard output", rustix::stdio::stdout(), true));

static STDERR: LazyLock<Output> = LazyLock::new(|| {
    let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    Output::new("standard error", stderr, is_same_file(stdout, stderr))
});

/// Returns whether two descriptors are one pipe, terminal or file, as after `2>&1`.
fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// Returns whether a write failed since the reader of a pipe or socket has gone away.
fn is_without_reader(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

impl Output {
    pub(crate) fn stdout() -> &'static Self {
        &STDOUT
    }

    pub(crate) fn stderr() -> &'static Self {
        &STDERR
    }

    fn new(name: &'static str, fd: BorrowedFd<'static>, is_standard_output: bool) -> Self {
        Self {
            name,
            fd,
            is_standard_output,
            state: Mutex::default(),
            goes_on: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            closed: Notify::new(),
        }
    }

    /// Writes all of `bytes`, with no other write in between. Blocks while the output takes
    /// nothing: the caller must not be a task of the runtime unless it may be held up.
    ///
    /// Returns false if the program is to end, since nobody reads.
    pub(crate) fn write(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = state.guard.write(bytes, |bytes| self.write_some(bytes));
        let loss = state.guard.take_loss();
        match written {
            // The reader did not want these lines. They are not lost.
            Err(error) if is_without_reader(&error) => {
                state.guard.give_up();
                state.guard.take_loss();
                let closed = if self.is_standard_output {
                    &STDOUT
                } else {
                    self
                };
                !closed.close()
            }
            Err(error) => {
                state.add(loss);
                if !state.is_failing {
                    state.is_failing = true;
                    if state.may_tell() {
                        notice!(
                            "cannot write to {}: {}; lines are left out until it can be written \
                             again",
                            self.name,
                            plain(&error)
                        );
                    }
                }
                true
            }
            Ok(has_written) => {
                state.add(loss);
                if has_written && state.is_failing {
                    state.is_failing = false;
                    if state.may_tell() {
                        state.tell(self.name, " can be written again;");
                    }
                }
                true
            }
        }
    }

    /// Lets the program go on without a reader of this output while `goes_on` returns true. Only
    /// the first call has an effect.
    pub(crate) fn go_on_while(&self, goes_on: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.goes_on.set(Box::new(goes_on));
    }

    /// Ends the output for want of a reader, unless the program goes on. Returns whether it did.
    fn close(&self) -> bool {
        if self.goes_on.get().is_some_and(|goes_on| goes_on()) {
            return false;
        }
        // Relaxed: the flag publishes no other data.
        if !self.is_closed.swap(true, Ordering::Relaxed) {
            self.closed.notify_one();
        }
        true
    }

    /// Writes once, and waits while the output is in non-blocking mode and takes nothing. The
    /// command shares the terminal, and may have set that mode.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.fd, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => return Ok(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut writable = [PollFd::new(&self.fd, PollFlags::OUT)];
                    match poll(&mut writable, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until a write has found no reader and the program is to end. Completes once, for one
    /// task.
    ///
    /// # Cancel safety
    /// Cancel safe: a permit that is not taken stays.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Lets the program end with its own exit code although its reader has gone away.
    pub(crate) fn excuse(&self) {
        // Relaxed: the flag publishes no other data.
        self.is_closed.store(false, Ordering::Relaxed);
    }

    /// Returns whether the program is to end, since a write has found no reader.
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: the flag publishes no other data.
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Waits until the reader of a pipe, socket or terminal has gone away, without writing. Never
    /// completes for a file.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn reader_gone(&self) {
        let registered = self.fd.try_clone_to_owned();
        // WRITABLE: the system reports errors and hang-ups with any interest.
        let Ok(output) = registered.and_then(|fd| register(fd, Interest::WRITABLE)) else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = output.writable().await else {
                return std::future::pending().await;
            };
            if self.has_no_reader() {
                self.close();
                return;
            }
            ready.clear_ready();
        }
    }

    fn has_no_reader(&self) -> bool {
        let mut output = [PollFd::new(&self.fd, PollFlags::empty())];
        let now = rustix::event::Timespec::default();
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        poll(&mut output, Some(&now)).is_ok() && output[0].revents().intersects(gone)
    }

    /// Tells what was lost. Returns whether anything was.
    ///
    /// Does not wait for a write that is under way, which may last for ever.
    fn report_loss(&self) -> bool {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        state.guard.give_up();
        let loss = state.guard.take_loss();
        state.add(loss);
        if state.untold != Loss::default() {
            state.tell(self.name, ":");
        }
        state.total != Loss::default()
    }
}

impl State {
    fn add(&mut self, loss: Loss) {
        for sum in [&mut self.total, &mut self.untold] {
            sum.lines += loss.lines;
            sum.bytes += loss.bytes;
        }
    }

    /// Returns whether the last message is long enough ago.
    fn may_tell(&mut self) -> bool {
        let is_due = self
            .told_at
            .is_none_or(|at| at.elapsed() >= MESSAGE_INTERVAL);
        if is_due {
            self.told_at = Some(Instant::now());
        }
        is_due
    }

    fn tell(&mut self, output: &str, news: &str) {
        let loss = std::mem::take(&mut self.untold);
        notice!("{output}{news} {loss}");
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, verb) = match self.lines {
            1 => ("line", "was"),
            _ => ("lines", "were"),
        };
        write!(
            f,
            "{} {lines} ({} bytes) {verb} not written",
            self.lines, self.bytes
        )
    }
}

/// Tells what was lost of all outputs, and returns the exit code: that of the program, or 1 if it
/// succeeded but output was lost.
pub(crate) fn exit_code(code: u8) -> u8 {
    let lost = [Output::stdout(), Output::stderr()].map(Output::report_loss);
    match code {
        0 if lost.contains(&true) => LOSS_CODE,
        code => code,
    }
}

/// Writes to standard output at once. Fails only with [`io::ErrorKind::BrokenPipe`], if nobody
/// reads.
pub(crate) struct OutputWriter;

impl io::Write for OutputWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if Output::stdout().write(bytes) {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends the process by `SIGPIPE`, as the system ends a program that writes to a pipe without a
/// reader.
pub(crate) fn end_without_reader() -> ! {
    // Returns only if the system refuses the signal.
    let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
    std::process::exit(128 + SIGPIPE)
}
