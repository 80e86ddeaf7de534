//! The end of the program: an exit code, or the signal that it was ended by.

use std::process::ExitCode;

use crate::output;
use crate::signals::EndSignal;

/// How the program ends when it has done its job.
///
/// A shell leaves its loop at Ctrl-C only if the program in it was ended by the signal. It goes on
/// after an exit code, even after 130.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(u8),
    /// The number of a signal.
    Signal(i32),
}

impl Exit {
    /// Returns the end of a program that ran commands: by the signal that has ended it and them, or
    /// with the code of a command that had one of its own.
    pub(crate) fn of_commands(code: u8, ended_by: Option<EndSignal>) -> Self {
        match ended_by {
            Some(signal)
                if [signal.first().number(), signal.number()]
                    .contains(&(i32::from(code) - 128)) =>
            {
                Self::Signal(signal.number())
            }
            _ => Self::Code(code),
        }
    }

    /// Ends the program at once.
    pub(crate) fn end(self) -> ! {
        self.finish();
        // Process 1 of a container has outlived the signal.
        std::process::exit(match self {
            Self::Code(code) => code.into(),
            Self::Signal(number) => 128 + number,
        })
    }

    /// Ends the program by its signal, or returns its code. Everything else must be done before.
    pub(crate) fn finish(self) -> ExitCode {
        match self {
            Self::Code(code) => ExitCode::from(output::exit_code(code)),
            Self::Signal(number) => {
                let code = output::exit_code(u8::try_from(128 + number).unwrap_or(255));
                // The system protects process 1 of a container from its own signals, and from
                // signals without a default.
                if std::process::id() != 1 {
                    let _ = signal_hook::low_level::emulate_default_handler(number);
                }
                ExitCode::from(code)
            }
        }
    }
}

impl From<EndSignal> for Exit {
    fn from(signal: EndSignal) -> Self {
        Self::Signal(signal.number())
    }
}

impl From<u8> for Exit {
    fn from(code: u8) -> Self {
        Self::Code(code)
    }
}
