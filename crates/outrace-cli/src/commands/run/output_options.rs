//! How the output of the processes is connected: one pipe, two, or a terminal.

use std::os::fd::AsFd;

use clap::Args;
use outrace::process::{OutputMode, Process, Pty};

use super::keyboard::{Keyboard, has_keyboard};
use super::window::{Resizing, window_size};
use crate::console::notice;
use crate::failure::Failure;

#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Give each process a terminal, so that it writes each line at once, and in color. Everything
    /// goes to standard output. The terminal has the size of this one, or 120 x 40. A single
    /// command also gets the keyboard
    #[arg(long, conflicts_with_all = ["split", "merge"])]
    pty: bool,

    /// Keep standard output and standard error of each process apart. Clients are told which one a
    /// line came from, and the order of lines on different ones is not known. This is the default
    /// where the two go to different places here, as with 2>FILE
    #[arg(long, conflicts_with = "merge")]
    split: bool,

    /// Give each process one pipe for standard output and standard error, which keeps the order of
    /// its lines. Everything goes to standard output. This is the default where the two go to the
    /// same place here
    #[arg(long)]
    merge: bool,
}

impl OutputOptions {
    /// Decides how the output is connected. With `takes_keyboard`, a terminal of a process is its
    /// standard input too if there is a keyboard.
    pub(super) fn connection(&self, takes_keyboard: bool) -> OutputConnection {
        if self.pty {
            let terminal = Pty::new(window_size());
            return OutputConnection::Pty(if takes_keyboard && has_keyboard() {
                terminal.with_stdin()
            } else {
                terminal
            });
        }
        if self.split || !self.merge && !have_one_destination() {
            OutputConnection::Split
        } else {
            OutputConnection::Merged
        }
    }
}

/// How the output of the processes is connected.
pub(super) enum OutputConnection {
    Split,
    Merged,
    Pty(Pty),
}

impl OutputConnection {
    pub(super) fn mode(&self) -> OutputMode {
        match self {
            Self::Split => OutputMode::Split,
            Self::Merged => OutputMode::Merged,
            Self::Pty(terminal) => OutputMode::Pty(terminal.clone()),
        }
    }

    /// Returns whether the processes have terminals.
    pub(super) fn is_pty(&self) -> bool {
        matches!(self, Self::Pty(_))
    }

    /// Gives the terminals of the processes the size of this terminal, now and when it changes.
    pub(super) fn follow_window(&self) -> Result<Option<Resizing>, Failure> {
        match self {
            Self::Pty(terminal) => Resizing::start(terminal.clone()).map(Some),
            _ => Ok(None),
        }
    }

    /// Passes the keyboard on to a process whose terminal is its standard input.
    pub(super) fn pass_keyboard(process: &mut Process) -> Option<Keyboard> {
        let passed = process.take_pty_input().map(Keyboard::pass_on)?;
        passed
            .inspect_err(|error| notice!("cannot read the terminal: {error}"))
            .ok()
    }
}

/// Returns whether standard output and standard error of this program are one terminal, pipe or
/// file. Then nothing here tells the two streams of a process apart.
fn have_one_destination() -> bool {
    let stat = |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).ok();
    match (
        stat(std::io::stdout().as_fd()),
        stat(std::io::stderr().as_fd()),
    ) {
        (Some(out), Some(err)) => {
            (out.st_dev, out.st_ino, out.st_rdev) == (err.st_dev, err.st_ino, err.st_rdev)
        }
        _ => false,
    }
}
