//! Finds and counts the lines of a text. Pure functions over byte slices.
//!
//! The rules:
//! - `\n` and `\r\n` terminate a line and are dropped. Any other `\r` belongs to its line.
//! - A line longer than [`MAX_LINE_BYTES`] is delivered in pieces of at most that length. No piece
//!   is empty and nothing is lost. A piece of a valid UTF-8 line never ends inside a character.
//!
//! [`find_lines`] and [`count_lines`] apply the same rules and leave the same unfinished line, so a
//! caller may alternate between them at any byte.

use crate::message::for_each_line;

/// The maximum length in bytes of a line that is delivered in one piece, without its terminator.
///
/// The message of such a line, with its envelope, is not longer than the 64 KiB that clients read
/// by default, unless the line holds characters that are escaped.
pub const MAX_LINE_BYTES: usize = 63 * 1024;

/// The byte ranges of the lines of a text.
#[derive(Debug, Default)]
pub(super) struct LineSpans {
    /// The (start, end) of each line, or of each piece of a longer line.
    pub(super) spans: Vec<(u32, u32)>,
    /// The ascending indexes of the spans that are pieces of a line which goes on in the next span.
    pub(super) continued: Vec<u32>,
}

impl LineSpans {
    fn push(&mut self, start: usize, end: usize) {
        self.spans.push((start as u32, end as u32));
    }

    /// Marks the last span as a piece whose line goes on.
    fn mark_continued(&mut self) {
        self.continued.push(self.spans.len() as u32 - 1);
    }

    /// Adds `text[start..end]`, the content of one line, in pieces. Adds nothing for an empty line.
    pub(super) fn push_pieces(&mut self, text: &[u8], mut start: usize, end: usize) {
        while start < end {
            let piece = piece_len(&text[start..end]);
            self.push(start, start + piece);
            start += piece;
            if start < end {
                self.mark_continued();
            }
        }
    }
}

/// Adds the complete lines of `text` to `found` and returns the start of the unfinished line.
/// `text[..searched]` holds no `\n`.
pub(super) fn find_lines(text: &[u8], searched: usize, found: &mut LineSpans) -> usize {
    let mut start = for_each_line(text, searched, |start, end| {
        if end - start <= MAX_LINE_BYTES {
            found.push(start, end);
        } else {
            found.push_pieces(text, start, end);
        }
    });
    while let Some(piece) = overlong_piece(&text[start..]) {
        found.push(start, start + piece);
        // The byte that makes the line too long is part of its content, so another piece follows.
        found.mark_continued();
        start += piece;
    }
    start
}

/// Returns the number of lines that [`find_lines`] would add, and the start of the unfinished line.
///
/// Proceeds in windows of one line of maximum length, and counts the newlines of a window many at a
/// time. Only a window without a newline is looked at more closely.
pub(super) fn count_lines(text: &[u8], searched: usize) -> (u64, usize) {
    let mut start = 0;
    let mut count = 0;
    while start < text.len() {
        let window =
            &text[start.max(searched).min(text.len())..text.len().min(start + MAX_LINE_BYTES + 1)];
        if let Some(last) = memchr::memrchr(b'\n', window) {
            count += memchr::memchr_iter(b'\n', &window[..=last]).count() as u64;
            start = start.max(searched) + last + 1;
        } else if text[start..].get(MAX_LINE_BYTES..MAX_LINE_BYTES + 2) == Some(b"\r\n") {
            count += 1;
            start += MAX_LINE_BYTES + 2;
        } else if let Some(piece) = overlong_piece(&text[start..]) {
            count += 1;
            start += piece;
        } else {
            break;
        }
    }
    (count, start)
}

/// Returns the length of the first piece of an unfinished line, or `None` while the line may still
/// fit into one piece. A `\r` right after [`MAX_LINE_BYTES`] bytes may be half a terminator.
fn overlong_piece(unfinished: &[u8]) -> Option<usize> {
    let is_overlong = unfinished.len() > MAX_LINE_BYTES + 1
        || unfinished.len() == MAX_LINE_BYTES + 1 && unfinished[MAX_LINE_BYTES] != b'\r';
    is_overlong.then(|| piece_len(unfinished))
}

/// Returns the length of the first piece of `content`: at most [`MAX_LINE_BYTES`], and up to three
/// bytes less where that would cut a character.
fn piece_len(content: &[u8]) -> usize {
    if content.len() <= MAX_LINE_BYTES {
        return content.len();
    }
    for back in 0..4 {
        let byte = content[MAX_LINE_BYTES - back];
        if byte & 0b1100_0000 == 0b1000_0000 {
            continue;
        }
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if back < length {
            MAX_LINE_BYTES - back
        } else {
            MAX_LINE_BYTES
        };
    }
    MAX_LINE_BYTES
}
