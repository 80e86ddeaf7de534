//! A program that can be started several times.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::process::child::locate;

/// A program with its arguments, environment and working directory.
///
/// A [`Command`] cannot be cloned. A `Program` can, and makes a command for each start.
///
/// Standard input is empty: a process in a process group of its own cannot read the terminal, and
/// an earlier run of a restarted process has consumed any other input.
///
/// ```
/// use outrace::process::Program;
/// let worker = Program::new("python")
///     .args(["worker.py", "--queue", "mail"])
///     .env("PORT", "3000");
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
    /// Creates a program from its name or path. The system looks a name up in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
        }
    }

    /// Creates a program that runs a command line with `sh -c`.
    pub fn shell(line: impl Into<OsString>) -> Self {
        Self::new("sh").args([OsString::from("-c"), line.into()])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment, which otherwise is that of the current process.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory. The default is that of the current process.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Returns the program's name or path, without its arguments.
    pub fn name(&self) -> &OsStr {
        &self.program
    }

    /// Returns the arguments.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Returns the working directory, if it is not that of the current process.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Returns the path of the program's file, as the system would find it now.
    pub fn locate(&self) -> Option<PathBuf> {
        locate(self.command().as_std())
    }

    /// Returns a command for one start.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Returns a command that lets `sh` read the program as a script, with the same arguments,
    /// environment and working directory. See [`Spawn::script`](crate::process::Spawn::script).
    pub fn script_command(&self) -> Command {
        let name = Path::new(&self.program);
        let path = if self.program.as_encoded_bytes().contains(&b'/') {
            // Without `./` the shell would take the path for an option.
            let is_option = self.program.as_encoded_bytes().starts_with(b"-");
            if is_option {
                Path::new(".").join(name)
            } else {
                name.to_owned()
            }
        } else {
            let absolute = self
                .locate()
                .and_then(|path| std::path::absolute(path).ok());
            absolute.unwrap_or_else(|| name.to_owned())
        };
        let script = Self {
            program: "sh".into(),
            arguments: Vec::new(),
            ..self.clone()
        };
        script.args([path]).args(&self.arguments).command()
    }
}
