//! What a shell's "not found" does not tell: that a script is there, and its first line is broken.

use std::path::Path;

use outrace::Status;
use outrace::process::{BrokenInterpreter, ExitReport, Program};

/// The exit codes of a shell that could not run a program, and of one that does not know an option.
const SUSPICIOUS_CODES: [i32; 3] = [2, 126, 127];

/// Returns a sentence about the script that a program is, or that its command line for the shell
/// names, if the program ended as one does with a broken first line.
pub(super) fn script_fault(program: &Program, report: &ExitReport) -> Option<String> {
    if report.status != Status::Exited || !SUSPICIOUS_CODES.contains(&report.code) {
        return None;
    }
    let names = match program.arguments() {
        [option, line] if program.name() == "sh" && option == "-c" => {
            words(&line.to_string_lossy())
        }
        _ => vec![program.name().to_string_lossy().into_owned()],
    };
    let folder = program.directory().unwrap_or(Path::new("."));
    names.iter().find_map(|name| {
        let named = Program::new(name.as_str()).current_dir(folder);
        let fault = BrokenInterpreter::find(&named.locate()?)?;
        Some(format!("{name}: {fault}"))
    })
}

/// Returns the words of a command line that may be programs: the first one, and each path.
fn words(line: &str) -> Vec<String> {
    let separators = [' ', '\t', '\n', ';', '&', '|', '(', ')', '"', '\''];
    let words = line.split(separators).filter(|word| !word.is_empty());
    words
        .enumerate()
        .filter(|(index, word)| *index == 0 || word.contains('/'))
        .map(|(_, word)| word.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_a_command_line_are_its_first_word_and_its_paths() {
        assert_eq!(
            words("cd web && 'bin/start it' --port 80;(./w -x)"),
            ["cd", "bin/start", "./w"]
        );
        assert_eq!(words(""), Vec::<String>::new());
    }
}
