//! How the output of the processes is connected: one pipe, two, or a terminal.

use std::os::fd::AsFd;

use clap::Args;
use outrace::process::{OutputMode, ProgramInput, Pty};

use super::keyboard::has_keyboard;
use super::window::{Resizing, window_size};
use crate::failure::Failure;

#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Give each process a terminal, so that it writes each line at once, and in color. Everything
    /// goes to standard output. The terminal has the size of this one, or 120 x 40. The
    /// command that reads standard input also gets the keyboard
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
    /// Decides how the output is connected.
    pub(super) fn connection(&self) -> OutputConnection {
        if self.pty {
            return OutputConnection::Pty(Pty::new(window_size()));
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
    /// Returns the mode of a process with this input. If it reads our standard input and that is a
    /// keyboard, its own terminal is its standard input too.
    pub(super) fn mode(&self, input: ProgramInput) -> OutputMode {
        match self {
            Self::Pty(terminal) if input == ProgramInput::Inherited && has_keyboard() => {
                OutputMode::Pty(terminal.clone().with_stdin())
            }
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
