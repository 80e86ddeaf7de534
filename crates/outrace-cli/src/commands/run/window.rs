//! The size of the terminal that this program runs in.

use std::os::fd::{AsFd, BorrowedFd};

use outrace::process::{Pty, WindowSize};
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::failure::Failure;

/// Returns the size of the terminal, or 120 x 40 without one.
pub(super) fn window_size() -> WindowSize {
    let size = |fd: BorrowedFd<'_>| {
        let size = tcgetwinsize(fd).ok()?;
        // A terminal that nobody looks at, as on a serial line, has no size.
        (size.ws_col > 0 && size.ws_row > 0).then_some(WindowSize {
            columns: size.ws_col,
            rows: size.ws_row,
        })
    };
    size(std::io::stdout().as_fd())
        .or_else(|| size(std::io::stderr().as_fd()))
        .or_else(|| size(std::io::stdin().as_fd()))
        .unwrap_or_default()
}

/// Keeps the terminals of processes as large as the terminal of this program. Ends when dropped.
pub(super) struct Resizing(JoinHandle<()>);

impl Resizing {
    pub(super) fn start(terminals: Pty) -> Result<Self, Failure> {
        let mut changes = signal(SignalKind::window_change())
            .map_err(|error| Failure::new(1, format!("cannot listen for SIGWINCH: {error}")))?;
        // A change since the terminals were made.
        terminals.resize(window_size());
        Ok(Self(tokio::spawn(async move {
            while changes.recv().await.is_some() {
                terminals.resize(window_size());
            }
        })))
    }
}

impl Drop for Resizing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
