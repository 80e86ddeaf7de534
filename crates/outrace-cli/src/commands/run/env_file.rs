//! Files of environment variables, `NAME=VALUE`, quoted as foreman reads them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::text_file::read_lines;
use crate::failure::Failure;

/// A variable.
pub(super) type Variable = (OsString, OsString);

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EnvFile {
    pub(super) variables: Vec<Variable>,
    /// The numbers of lines that are neither a variable, nor blank, nor a comment.
    pub(super) odd_lines: Vec<usize>,
}

impl EnvFile {
    /// Reads a file, a pipe, or standard input for `-`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let lines = read_lines(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        Ok(Self::parse(&lines))
    }

    fn parse(lines: &[Vec<u8>]) -> Self {
        let mut file = Self::default();
        for (number, line) in (1..).zip(lines) {
            let line = line.trim_ascii_start();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match variable(line) {
                Some(variable) => file.variables.push(variable),
                None => file.odd_lines.push(number),
            }
        }
        file
    }
}

/// Parses one line. `export` in front is passed over, so that a shell may read the file too.
fn variable(line: &[u8]) -> Option<Variable> {
    let line = match line.strip_prefix(b"export ") {
        Some(rest) => rest.trim_ascii_start(),
        None => line,
    };
    let equals = line.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (&line[..equals], &line[equals + 1..]);
    let is_name = !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then(|| {
        (
            OsString::from_vec(name.to_vec()),
            OsString::from_vec(unquoted(value)),
        )
    })
}

/// Returns a value without its quotes.
///
/// Nothing is special within single quotes. Within double quotes `\n` is a line break, and a
/// backslash before any other character stands for that character. A value that is not wholly
/// within quotes is taken as it stands, with `#` and spaces.
fn unquoted(value: &[u8]) -> Vec<u8> {
    match value {
        [b'\'', inner @ .., b'\''] => inner.to_vec(),
        [b'"', inner @ .., b'"'] => unescaped(inner),
        plain => plain.to_vec(),
    }
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(&escaped) => escaped,
                None => b'\\',
            },
            byte => byte,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> EnvFile {
        let lines: Vec<_> = text
            .split('\n')
            .map(|line| line.as_bytes().to_vec())
            .collect();
        EnvFile::parse(&lines)
    }

    #[test]
    fn values_are_quoted_as_foreman_reads_them() {
        // The first seven are the cases of foreman's own specification.
        for (line, value) in [
            ("FOO=bar", "bar"),
            ("FOO='bar baz'", "bar baz"),
            (r#"FOO="bar baz""#, "bar baz"),
            (r#"FOO="bar\nbaz""#, "bar\nbaz"),
            (r#"FOO='bar\nbaz'"#, r"bar\nbaz"),
            (r#"FOO="escaped \"quote\" here""#, r#"escaped "quote" here"#),
            (r#"FOO=bar\nbaz"#, r"bar\nbaz"),
            ("FOO=", ""),
            ("FOO=a b # all of it ", "a b # all of it "),
            ("FOO='", "'"),
            (r#"FOO="a" b"#, r#""a" b"#),
            (r#"FOO="a\\nb\""#, r#"a\nb\"#),
            ("FOO=x=y", "x=y"),
            ("  FOO=indented", "indented"),
            ("export FOO=exported", "exported"),
        ] {
            let file = parsed(line);
            assert_eq!(file.variables, [("FOO".into(), value.into())], "{line}");
        }
    }

    #[test]
    fn a_line_without_a_variable_is_told_by_its_number() {
        let file = parsed("# c\n\nA=1\nno variable\nB =2\n=3\nC=4\n");
        assert_eq!(file.odd_lines, [4, 5, 6]);
        assert_eq!(file.variables.len(), 2);
    }
}
