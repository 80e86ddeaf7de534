//! Pseudo-terminals for processes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::descriptor::{register_readable, register_writable};
use crate::sync::lock;

/// The size of a terminal in characters. The default is 120 columns and 40 rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowSize {
    /// The number of characters in a row.
    pub columns: u16,
    /// The number of rows.
    pub rows: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        Self {
            columns: 120,
            rows: 40,
        }
    }
}

impl WindowSize {
    fn native(self) -> Winsize {
        Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

/// A pseudo-terminal for a process. See [`OutputMode::Pty`](super::OutputMode::Pty).
///
/// Each process that is started with it, or with a clone of it, gets a terminal of its own, as its
/// standard output, standard error and controlling terminal. The process leads a session and a
/// process group. The system sends `SIGHUP` to its foreground group when it ends, so descendants
/// outlive it only if they leave the terminal.
///
/// Standard input stays what the command says, unless [`with_stdin`](Self::with_stdin) is set.
/// `TERM` is set to `xterm-256color` if neither the command nor the environment has it. The
/// terminal does not turn `\n` into `\r\n`.
///
/// Clones share one size.
#[derive(Clone, Debug)]
pub struct Pty {
    shared: Arc<Mutex<SharedSize>>,
    is_stdin: bool,
}

/// The size of all terminals that were made from one [`Pty`].
#[derive(Debug)]
struct SharedSize {
    size: WindowSize,
    /// The terminals that may still be in use.
    terminals: Vec<Weak<OwnedFd>>,
}

impl Pty {
    /// Creates a terminal of this size.
    pub fn new(size: WindowSize) -> Self {
        Self {
            shared: Arc::new(Mutex::new(SharedSize {
                size,
                terminals: Vec::new(),
            })),
            is_stdin: false,
        }
    }

    /// Makes the terminal the standard input too. Its input is written through
    /// [`Process::take_pty_input`](super::Process::take_pty_input).
    #[must_use]
    pub fn with_stdin(mut self) -> Self {
        self.is_stdin = true;
        self
    }

    /// Returns the size of the terminals.
    pub fn size(&self) -> WindowSize {
        lock(&self.shared).size
    }

    /// Changes the size of all terminals that were made from this value and its clones, and of
    /// those that will be. The system sends `SIGWINCH` to the foreground group of each if the size
    /// differs.
    pub fn resize(&self, size: WindowSize) {
        let mut shared = lock(&self.shared);
        shared.size = size;
        shared.terminals.retain(|terminal| {
            let Some(terminal) = terminal.upgrade() else {
                return false;
            };
            // Fails only for a terminal that nobody has open any more.
            let _ = rustix::termios::tcsetwinsize(terminal, size.native());
            true
        });
    }

    /// Opens a terminal.
    ///
    /// # Errors
    /// Returns the system's error, for example if it has no further terminal.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O enabled.
    pub(super) fn open(&self) -> io::Result<OpenPty> {
        let controller = open_controller()?;
        let user = open_user_side(&controller)?;
        let mut modes = tcgetattr(&user)?;
        modes.output_modes.remove(OutputModes::ONLCR);
        // Erasing a character in a line that is typed erases all its bytes.
        modes.input_modes.insert(InputModes::IUTF8);
        tcsetattr(&user, OptionalActions::Now, &modes)?;
        fcntl_setfl(&controller, fcntl_getfl(&controller)? | OFlags::NONBLOCK)?;
        let input = if self.is_stdin {
            Some(PtyInput {
                terminal: register_writable(controller.try_clone()?)?,
            })
        } else {
            None
        };
        let resized = Arc::new(controller.try_clone()?);
        let output = PtyOutput {
            terminal: register_readable(controller)?,
            _resized: Arc::clone(&resized),
        };
        let mut shared = lock(&self.shared);
        rustix::termios::tcsetwinsize(&user, shared.size.native())?;
        shared
            .terminals
            .retain(|terminal| terminal.strong_count() > 0);
        shared.terminals.push(Arc::downgrade(&resized));
        Ok(OpenPty {
            user,
            output,
            input,
        })
    }
}

/// A terminal that was just opened.
pub(super) struct OpenPty {
    /// The side of the process.
    pub(super) user: OwnedFd,
    pub(super) output: PtyOutput,
    pub(super) input: Option<PtyInput>,
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn open_controller() -> rustix::io::Result<OwnedFd> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    Ok(controller)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn open_controller() -> rustix::io::Result<OwnedFd> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    // A process that is started by another thread in between inherits the descriptor. These
    // systems have no call that does both.
    rustix::io::fcntl_setfd(&controller, rustix::io::FdFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    Ok(controller)
}

/// Opens the side of the process. By the descriptor, since `/dev/pts` may be another one in a
/// container.
#[cfg(target_os = "linux")]
fn open_user_side(controller: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    rustix::pty::ioctl_tiocgptpeer(controller, flags)
}

#[cfg(not(target_os = "linux"))]
fn open_user_side(controller: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let name = rustix::pty::ptsname(controller, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(name, flags, rustix::fs::Mode::empty())
}

/// The output of a terminal. It ends with an error (`EIO`) or with zero bytes, by the system, once
/// no process has the terminal open.
pub(super) struct PtyOutput {
    terminal: AsyncFd<OwnedFd>,
    /// Kept for [`Pty::resize`] as long as the terminal is read.
    _resized: Arc<OwnedFd>,
}

impl AsyncRead for PtyOutput {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.terminal.poll_read_ready(cx))?;
            let read =
                ready.try_io(|terminal| Ok(rustix::io::read(terminal, buf.initialize_unfilled())?));
            match read {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

/// The keyboard of a process's terminal: what is written here is typed there.
///
/// A control character has its effect. `\x03` is Ctrl-C, which also discards output that was not
/// read yet, unless the terminal is set to `noflsh`. `\x04` at the start of a line ends the input.
/// Dropping this types nothing. A shutdown has no effect.
#[derive(Debug)]
pub struct PtyInput {
    terminal: AsyncFd<OwnedFd>,
}

impl AsyncWrite for PtyInput {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.terminal.poll_write_ready(cx))?;
            match ready.try_io(|terminal| Ok(rustix::io::write(terminal.as_fd(), bytes)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
