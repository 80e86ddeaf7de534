//! The keyboard of this program's terminal, passed on to the terminal of a command.
//!
//! Every key goes to the command, Ctrl-C and Ctrl-Z too: the terminal of the command makes signals
//! of them. This terminal is in raw mode meanwhile, except that it still begins each line at the
//! left, which messages of this program need.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use outrace::process::PtyInput;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::single::in_foreground;
use crate::descriptor::register;
use crate::stdin::has_input;

/// The size of one read. People type less.
const KEYS_BYTES: usize = 4096;

/// Returns whether standard input is a terminal.
pub(super) fn has_keyboard() -> bool {
    io::stdin().is_terminal()
}

/// Passes keys on until it is dropped, which gives the terminal its former mode back.
pub(super) struct Keyboard {
    passing: JoinHandle<()>,
    mode: Arc<TerminalMode>,
}

impl Keyboard {
    /// Begins to pass keys on.
    pub(super) fn pass_on(input: PtyInput) -> io::Result<Self> {
        let stdin = register(
            io::stdin().as_fd().try_clone_to_owned()?,
            Interest::READABLE,
        )?;
        let continued = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let mode = Arc::new(TerminalMode::default());
        mode.make_raw();
        Ok(Self {
            passing: tokio::spawn(pass_keys(stdin, input, continued, Arc::clone(&mode))),
            mode,
        })
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.passing.abort();
        self.mode.restore();
    }
}

/// The mode of the terminal before this program changed it.
#[derive(Default)]
struct TerminalMode(Mutex<Option<Termios>>);

impl TerminalMode {
    /// Puts the terminal into raw mode if this program is in its foreground. In the background the
    /// terminal is the shell's, and the change would stop this program.
    fn make_raw(&self) {
        if !in_foreground() {
            return;
        }
        let mut former = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if former.is_none() {
            *former = tcgetattr(io::stdin()).ok();
        }
        if let Some(former) = &*former {
            let mut raw = former.clone();
            raw.make_raw();
            raw.output_modes = former.output_modes;
            // Fails only if the terminal is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &raw);
        }
    }

    fn restore(&self) {
        let former = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(former) = &*former
            && in_foreground()
        {
            // Fails only if the terminal is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, former);
        }
    }
}

/// Passes keys on until the terminal or the command's is gone.
async fn pass_keys(
    stdin: AsyncFd<OwnedFd>,
    mut input: PtyInput,
    mut continued: Signal,
    mode: Arc<TerminalMode>,
) {
    let mut keys = [0; KEYS_BYTES];
    loop {
        // In the background a read would stop this program. A shell continues it in the
        // foreground.
        let is_ready = tokio::select! {
            ready = stdin.readable(), if in_foreground() => ready,
            _ = continued.recv() => {
                mode.make_raw();
                continue;
            }
        };
        let Ok(mut ready) = is_ready else { return };
        let read = ready.try_io(|stdin| {
            if !in_foreground() || !has_input(stdin.as_fd())? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(rustix::io::read(stdin, &mut keys)?)
        });
        match read {
            Ok(Ok(0)) => return,
            Ok(Ok(n)) => {
                if input.write_all(&keys[..n]).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return,
            Err(_would_block) => {}
        }
    }
}
