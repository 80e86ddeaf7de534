//! Procfiles: one process a line, `NAME: COMMAND`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use outrace::ProcessId;

use super::text_file::{is_standard_input, read_lines};
use crate::failure::Failure;

/// The processes of a Procfile, in the order of their lines.
#[derive(Debug)]
pub(super) struct Procfile {
    /// The names, and the commands for the shell.
    pub(super) processes: Vec<(ProcessId, OsString)>,
    /// The folder that the commands run in. `None` is the current one.
    pub(super) folder: Option<PathBuf>,
}

impl Procfile {
    /// Reads a file, a pipe, or standard input for `-`. Blocks until the end of a pipe.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = shown(path);
        // Looked up first: `/dev/fd/N` is another file once the pipe behind it is closed.
        let folder = folder(path);
        let lines = read_lines(path)
            .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        let processes = parse(&lines)
            .map_err(|(line, what)| Failure::usage(format!("{shown}:{line}: {what}")))?;
        if processes.is_empty() {
            return Err(Failure::usage(format!(
                "{shown} has no line of the form NAME: COMMAND"
            )));
        }
        Ok(Self { processes, folder })
    }
}

fn shown(path: &Path) -> String {
    if is_standard_input(path) {
        "the Procfile on standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Returns the folder of a Procfile that is a file in one. A pipe has none, and neither has a
/// descriptor, whatever it refers to.
fn folder(path: &Path) -> Option<PathBuf> {
    let is_descriptor = ["/dev/fd/", "/dev/stdin", "/proc/"].iter().any(|start| {
        path.as_os_str()
            .as_encoded_bytes()
            .starts_with(start.as_bytes())
    });
    if is_descriptor || is_standard_input(path) || !fs::metadata(path).is_ok_and(|m| m.is_file()) {
        return None;
    }
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(Path::to_path_buf)
}

/// Returns the processes, or the number of the first wrong line and what is wrong with it. Blank
/// lines and lines that begin with `#` are skipped.
fn parse(lines: &[Vec<u8>]) -> Result<Vec<(ProcessId, OsString)>, (usize, String)> {
    let mut processes: Vec<(ProcessId, OsString)> = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            let line = String::from_utf8_lossy(line);
            return Err((number, format!("{line:?} is not of the form NAME: COMMAND")));
        };
        let name = String::from_utf8_lossy(line[..colon].trim_ascii_end());
        let id = ProcessId::parse(&name).map_err(|error| (number, error.to_string()))?;
        let command = line[colon + 1..].trim_ascii_start();
        if command.is_empty() {
            return Err((number, format!("{id} has no command")));
        }
        if processes.iter().any(|(other, _)| *other == id) {
            return Err((number, format!("there is another {id} above")));
        }
        processes.push((id, OsString::from_vec(command.to_vec())));
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.split('\n')
            .map(|line| line.as_bytes().to_vec())
            .collect()
    }

    #[test]
    fn processes_have_a_name_and_a_command_and_keep_their_order() {
        let text =
            "# the site\nweb: npm start -- --port 3000:80\n\n  worker :python w.py # all of it\n";
        let processes = parse(&lines(text)).unwrap();
        let shown: Vec<_> = processes
            .iter()
            .map(|(id, command)| (id.as_str(), command.to_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("web", "npm start -- --port 3000:80"),
                ("worker", "python w.py # all of it")
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, part) in [
            ("web npm start", 1, "NAME: COMMAND"),
            ("\n\nwe b: x", 3, "process id"),
            (": x", 1, "process id"),
            ("a: b\nweb:   ", 2, "no command"),
            ("a: b\na: c", 2, "another a"),
        ] {
            let (number, what) = parse(&lines(text)).unwrap_err();
            assert_eq!(number, line, "{text}");
            assert!(what.contains(part), "{what}");
        }
    }

    #[test]
    fn only_a_file_has_a_folder() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(
            folder(Path::new(own)),
            Some(env!("CARGO_MANIFEST_DIR").into())
        );
        for path in [
            "-",
            "Cargo.toml",
            "/dev/fd/0",
            "/dev/stdin",
            "/dev/null",
            "/no/such",
        ] {
            assert_eq!(folder(Path::new(path)), None, "{path}");
        }
    }
}
