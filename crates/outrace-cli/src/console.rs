//! Messages of the program itself, on standard error.

use std::fmt;
use std::io;
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

/// How long a message may wait for a terminal or pipe in non-blocking mode that is full.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Writes `outrace: MESSAGE` and a line break in one write, so that messages of several processes
/// on one terminal stay whole.
pub(crate) fn write_message(message: fmt::Arguments<'_>) {
    // Dropped on failure, as the macro says.
    let _ = write_stderr(format!("outrace: {message}\n").as_bytes());
}

/// Writes all of `text` to standard error.
fn write_stderr(mut text: &[u8]) -> rustix::io::Result<()> {
    let stderr = rustix::stdio::stderr();
    while !text.is_empty() {
        match rustix::io::write(stderr, text) {
            Ok(written) => text = &text[written..],
            Err(Errno::INTR) => {}
            // The child may have made the terminal that it shares with us non-blocking.
            Err(Errno::AGAIN) => {
                let mut writable = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
                let limit = Timespec::try_from(MAX_WAIT).map_err(|_| Errno::INVAL)?;
                if poll(&mut writable, Some(&limit))? == 0 {
                    return Err(Errno::AGAIN);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A log writer that never fails, since a failed write of a log line must not end the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = write_stderr(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
