//! Finds the ends of lines.

/// Calls `line(start, end)` for each terminated line of `text` and returns the offset after the
/// last terminator.
///
/// `\n` and `\r\n` are terminators, and `start..end` excludes them. Any other `\r` belongs to its
/// line. The search begins at `searched`: the caller knows that no `\n` precedes it.
#[inline]
pub(crate) fn for_each_line(
    text: &[u8],
    searched: usize,
    mut line: impl FnMut(usize, usize),
) -> usize {
    let mut start = 0;
    for found in memchr::memchr_iter(b'\n', &text[searched..]) {
        let newline = searched + found;
        let end = if newline > start && text[newline - 1] == b'\r' {
            newline - 1
        } else {
            newline
        };
        line(start, end);
        start = newline + 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, searched: usize) -> (Vec<&str>, usize) {
        let mut lines = Vec::new();
        let rest = for_each_line(text.as_bytes(), searched, |start, end| {
            lines.push(&text[start..end]);
        });
        (lines, rest)
    }

    #[test]
    fn a_line_ends_at_a_newline_with_or_without_a_carriage_return() {
        assert_eq!(lines("", 0), (vec![], 0));
        assert_eq!(lines("unfinished\r", 0), (vec![], 0));
        assert_eq!(
            lines("\n\r\na\rb\r\r\nrest", 0),
            (vec!["", "", "a\rb\r"], 9)
        );
    }

    #[test]
    fn what_was_searched_before_is_part_of_the_first_line() {
        assert_eq!(lines("abc\r\nd\n", 4), (vec!["abc", "d"], 7));
        assert_eq!(lines("abc\n", 3), (vec!["abc"], 4));
    }
}
