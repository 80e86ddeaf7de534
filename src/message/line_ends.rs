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
