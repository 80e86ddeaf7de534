//! Procfiles: one process a line, `NAME: COMMAND`.

use std::fs;
use std::path::Path;

use outrace::ProcessId;
use outrace::process::Program;

use crate::failure::Failure;

/// Reads a Procfile. Its commands run in the folder of the file.
pub(crate) fn read(path: &Path) -> Result<Vec<(ProcessId, Program)>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let processes = parse(&text)
        .map_err(|(line, what)| Failure::usage(format!("{}:{line}: {what}", path.display())))?;
    if processes.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no line of the form NAME: COMMAND",
            path.display()
        )));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let place = |program: Program| match folder {
        Some(folder) => program.current_dir(folder),
        None => program,
    };
    Ok(processes
        .into_iter()
        .map(|(id, command)| (id, place(Program::shell(command))))
        .collect())
}

/// Returns the processes in the order of their lines, or the number of the first wrong line and
/// what is wrong with it. Blank lines and lines that begin with `#` are skipped.
fn parse(text: &str) -> Result<Vec<(ProcessId, &str)>, (usize, String)> {
    let mut processes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, command)) = line.split_once(':') else {
            return Err((number, format!("{line:?} is not of the form NAME: COMMAND")));
        };
        let id = ProcessId::parse(name.trim_end()).map_err(|error| (number, error.to_string()))?;
        let command = command.trim_start();
        if command.is_empty() {
            return Err((number, format!("{id} has no command")));
        }
        processes.push((id, command));
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_have_a_name_and_a_command_and_keep_their_order() {
        let text = "# the site\r\nweb: npm start -- --port 3000:80\r\n\n  worker :python w.py # all of it\n";
        let processes = parse(text).unwrap();
        let shown: Vec<_> = processes
            .iter()
            .map(|(id, command)| (id.as_str(), *command))
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
        ] {
            let (number, what) = parse(text).unwrap_err();
            assert_eq!(number, line, "{text}");
            assert!(what.contains(part), "{what}");
        }
    }
}
