//! Messages of the program itself, on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Writes one message, formatted as by `format!`, to standard error.
///
/// A message that cannot be written is dropped: nobody is left to tell, and the program's job goes
/// on. `eprintln!` would panic instead.
macro_rules! notice {
    ($($argument:tt)*) => {
        $crate::console::write_message(format_args!($($argument)*))
    };
}

pub(crate) use notice;

/// The most that a pipe with room takes without blocking, and in one piece.
const MAX_WRITE_BYTES: usize = 4096;

/// How long a message may wait for a terminal or pipe that is full.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Whether the last message found a full terminal or pipe. The next ones do not wait for it.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

/// Writes `outrace: MESSAGE` and a line break in one write, so that messages of several processes
/// on one terminal stay whole. A message beyond 4 KiB takes several writes.
pub(crate) fn write_message(message: fmt::Arguments<'_>) {
    write_text(format!("outrace: {message}\n").as_bytes());
}

/// Writes a text to standard error, if that takes it soon.
pub(crate) fn write_text(text: &[u8]) {
    // Dropped on failure, as the macro says.
    let _ = write_stderr(text);
}

/// Reports a panic as one message, with a backtrace if `RUST_BACKTRACE` asks for one.
pub(crate) fn report_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let what = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of an unknown kind");
    let place = panic
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => notice!("internal error{place}: {what}\n{backtrace}"),
        _ => notice!("internal error{place}: {what}; please report it"),
    }
}

/// Writes all of `text` to standard error. Gives up when it takes nothing for a second.
fn write_stderr(mut text: &[u8]) -> rustix::io::Result<()> {
    let stderr = rustix::stdio::stderr();
    while !text.is_empty() {
        // A terminal that is stopped, or a pipe that nobody reads, would block this thread.
        await_room()?;
        match rustix::io::write(stderr, &text[..text.len().min(MAX_WRITE_BYTES)]) {
            Ok(written) => text = &text[written..],
            // The child may have made the terminal that it shares with us non-blocking, and have
            // filled it since.
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until standard error takes a write, or fails after [`MAX_WAIT`].
fn await_room() -> rustix::io::Result<()> {
    // Relaxed: a hint that orders nothing.
    let wait = match IS_STUCK.load(Ordering::Relaxed) {
        true => Duration::ZERO,
        false => MAX_WAIT,
    };
    let limit = Timespec::try_from(wait).map_err(|_| Errno::INVAL)?;
    let stderr = rustix::stdio::stderr();
    let mut writable = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
    match poll(&mut writable, Some(&limit)) {
        Ok(0) => {
            IS_STUCK.store(true, Ordering::Relaxed);
            Err(Errno::AGAIN)
        }
        Ok(_) => {
            IS_STUCK.store(false, Ordering::Relaxed);
            Ok(())
        }
        Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A log writer that never fails, since a failed write of a log line must not end the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        write_text(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
