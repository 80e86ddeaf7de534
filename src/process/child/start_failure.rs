//! Finds out why the system did not start a program. Its error numbers stand for several causes.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BrokenInterpreter, SpawnError};
use crate::descriptor_limit;

/// Returns the error of a program that was not started. Looks at the file system, so it may blame
/// another cause if that has changed meanwhile.
pub(super) fn diagnose(command: &Command, source: io::Error) -> SpawnError {
    let program = command.get_program().to_string_lossy().into_owned();
    if descriptor_limit::is_reached(&source) {
        return SpawnError::TooManyOpenFiles { program, source };
    }
    if let Some(directory) = command.get_current_dir()
        && !directory.is_dir()
    {
        let directory = directory.display().to_string();
        return SpawnError::Directory {
            program,
            directory,
            source,
        };
    }
    let Some(path) = locate(command) else {
        return match source.kind() {
            io::ErrorKind::NotFound => SpawnError::NotFound { program, source },
            _ => SpawnError::NotExecutable { program, source },
        };
    };
    if path.is_dir() {
        let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
        return SpawnError::NotExecutable { program, source };
    }
    if let Some(interpreter) = BrokenInterpreter::find(&path).filter(|_| is_executable(&path)) {
        return SpawnError::Interpreter {
            program,
            interpreter,
            source,
        };
    }
    let source = match source.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            "the loader that it needs is not there",
        ),
        _ => source,
    };
    SpawnError::NotExecutable { program, source }
}

/// Returns the file that the system tries to run, or `None` if there is none.
pub(in crate::process) fn locate(command: &Command) -> Option<PathBuf> {
    let program = Path::new(command.get_program());
    // The system looks relative paths up from the working directory of the new process.
    let folder = command.get_current_dir().unwrap_or(Path::new(""));
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Some(folder.join(program)).filter(|path| path.exists());
    }
    let set = command.get_envs().find(|(name, _)| *name == "PATH");
    let search = match set {
        Some((_, value)) => value?.to_owned(),
        None => std::env::var_os("PATH")?,
    };
    let places: Vec<_> = std::env::split_paths(&search)
        .map(|place| folder.join(place).join(program))
        .filter(|path| path.is_file())
        .collect();
    let executable = places.iter().find(|path| is_executable(path));
    executable.or(places.first()).cloned()
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrace_testkit::Scratch;

    fn script(scratch: &Scratch, name: &str, text: &str) -> Command {
        let path = scratch.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Command::new(path)
    }

    fn refused(command: &mut Command) -> (String, i32) {
        let source = command.spawn().expect_err("it must not start");
        let error = diagnose(command, source);
        (error.to_string(), error.code())
    }

    #[test]
    fn each_cause_has_its_own_words_and_the_shells_code() {
        let scratch = Scratch::new();
        for (text, part, code) in [
            ("#!/no/such/sh -x\n", "interpreter that is not there", 127),
            ("#!/bin/sh\r\n", "carriage return", 127),
            ("#!/etc/passwd\n", "interpreter that cannot be run", 126),
        ] {
            let (said, given) = refused(&mut script(&scratch, "s", text));
            assert!(
                said.contains(part) && given == code,
                "{text:?}: {said}, {given}"
            );
        }
        for (program, part, code) in [
            ("/no/such/program".to_owned(), "not found", 127),
            ("no-such-program".to_owned(), "not found", 127),
            (scratch.file("plain", "no script"), "cannot be run", 126),
            (scratch.folder().display().to_string(), "cannot be run", 126),
        ] {
            let (said, given) = refused(&mut Command::new(&program));
            assert!(
                said.contains(part) && given == code,
                "{program}: {said}, {given}"
            );
        }
        let mut elsewhere = Command::new("true");
        elsewhere.current_dir(scratch.path("none"));
        let (said, code) = refused(&mut elsewhere);
        assert!(
            said.contains("the folder") && said.contains("none") && code == 126,
            "{said}"
        );
    }

    #[test]
    fn a_name_is_looked_up_in_the_path_of_the_new_process() {
        let scratch = Scratch::new();
        script(&scratch, "tool", "#!/no/such/sh\n");
        let mut command = Command::new("tool");
        command.env("PATH", scratch.folder());
        assert_eq!(locate(&command), Some(scratch.folder().join("tool")));
        command.env("PATH", "/");
        assert_eq!(locate(&command), None);
    }
}
