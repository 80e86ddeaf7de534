//! Splitting what a process writes into lines. Pure: no I/O, no clock, no tokio.
//!
//! A [`LineSplitter`] owns the buffer that is read into. [`spare`](LineSplitter::spare) gives room,
//! [`filled`](LineSplitter::filled) says how much of it was used, and then either
//! [`take`](LineSplitter::take) hands out the complete lines as one run that *shares* the buffer, or
//! [`count`](LineSplitter::count) only counts them and reuses it. Both go by the same rules and leave
//! the same unfinished line behind, so they may alternate at any byte.
//!
//! The rules:
//! - `\n` ends a line, and so does `\r\n`; the terminator is dropped. Any other `\r` belongs to its line.
//! - A line longer than [`MAX_LINE`] comes in pieces of at most that, none of them empty and nothing
//!   lost. A piece does not end inside a UTF-8 character, if the line is UTF-8.
//! - Bytes after the last terminator are a line too, when the input ends.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::message::Lines;

/// The longest line that is delivered in one piece, in bytes without its terminator.
pub const MAX_LINE: usize = 64 * 1024;

/// The smallest buffer, enough for a process that writes a line now and then.
const MIN_BUFFER: usize = 8 * 1024;
/// The largest buffer. A full pipe of the largest unprivileged size is read in four.
const MAX_BUFFER: usize = 256 * 1024;

/// Finds the lines in what is read, chunk by chunk.
///
/// ```
/// # use outrace::process::LineSplitter;
/// let mut splitter = LineSplitter::new();
/// let text = b"one\ntwo\r\nthr";
/// splitter.spare()[..text.len()].copy_from_slice(text);
/// splitter.filled(text.len());
///
/// let run = splitter.take();
/// assert_eq!(run.iter().collect::<Vec<_>>(), [b"one", b"two"]);
/// // The input ended: what is left is a line.
/// let last = splitter.finish();
/// assert_eq!(last.iter().collect::<Vec<_>>(), [b"thr"]);
/// ```
#[derive(Default)]
pub struct LineSplitter {
    /// Initialised to its full length, so that reading into it needs neither `unsafe` nor zeroing
    /// a second time. What was read and not yet handed out stands at `start..end`.
    buffer: BytesMut,
    start: usize,
    end: usize,
    /// How far past `start` it is known that there is no `\n`: a long line that comes in small reads
    /// is searched once, not once a read.
    searched: usize,
    /// The largest read since the buffer was allocated: the next one is sized by it.
    largest: usize,
    /// The lines of the last run: the room its successor is given.
    lines: usize,
}

impl LineSplitter {
    /// A splitter that has read nothing. Allocates with the first [`spare`](Self::spare).
    pub fn new() -> Self {
        Self::default()
    }

    /// Room to read into: at least 4 KiB, and up to 256 KiB for a source that fills what it is given.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.end < self.wanted_spare() {
            self.make_room();
        }
        &mut self.buffer[self.end..]
    }

    /// Says that the first `n` bytes of [`spare`](Self::spare) were written.
    ///
    /// # Panics
    /// When `n` is more than the room that was given.
    pub fn filled(&mut self, n: usize) {
        assert!(
            n <= self.buffer.len() - self.end,
            "more bytes were read than there was room for"
        );
        self.end += n;
        self.largest = self.largest.max(n);
    }

    /// Copies `chunk` in, for input that is already in memory.
    pub fn push(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let spare = self.spare();
            let n = spare.len().min(chunk.len());
            spare[..n].copy_from_slice(&chunk[..n]);
            self.filled(n);
            chunk = &chunk[n..];
        }
    }

    /// The lines that are complete, as one run that shares the buffer: no line is copied.
    pub fn take(&mut self) -> Lines {
        let unread = &self.buffer[self.start..self.end];
        let mut spans = Vec::with_capacity(self.lines.min(unread.len()));
        let consumed = spans_of(unread, self.searched, &mut spans);
        self.searched = unread.len() - consumed;
        self.lines = spans.len() + spans.len() / 8;
        let run = self.split_off(consumed);
        Lines::from_parts(run, spans)
    }

    /// Passes over the lines that are complete and says how many there were: exactly as many as
    /// [`take`](Self::take) would have given.
    pub fn count(&mut self) -> u64 {
        let unread = &self.buffer[self.start..self.end];
        let (count, consumed) = count_of(unread, self.searched);
        self.searched = unread.len() - consumed;
        self.start += consumed;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        count
    }

    /// The input has ended: the last lines, among them the one without a terminator if there is one.
    /// The splitter is empty afterwards.
    pub fn finish(&mut self) -> Lines {
        let unread = &self.buffer[self.start..self.end];
        let mut spans = Vec::new();
        let consumed = spans_of(unread, self.searched, &mut spans);
        push_pieces(unread, consumed, unread.len(), &mut spans);
        self.searched = 0;
        let run = self.split_off(unread.len());
        Lines::from_parts(run, spans)
    }

    /// How many bytes wait for the end of their line. At most [`MAX_LINE`] + 1 after
    /// [`take`](Self::take) or [`count`](Self::count).
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Takes `consumed` unread bytes out of the buffer, with the allocation shared.
    fn split_off(&mut self, consumed: usize) -> Bytes {
        if consumed == 0 {
            return Bytes::new();
        }
        let mut run = self.buffer.split_to(self.start + consumed).freeze();
        let run = run.split_off(self.start);
        self.end -= self.start + consumed;
        self.start = 0;
        run
    }

    /// Less room than this is not worth a read.
    fn wanted_spare(&self) -> usize {
        (self.size() / 4).max(MIN_BUFFER / 2)
    }

    /// Four times the largest read, within bounds: a busy source gets large reads, and one that writes
    /// a line now and then does not keep a large buffer.
    fn size(&self) -> usize {
        (4 * self.largest).clamp(MIN_BUFFER, MAX_BUFFER)
    }

    /// Moves what is unread to the front, of this buffer if that is enough and else of a new one.
    fn make_room(&mut self) {
        let pending = self.pending();
        if self.buffer.len() >= pending + self.wanted_spare() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
        } else {
            let mut fresh = BytesMut::zeroed(self.size() + pending);
            fresh[..pending].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = fresh;
            self.largest = 0;
        }
        self.start = 0;
        self.end = pending;
    }
}

impl fmt::Debug for LineSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSplitter")
            .field("pending", &self.pending())
            .field("capacity", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// Adds the complete lines of `text` to `spans` as (start, end) and returns where the unfinished one
/// begins. There is no `\n` before `searched`.
fn spans_of(text: &[u8], searched: usize, spans: &mut Vec<(u32, u32)>) -> usize {
    let mut start = 0;
    for found in memchr::memchr_iter(b'\n', &text[searched..]) {
        let newline = searched + found;
        let end = if newline > start && text[newline - 1] == b'\r' {
            newline - 1
        } else {
            newline
        };
        if end - start <= MAX_LINE {
            spans.push((start as u32, end as u32));
        } else {
            push_pieces(text, start, end, spans);
        }
        start = newline + 1;
    }
    while let Some(piece) = overlong_piece(&text[start..]) {
        spans.push((start as u32, (start + piece) as u32));
        start += piece;
    }
    start
}

/// Adds `text[start..end]`, the content of one line, in pieces. Nothing for an empty one.
fn push_pieces(text: &[u8], mut start: usize, end: usize, spans: &mut Vec<(u32, u32)>) {
    while start < end {
        let piece = piece_len(&text[start..end]);
        spans.push((start as u32, (start + piece) as u32));
        start += piece;
    }
}

/// As [`spans_of`], but only counts: a window of one longest line at a time, whose newlines are counted
/// many at once unless it has none.
fn count_of(text: &[u8], searched: usize) -> (u64, usize) {
    let mut start = 0;
    let mut count = 0;
    while start < text.len() {
        let window =
            &text[start.max(searched).min(text.len())..text.len().min(start + MAX_LINE + 1)];
        if let Some(last) = memchr::memrchr(b'\n', window) {
            count += memchr::memchr_iter(b'\n', &window[..=last]).count() as u64;
            start = start.max(searched) + last + 1;
        } else if text[start..].get(MAX_LINE..MAX_LINE + 2) == Some(b"\r\n") {
            count += 1;
            start += MAX_LINE + 2;
        } else if let Some(piece) = overlong_piece(&text[start..]) {
            count += 1;
            start += piece;
        } else {
            break;
        }
    }
    (count, start)
}

/// The length of the first piece of an unfinished line, once it is certain that the line is longer than
/// [`MAX_LINE`]: a `\r` at its very end may yet turn out to be half a terminator.
fn overlong_piece(unfinished: &[u8]) -> Option<usize> {
    let certain = unfinished.len() > MAX_LINE + 1
        || unfinished.len() == MAX_LINE + 1 && unfinished[MAX_LINE] != b'\r';
    certain.then(|| piece_len(unfinished))
}

/// How much of `content` its first piece takes: at most [`MAX_LINE`], and less by up to three bytes where
/// that would cut a character.
fn piece_len(content: &[u8]) -> usize {
    if content.len() <= MAX_LINE {
        return content.len();
    }
    for back in 0..4 {
        let byte = content[MAX_LINE - back];
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
            MAX_LINE - back
        } else {
            MAX_LINE
        };
    }
    MAX_LINE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence::WithSource;
    use std::ops::Range;

    /// The lines of `text`, by the plainest code there is.
    fn contents(text: &[u8]) -> Vec<&[u8]> {
        let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
        let unterminated = lines.pop().filter(|last| !last.is_empty());
        for line in &mut lines {
            *line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        lines.extend(unterminated);
        lines
    }

    /// What a splitter makes of `text` when it comes whole.
    fn whole(text: &[u8]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::new();
        splitter.push(text);
        splitter.finish().iter().map(<[u8]>::to_vec).collect()
    }

    /// The chunks of `text` that the cuts make; those that fall together make empty ones.
    fn chunks<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> impl Iterator<Item = &'a [u8]> {
        let mut ends: Vec<_> = cuts
            .iter()
            .map(|cut| cut.index(text.len() + 1))
            .chain([text.len()])
            .collect();
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.clone());
        starts
            .zip(ends)
            .map(|(start, end): (usize, usize)| &text[Range { start, end }])
    }

    /// Text that is rich in what matters: terminators and halves of them, characters of every length,
    /// broken ones, and lines about as long as a piece or two may be.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let long = (
            prop::sample::select(vec!["a", "é", "€", "😀"]),
            0..9usize,
            1..3usize,
            "[abc]{0,3}",
        )
            .prop_map(|(unit, less, pieces, shift)| {
                let bytes = MAX_LINE * pieces + 4 - less;
                (shift + &unit.repeat(bytes / unit.len())).into_bytes()
            });
        let part = prop_oneof![
            6 => Just(b"\n".to_vec()),
            3 => Just(b"\r\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            6 => "[a-zé€😀]{0,12}".prop_map(String::into_bytes),
            2 => vec(any::<u8>(), 0..5),
            1 => long,
            1 => (vec(prop_oneof![Just(0x80), Just(0xF0), Just(b'a')], 1..9), MAX_LINE - 9..MAX_LINE + 9)
                .prop_map(|(unit, length)| unit.into_iter().cycle().take(length).collect()),
        ];
        vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            // Beside this file, as `lines.proptest-regressions`.
            failure_persistence: Some(Box::new(WithSource("proptest-regressions"))),
            ..ProptestConfig::with_cases(128)
        })]

        #[test]
        fn lines_are_whole_and_long_ones_in_pieces_that_cut_no_character(text in texts()) {
            let mut pieces = whole(&text).into_iter();
            for line in contents(&text) {
                let mut got = pieces.next().expect("a piece of every line");
                let mut last = got.len();
                prop_assert!(last <= MAX_LINE);
                while got.len() < line.len() {
                    // Room is left only for a character that would not fit: three bytes of it at most.
                    prop_assert!(last >= MAX_LINE - 3, "a piece is shorter than it must be");
                    let piece = pieces.next().expect("the line goes on");
                    last = piece.len();
                    prop_assert!((1..=MAX_LINE).contains(&last));
                    if std::str::from_utf8(line).is_ok() {
                        prop_assert!(std::str::from_utf8(&piece).is_ok(), "a character was cut");
                    }
                    got.extend(piece);
                }
                prop_assert_eq!(&got[..], line);
            }
            prop_assert_eq!(pieces.next(), None);
        }

        #[test]
        fn chunks_and_counting_in_between_make_no_difference(
            text in texts(),
            cuts in vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
        ) {
            let expected = whole(&text);
            let mut at = 0;
            let mut splitter = LineSplitter::new();
            let (cuts, listens): (Vec<_>, Vec<_>) = cuts.into_iter().unzip();
            for (chunk, listens) in chunks(&text, &cuts).zip(listens.into_iter().chain([true])) {
                splitter.push(chunk);
                if listens {
                    for line in splitter.take().iter() {
                        prop_assert_eq!(line, &expected[at][..]);
                        at += 1;
                    }
                } else {
                    at += splitter.count() as usize;
                }
                prop_assert!(splitter.pending() <= MAX_LINE + 1);
            }
            for line in splitter.finish().iter() {
                prop_assert_eq!(line, &expected[at][..]);
                at += 1;
            }
            prop_assert_eq!(at, expected.len());
            prop_assert_eq!(splitter.pending(), 0);
        }

        #[test]
        fn counting_alone_counts_what_splitting_gives(
            text in texts(),
            cuts in vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut splitter = LineSplitter::new();
            let mut count = 0;
            for chunk in chunks(&text, &cuts) {
                splitter.push(chunk);
                count += splitter.count();
            }
            count += splitter.finish().len() as u64;
            prop_assert_eq!(count, whole(&text).len() as u64);
        }
    }

    /// What chance seldom hits: a line of just the longest length, its terminator cut anywhere by a read.
    #[test]
    fn the_longest_line_and_its_neighbours_are_cut_alike_by_splitting_and_counting() {
        for length in MAX_LINE - 1..=MAX_LINE + 2 {
            for terminator in ["\n", "\r\n", "\r\r\n", "\r", "\ra\n", ""] {
                let text = [&[b'a'].repeat(length)[..], terminator.as_bytes(), b"next\n"].concat();
                let expected: usize = contents(&text)
                    .iter()
                    .map(|line| line.len().div_ceil(MAX_LINE).max(1))
                    .sum();
                for cut in length - 1..=text.len() {
                    let (mut split, mut counted) = (LineSplitter::new(), LineSplitter::new());
                    let (mut lines, mut count) = (0, 0);
                    for chunk in [&text[..cut], &text[cut..]] {
                        split.push(chunk);
                        lines += split.take().len();
                        counted.push(chunk);
                        count += counted.count() as usize;
                        assert_eq!(count, lines, "{length} a and {terminator:?}, cut at {cut}");
                    }
                    lines += split.finish().len();
                    assert_eq!(
                        lines, expected,
                        "{length} a and {terminator:?}, cut at {cut}"
                    );
                    assert_eq!(count + counted.finish().len(), expected);
                }
            }
        }
    }

    #[test]
    fn a_run_shares_the_buffer_it_was_read_into() {
        let mut splitter = LineSplitter::new();
        let room = splitter.spare();
        room[..4].copy_from_slice(b"a\nbc");
        let address = room.as_ptr();
        splitter.filled(4);
        let run = splitter.take();
        assert_eq!(run.iter().next().map(<[u8]>::as_ptr), Some(address));
        assert_eq!(splitter.pending(), 2);
    }

    #[test]
    fn the_buffer_follows_the_size_of_the_reads() {
        let mut splitter = LineSplitter::new();
        for _ in 0..6 {
            let room = splitter.spare().len();
            splitter.filled(room);
            splitter.count();
        }
        assert!(
            splitter.spare().len() >= MAX_BUFFER / 2,
            "a source that fills what it is given gets more"
        );
        for _ in 0..2 * MAX_BUFFER / 100 {
            splitter.spare()[99] = b'\n';
            splitter.filled(100);
            splitter.take();
        }
        assert!(
            splitter.buffer.len() <= MIN_BUFFER,
            "a source that writes little does not keep a large one"
        );
    }
}
