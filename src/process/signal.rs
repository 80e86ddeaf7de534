//! The signals a process can be sent.

use std::fmt;

/// A signal for a process, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGHUP`: the terminal is gone; for a daemon, by custom: read the configuration again.
    Hangup,
    /// `SIGINT`: what Ctrl-C sends.
    Interrupt,
    /// `SIGQUIT`: what Ctrl-\ sends; ends with a core dump.
    Quit,
    /// `SIGKILL`: ends at once and cannot be caught.
    Kill,
    /// `SIGUSR1`: what the process makes of it.
    User1,
    /// `SIGUSR2`: what the process makes of it.
    User2,
    /// `SIGTERM`: the request to end.
    Terminate,
    /// `SIGCONT`: go on after a stop.
    Continue,
    /// `SIGSTOP`: stop until `SIGCONT`; cannot be caught.
    Stop,
}

impl Signal {
    /// The signal's number on this system.
    pub fn number(self) -> i32 {
        self.native().as_raw()
    }

    pub(super) fn native(self) -> rustix::process::Signal {
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
        })
    }
}
