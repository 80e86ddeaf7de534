//! The place where the following of a file begins.

use std::str::FromStr;

use outrace::process::TailBuilder;

/// The value of `-n`: a number of last lines, or `+` and the number of the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    LastLines(u64),
    Line(u64),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            // `parse` would take a second sign.
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten()
        };
        let begin = match text.strip_prefix('+') {
            Some(first) => number(first).map(Self::Line),
            None => number(text.strip_prefix('-').unwrap_or(text)).map(Self::LastLines),
        };
        begin.ok_or_else(|| "it must be a number of lines, or + and a line number".to_owned())
    }
}

impl Begin {
    /// Applies the choice to a file.
    pub(super) fn apply(self, tail: TailBuilder) -> TailBuilder {
        match self {
            Self::LastLines(lines) => tail.lines(lines),
            Self::Line(0 | 1) => tail.from_start(),
            Self::Line(number) => tail.from_line(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_from_the_end_and_with_a_plus_from_the_beginning() {
        for (text, expected) in [
            ("0", Begin::LastLines(0)),
            ("10", Begin::LastLines(10)),
            ("-10", Begin::LastLines(10)),
            ("+1", Begin::Line(1)),
            ("+0", Begin::Line(0)),
            ("+300", Begin::Line(300)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "+", "-", "++1", "+-1", "1k", "99999999999999999999"] {
            assert!(text.parse::<Begin>().is_err(), "{text}");
        }
    }
}
