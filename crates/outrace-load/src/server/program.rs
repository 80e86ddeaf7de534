//! The program that runs the servers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The program that the generator starts as the server to be measured.
///
/// The program has to understand the commands of the `outrace` binary that serve a load: `pipe` for
/// one channel, and the hidden commands `load-server`, `load-baseline` and `load-floor`. A program
/// that embeds the generator can name an installed `outrace`. It can also name itself, with leading
/// arguments that select these commands:
///
/// ```
/// use outrace_load::Program;
///
/// let installed = Program::new("/usr/local/bin/outrace");
/// // Starts `my-tool outrace pipe …`.
/// let embedded = Program::new("/usr/local/bin/my-tool").arg("outrace");
/// # let _ = (installed, embedded);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    leading_args: Vec<OsString>,
}

impl Program {
    /// Names the executable at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Program {
        Program {
            path: path.into(),
            leading_args: Vec::new(),
        }
    }

    /// Names the executable of the calling process.
    ///
    /// # Errors
    ///
    /// Fails if the system does not tell where the executable is.
    pub fn current() -> std::io::Result<Program> {
        std::env::current_exe().map(Program::new)
    }

    /// Adds an argument in front of the command.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Program {
        self.leading_args.push(arg.into());
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.leading_args);
        command
    }
}
