//! The interpreter that a script names in its first line.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The bytes of a script's first line that the system reads.
const MAX_LINE_BYTES: u64 = 256;

/// A script's first line that names no interpreter that the system can run.
///
/// The system reports the same error as for a script that does not exist. The line is the first
/// thing to look at when a program that is there is not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenInterpreter {
    line: String,
    fault: InterpreterFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InterpreterFault {
    /// The line ends in `\r\n`. The system takes the `\r` for a part of the last word.
    CarriageReturn,
    Missing,
    Unfit,
}

impl BrokenInterpreter {
    /// Returns what is wrong with the first line of the file at `path`. `None` for a file that
    /// begins with no `#!` or cannot be read, and for an interpreter that can be run.
    pub fn find(path: &Path) -> Option<Self> {
        let mut head = Vec::new();
        let file = File::open(path).ok().filter(|_| path.is_file())?;
        file.take(MAX_LINE_BYTES).read_to_end(&mut head).ok()?;
        let rest = head.strip_prefix(b"#!")?;
        let line = rest.split(|&byte| byte == b'\n').next()?;
        let (line, ends_in_return) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let line = String::from_utf8_lossy(line).trim().to_owned();
        let name = line.split([' ', '\t']).next()?;
        let fault = match fs::metadata(name) {
            _ if ends_in_return => InterpreterFault::CarriageReturn,
            Ok(file) if file.is_file() && file.permissions().mode() & 0o111 != 0 => return None,
            Err(error) if error.kind() == ErrorKind::NotFound => InterpreterFault::Missing,
            _ => InterpreterFault::Unfit,
        };
        Some(Self { line, fault })
    }

    /// Returns whether the system reports that the program is not there, and not that it cannot be
    /// run.
    pub(super) fn is_not_found(&self) -> bool {
        self.fault != InterpreterFault::Unfit
    }
}

impl fmt::Display for BrokenInterpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            InterpreterFault::CarriageReturn => {
                "ends with a carriage return; save the file with line ends of Unix"
            }
            InterpreterFault::Missing => "names an interpreter that is not there",
            InterpreterFault::Unfit => "names an interpreter that cannot be run",
        };
        write!(f, "its first line, \"#!{}\", {fault}", self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrace_testkit::Scratch;

    #[test]
    fn each_fault_has_its_own_words() {
        let scratch = Scratch::new();
        for (text, part) in [
            ("#!/no/such/sh -x\n", "not there"),
            (
                "#! \t/no/such/sh",
                "\"#!/no/such/sh\", names an interpreter that is not there",
            ),
            ("#!/bin/sh\r\n", "carriage return"),
            (
                "#!/usr/bin/env sh\r\n",
                "\"#!/usr/bin/env sh\", ends with a carriage return",
            ),
            ("#!/etc/passwd\n", "cannot be run"),
            ("#!/etc\n", "cannot be run"),
            ("#!\n", "not there"),
        ] {
            let path = scratch.file("s", text);
            let fault = BrokenInterpreter::find(Path::new(&path)).map(|fault| fault.to_string());
            assert!(
                fault.as_deref().is_some_and(|said| said.contains(part)),
                "{text:?}: {fault:?}"
            );
        }
        for text in [
            "#!/bin/sh\n",
            "#! /bin/sh -e",
            "#!/usr/bin/env sh\necho\r\n",
            "echo\r\n",
            "",
        ] {
            let path = scratch.file("s", text);
            assert_eq!(BrokenInterpreter::find(Path::new(&path)), None, "{text:?}");
        }
        assert_eq!(BrokenInterpreter::find(scratch.folder()), None);
    }
}
