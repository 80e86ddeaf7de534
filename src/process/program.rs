//! What to run, as often as need be.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

/// A program with its arguments, environment and working directory. A [`Command`] starts one process and cannot be cloned; this
/// makes one for each start.
///
/// Its standard input is empty: a process in a group of its own cannot read the terminal, and one that is started again has read it already.
///
/// ```
/// use outrace::process::Program;
/// let worker = Program::new("python").args(["worker.py", "--queue", "mail"]).env("PORT", "3000");
/// let web = Program::shell("npm run build && npm start").current_dir("web");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Program {
    /// A program by its name or path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// A command line for `sh -c`.
    pub fn shell(line: impl Into<OsString>) -> Self {
        Self::new("sh").args([OsString::from("-c"), line.into()])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment, which is this process's otherwise.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where it runs: here, by default.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The program's name or path, without its arguments.
    pub fn name(&self) -> &OsStr {
        &self.program
    }

    /// A command for one start.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}
