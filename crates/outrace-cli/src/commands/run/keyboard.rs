//! The keyboard of this program's terminal, passed on to the terminal of a command.
//!
//! Every key goes to the command, Ctrl-C and Ctrl-Z too: the terminal of the command makes signals
//! of them. This terminal is in raw mode meanwhile, except that it still begins each line at the
//! left, which messages of this program need.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrace::process::PtyInput;
use rustix::process::kill_current_process_group;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::single::in_foreground;
use crate::console::notice;
use crate::descriptor::register;
use crate::failure::plain;
use crate::stdin::has_input;

/// The size of one read. People type less.
const KEYS_BYTES: usize = 4096;

/// The key that interrupts a command.
const CTRL_C: u8 = 0x03;

/// How long a command may take to end by a Ctrl-C. A later end has another reason.
const INTERRUPT_LIMIT: Duration = Duration::from_secs(5);

/// Returns whether standard input is a terminal.
pub(super) fn has_keyboard() -> bool {
    io::stdin().is_terminal()
}

/// The place of a keyboard that is passed on to one run of a command after the other.
#[derive(Clone, Default)]
pub(super) struct KeyboardSlot {
    keyboard: Arc<Mutex<Option<Keyboard>>>,
    /// Relaxed: it publishes no other data.
    is_interrupted: Arc<AtomicBool>,
}

impl KeyboardSlot {
    /// Begins to pass keys on to a run.
    pub(super) fn pass_on(&self, input: PtyInput) {
        // The terminal's mode is that before the last run.
        self.take_back();
        match Keyboard::pass_on(input) {
            Ok(keyboard) => *self.slot() = Some(keyboard),
            Err(error) => notice!("cannot read the terminal: {}", plain(&error)),
        }
    }

    /// Passes no more keys on, and gives the terminal its former mode back.
    pub(super) fn take_back(&self) {
        self.slot().take();
    }

    /// Like [`take_back`](Self::take_back), after the end of a run. Returns whether the last
    /// key was a Ctrl-C, a short time ago.
    pub(super) fn take_back_at_end(&self) -> bool {
        let keyboard = self.slot().take();
        let is_interrupted = keyboard.is_some_and(|keyboard| keyboard.interrupts.is_recent());
        self.is_interrupted
            .fetch_or(is_interrupted, Ordering::Relaxed);
        is_interrupted
    }

    /// Sends the Ctrl-C that has ended the command to our process group, if there was one. The
    /// command had the terminal to itself, and a script around this program has to hear of it too.
    ///
    /// It must be the last thing that the program does, since it gets the signal as well.
    pub(super) fn share_interrupt(&self) {
        if self.is_interrupted.load(Ordering::Relaxed) && in_foreground() {
            // Fails only if the system refuses it.
            let _ = kill_current_process_group(rustix::process::Signal::INT);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Keyboard>> {
        self.keyboard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of a Ctrl-C that was the last key.
#[derive(Default)]
struct Interrupts(Mutex<Option<Instant>>);

impl Interrupts {
    fn note(&self, keys: &[u8]) {
        let interrupted = (keys.last() == Some(&CTRL_C)).then(Instant::now);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = interrupted;
    }

    fn is_recent(&self) -> bool {
        let interrupted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        interrupted.is_some_and(|at| at.elapsed() < INTERRUPT_LIMIT)
    }
}

/// Passes keys on until it is dropped, which gives the terminal its former mode back.
struct Keyboard {
    passing: JoinHandle<()>,
    interrupts: Arc<Interrupts>,
    mode: Arc<TerminalMode>,
}

impl Keyboard {
    /// Begins to pass keys on.
    fn pass_on(input: PtyInput) -> io::Result<Self> {
        let stdin = register(
            io::stdin().as_fd().try_clone_to_owned()?,
            Interest::READABLE,
        )?;
        let continued = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let mode = Arc::new(TerminalMode::default());
        mode.make_raw();
        let interrupts = Arc::<Interrupts>::default();
        Ok(Self {
            passing: tokio::spawn(pass_keys(
                stdin,
                input,
                continued,
                Arc::clone(&mode),
                Arc::clone(&interrupts),
            )),
            interrupts,
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
    interrupts: Arc<Interrupts>,
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
                // Before the command can end by it.
                interrupts.note(&keys[..n]);
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
