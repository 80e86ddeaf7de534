//! A program that can be started several times.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::process::child::locate;

/// A program with its arguments, environment and working directory.
///
/// A [`Command`] cannot be cloned. A `Program` can, and makes a command for each start.
///
/// Standard input is empty unless [`stdin`](Self::stdin) sets it.
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
    stdin: ProgramInput,
}

/// The standard input of a [`Program`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramInput {
    /// Nothing: the first read returns the end.
    #[default]
    Empty,
    /// A pipe that holds nothing and stays open, for programs that end with their input.
    HeldOpen,
    /// The standard input of the current process. An earlier run of a restarted process may have
    /// consumed it. A terminal can be read only without a [group of its
    /// own](super::Supervised::own_group).
    Inherited,
}

impl Program {
    /// Creates a program from its name or path. The system looks a name up in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            stdin: ProgramInput::default(),
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

    /// Sets the standard input. The default is [`ProgramInput::Empty`].
    #[must_use]
    pub fn stdin(mut self, stdin: ProgramInput) -> Self {
        self.stdin = stdin;
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
        command.args(&self.arguments).stdin(match self.stdin {
            ProgramInput::Empty => Stdio::null(),
            ProgramInput::HeldOpen => Stdio::piped(),
            ProgramInput::Inherited => Stdio::inherit(),
        });
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Returns a command that lets `sh` read the program as a script, with the same arguments,
    /// environment and working directory. Returns `None` if the program is not there, or has a NUL
    /// byte in its first line and so is no script. See
    /// [`Spawn::script`](crate::process::Spawn::script).
    pub fn script_command(&self) -> Option<Command> {
        let found = self.locate().filter(|path| is_text(path))?;
        let name = self.program.as_encoded_bytes();
        // The shell looks a path up from the working directory, as the system does. It would take
        // one that begins with `-` for an option.
        let path = match name.contains(&b'/') && !name.starts_with(b"-") {
            true => PathBuf::from(&self.program),
            false => std::path::absolute(found).ok()?,
        };
        let script = Self {
            program: "sh".into(),
            arguments: Vec::new(),
            ..self.clone()
        };
        Some(script.args([path]).args(&self.arguments).command())
    }
}

/// Returns whether the first line of a file, as far as a shell looks, has no NUL byte.
fn is_text(path: &Path) -> bool {
    let mut head = [0; 80];
    let read = File::open(path).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|n| {
        let line = head[..n].split(|&byte| byte == b'\n').next();
        line.is_none_or(|line| !line.contains(&0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrace_testkit::Scratch;

    #[test]
    fn a_script_gets_the_arguments_of_the_program_and_a_binary_is_none() {
        let scratch = Scratch::new();
        scratch.file("w.sh", "echo\n");
        scratch.file("foreign", "\x7fELF\0\n");
        let script = |name: &str| {
            let program = Program::new(name).args(["-x", "y"]).env("A", "a");
            let command = program.current_dir(scratch.folder()).script_command()?;
            let command = command.as_std();
            assert_eq!(command.get_program(), "sh");
            assert_eq!(command.get_current_dir(), Some(scratch.folder()));
            assert_eq!(command.get_envs().count(), 1);
            let words = command
                .get_args()
                .map(|word| word.to_str().unwrap().to_owned());
            Some(words.collect::<Vec<_>>())
        };
        assert_eq!(script("./w.sh").unwrap(), ["./w.sh", "-x", "y"]);
        assert_eq!(script("./foreign"), None);
        assert_eq!(script("./none"), None);
    }
}
