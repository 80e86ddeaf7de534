//! The last rows of a terminal: one for each process that has not finished its line, such as a
//! prompt or a progress bar. Pure: bytes out.

use std::time::{Duration, Instant};

/// How long a line stays unfinished before it is shown. A line that is written in parts, or read
/// in the middle, is not shown in between.
pub(super) const MIN_STANDING: Duration = Duration::from_millis(20);

/// The maximum number of rows. More would not leave a small terminal room for lines.
const MAX_ROWS: usize = 8;

/// A row that is longer than the terminal is wide is cut by the terminal, so that it stays one row.
const NO_WRAP: &[u8] = b"\x1b[?7l";
const WRAP: &[u8] = b"\x1b[?7h";
const RESET: &[u8] = b"\x1b[0m";
/// Clears from the cursor to the end of the screen.
const CLEAR: &[u8] = b"\x1b[J";

/// The unfinished lines of processes, and the rows that show them.
#[derive(Default)]
pub(super) struct UnfinishedLines {
    /// In the order of their keys.
    lines: Vec<UnfinishedLine>,
    /// What the last rows show now. The cursor is behind it.
    shown: Vec<u8>,
}

struct UnfinishedLine {
    key: usize,
    since: Instant,
    /// The row, with the prefix.
    row: Vec<u8>,
}

impl UnfinishedLines {
    /// Sets the unfinished line of `key`, or removes it if `text` is empty. `has_ended` says that
    /// a line ended before this one began. Returns whether a line has to be shown or shown anew.
    pub(super) fn set(
        &mut self,
        key: usize,
        has_ended: bool,
        prefix: &[u8],
        text: &[u8],
        now: Instant,
    ) -> bool {
        let found = self.lines.binary_search_by_key(&key, |line| line.key);
        if text.is_empty() {
            return found.map(|at| self.lines.remove(at)).is_ok();
        }
        let row = [prefix, &row_text(text)].concat();
        match found {
            Ok(at) => {
                let line = &mut self.lines[at];
                if has_ended {
                    line.since = now;
                }
                line.row = row;
            }
            Err(at) => {
                let line = UnfinishedLine {
                    key,
                    since: now,
                    row,
                };
                self.lines.insert(at, line);
            }
        }
        true
    }

    /// Returns the bytes that clear the rows. They are shown again by [`rows`](Self::rows).
    pub(super) fn clear(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.shown.is_empty() {
            bytes.push(b'\r');
            let above = memchr::memchr_iter(b'\n', &self.shown).count();
            if above > 0 {
                bytes.extend_from_slice(format!("\x1b[{above}A").as_bytes());
            }
            bytes.extend_from_slice(CLEAR);
            self.shown.clear();
        }
        bytes
    }

    /// Returns the bytes that show the rows of all lines that stand, after [`clear`](Self::clear).
    pub(super) fn rows(&mut self, now: Instant) -> &[u8] {
        self.shown = self.wanted(now);
        &self.shown
    }

    /// Returns the bytes that bring the rows up to date, if they are not.
    pub(super) fn update(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.wanted(now) == self.shown {
            return None;
        }
        let mut bytes = self.clear();
        bytes.extend_from_slice(self.rows(now));
        Some(bytes)
    }

    /// Returns whether a line is not shown only because it has not stood for long enough.
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        self.lines.iter().any(|line| !line.stands(now))
    }

    fn wanted(&self, now: Instant) -> Vec<u8> {
        let mut rows = Vec::new();
        let standing = self.lines.iter().filter(|line| line.stands(now));
        for (index, line) in standing.take(MAX_ROWS).enumerate() {
            rows.extend_from_slice(if index == 0 { NO_WRAP } else { b"\n" });
            rows.extend_from_slice(&line.row);
            rows.extend_from_slice(RESET);
        }
        if !rows.is_empty() {
            rows.extend_from_slice(WRAP);
        }
        rows
    }
}

impl UnfinishedLine {
    fn stands(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= MIN_STANDING
    }
}

/// Returns what `text` shows in one row. Colors stay. Other escape sequences and control characters
/// are left out, since they could move the cursor out of the row; a backspace takes the character
/// before it away.
fn row_text(text: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            0x1B => {
                let sequence = escape_sequence(rest);
                if sequence.first() == Some(&b'[') && sequence.last() == Some(&b'm') {
                    row.push(0x1B);
                    row.extend_from_slice(sequence);
                }
                rest = &rest[sequence.len()..];
            }
            0x08 => while row.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {},
            b'\t' => row.extend_from_slice(b"  "),
            0..0x20 | 0x7F => {}
            _ => row.push(byte),
        }
    }
    row
}

/// Returns the part of `text`, which follows an ESC, that belongs to the escape sequence.
fn escape_sequence(text: &[u8]) -> &[u8] {
    let end = match text.first() {
        // A control sequence ends with a byte from `@` to `~`.
        Some(b'[') => text[1..]
            .iter()
            .position(|byte| (0x40..=0x7E).contains(byte))
            .map_or(text.len(), |at| at + 2),
        // An operating system command, such as a title, ends with BEL or ESC \.
        Some(b']') => memchr::memchr2(0x07, 0x1B, text).map_or(text.len(), |at| {
            at + 1 + usize::from(text[at] == 0x1B && text.get(at + 1) == Some(&b'\\'))
        }),
        Some(_) => 1,
        None => 0,
    };
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_colors_and_nothing_that_moves_the_cursor() {
        for (text, row) in [
            (&b"50%"[..], &b"50%"[..]),
            (b"\x1b[K\x1b[32m50%\x1b[0m", b"\x1b[32m50%\x1b[0m"),
            (b"a\x1b[2Ab\x1b[10;10Hc", b"abc"),
            (b"\x1b]0;title\x07a\x1b]0;title\x1b\\b\x1b7c", b"abc"),
            (b"|\x08/\x08-", b"-"),
            ("\u{20ac}\x08x".as_bytes(), b"x"),
            (b"a\tb\x07\x00", b"a  b"),
            (b"cut \x1b[3", b"cut "),
            (b"cut \x1b", b"cut "),
        ] {
            assert_eq!(row_text(text), row, "{text:?}");
        }
    }

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn each_process_has_a_row_once_its_line_stands() {
        let begin = Instant::now();
        let later = begin + MIN_STANDING;
        let mut unfinished = UnfinishedLines::default();
        assert!(unfinished.set(2, false, b"b | ", b"Password: ", begin));
        assert!(unfinished.update(begin).is_none() && unfinished.is_waiting(begin));
        let bytes = unfinished.update(later).unwrap();
        assert_eq!(shown(&bytes), "\x1b[?7lb | Password: \x1b[0m\x1b[?7h");
        assert!(unfinished.update(later).is_none() && !unfinished.is_waiting(later));

        unfinished.set(1, false, b"a | ", b"10%", later);
        assert!(unfinished.update(later).is_none(), "it does not stand yet");
        let later = later + MIN_STANDING;
        let both = "\x1b[?7la | 10%\x1b[0m\nb | Password: \x1b[0m\x1b[?7h";
        let bytes = unfinished.update(later).unwrap();
        assert_eq!(shown(&bytes), format!("\r\x1b[J{both}"));

        // A line of another process: the rows are cleared, and shown again below it.
        assert_eq!(shown(&unfinished.clear()), "\r\x1b[1A\x1b[J");
        assert_eq!(shown(unfinished.rows(later)), both);

        unfinished.set(1, true, b"a | ", b"next", later);
        unfinished.set(2, true, b"b | ", b"", later);
        assert_eq!(shown(&unfinished.clear()), "\r\x1b[1A\x1b[J");
        assert_eq!(shown(unfinished.rows(later)), "", "the next line is new");
        assert_eq!(shown(&unfinished.clear()), "");
    }
}
