//! The rule for line ends, in one place: `\n` ends a line, and so does `\r\n`.

/// A complete line in a text, as byte offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminatedLine {
    /// The start of the line.
    pub(crate) start: usize,
    /// The end of the line, before its terminator.
    pub(crate) end: usize,
    /// The start of the next line, after the terminator.
    pub(crate) next: usize,
}

/// Iterates over the complete lines of a text. Linear in the text.
///
/// A line ends at `\n` or `\r\n`. Any other `\r` is part of its line. The text before `searched`
/// has no `\n` and is not searched again; the first line starts at 0 in any case.
///
/// The bytes after the last [`next`](TerminatedLine::next) are an unterminated line, or the
/// beginning of one.
#[inline]
pub(crate) fn terminated_lines(
    text: &[u8],
    searched: usize,
) -> impl Iterator<Item = TerminatedLine> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', &text[searched..]).map(move |found| {
        let newline = searched + found;
        let end = if newline > start && text[newline - 1] == b'\r' {
            newline - 1
        } else {
            newline
        };
        let line = TerminatedLine {
            start,
            end,
            next: newline + 1,
        };
        start = line.next;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, searched: usize) -> Vec<(&str, usize)> {
        terminated_lines(text.as_bytes(), searched)
            .map(|line| (&text[line.start..line.end], line.next))
            .collect()
    }

    #[test]
    fn a_line_ends_at_a_newline_with_or_without_a_carriage_return() {
        assert_eq!(lines("", 0), []);
        assert_eq!(lines("unfinished\r", 0), []);
        assert_eq!(
            lines("\n\r\na\rb\r\r\nrest", 0),
            [("", 1), ("", 3), ("a\rb\r", 9)]
        );
    }

    #[test]
    fn what_was_searched_before_is_part_of_the_first_line() {
        assert_eq!(lines("abc\r\nd\n", 4), [("abc", 5), ("d", 7)]);
        assert_eq!(lines("abc\n", 3), [("abc", 4)]);
    }
}
