//! The signals that can be sent to a process.

use std::fmt;

/// A signal for a process, named by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGHUP`: the terminal is gone. A daemon by custom reloads its configuration.
    Hangup,
    /// `SIGINT`: the signal of Ctrl-C.
    Interrupt,
    /// `SIGQUIT`: the signal of Ctrl-\. Ends the process with a core dump.
    Quit,
    /// `SIGKILL`: ends the process at once and cannot be caught.
    Kill,
    /// `SIGUSR1`: has the meaning that the process gives it.
    User1,
    /// `SIGUSR2`: has the meaning that the process gives it.
    User2,
    /// `SIGTERM`: asks the process to end.
    Terminate,
    /// `SIGCONT`: continues a stopped process.
    Continue,
    /// `SIGSTOP`: stops the process until `SIGCONT` and cannot be caught.
    Stop,
    /// `SIGWINCH`: the size of the terminal has changed.
    WindowChange,
}

impl Signal {
    /// Returns the signal's number on this system.
    pub fn number(self) -> i32 {
        self.native().as_raw()
    }

    pub(in crate::process) fn native(self) -> rustix::process::Signal {
        use rustix::process::Signal as Native;
        match self {
            Self::Hangup => Native::HUP,
            Self::Interrupt => Native::INT,
            Self::Quit => Native::QUIT,
            Self::Kill => Native::KILL,
            Self::User1 => Native::USR1,
            Self::User2 => Native::USR2,
            Self::Terminate => Native::TERM,
            Self::Continue => Native::CONT,
            Self::Stop => Native::STOP,
            Self::WindowChange => Native::WINCH,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Kill => "SIGKILL",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
            Self::Terminate => "SIGTERM",
            Self::Continue => "SIGCONT",
            Self::Stop => "SIGSTOP",
            Self::WindowChange => "SIGWINCH",
        })
    }
}
