//! Splits a byte stream into lines. Pure: no I/O, no clock, no runtime.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::partial::partial_text;
use super::spans::{LineSpans, count_lines, find_lines};
use crate::message::Lines;

/// The minimum buffer size, enough for a process that writes a line now and then.
const MIN_BUFFER_BYTES: usize = 8 * 1024;
/// The maximum buffer size. A full pipe of the largest unprivileged size takes four reads.
const MAX_BUFFER_BYTES: usize = 256 * 1024;

/// Splits a byte stream, chunk by chunk, into lines.
///
/// The splitter owns the buffer that the stream is read into. [`spare_mut`](Self::spare_mut)
/// returns free space and [`commit`](Self::commit) takes the bytes that were read. Then
/// [`take_lines`](Self::take_lines) returns the complete lines as one run that *shares* the buffer,
/// or [`discard_lines`](Self::discard_lines) counts them and reuses the buffer. The two may
/// alternate at any byte.
///
/// `\n` and `\r\n` terminate a line; any other `\r` belongs to its line. A line longer than
/// [`MAX_LINE_BYTES`](super::MAX_LINE_BYTES) is delivered in pieces of at most that length. No
/// piece is empty and nothing is lost. A piece of a valid UTF-8 line never ends inside a character.
/// All pieces of a line but the last are [continued](Lines::continued). When the input ends, the
/// bytes after the last terminator are a line too.
///
/// ```
/// # use outrace::process::LineSplitter;
/// let mut splitter = LineSplitter::new();
/// let text = b"one\ntwo\r\nthr";
/// splitter.spare_mut()[..text.len()].copy_from_slice(text);
/// splitter.commit(text.len());
///
/// let run = splitter.take_lines();
/// assert_eq!(run.iter().collect::<Vec<_>>(), [b"one", b"two"]);
/// // At the end of the input the remaining bytes are a line.
/// let last = splitter.finish();
/// assert_eq!(last.iter().collect::<Vec<_>>(), [b"thr"]);
/// ```
#[derive(Default)]
pub struct LineSplitter {
    /// Initialized over its full length: reading into it needs neither `unsafe` nor zeroing a
    /// second time. The unread input is at `start..end`.
    buffer: BytesMut,
    start: usize,
    end: usize,
    /// The number of bytes after `start` that are known to hold no `\n`. A long line that arrives
    /// in small reads is searched once, not once a read.
    searched: usize,
    /// The largest read since the buffer was allocated. It sizes the next buffer.
    largest_read: usize,
    /// The capacity to allocate for the next run's lines, by the size of the last run.
    lines_hint: usize,
}

impl LineSplitter {
    /// Creates a splitter without input. The first [`spare_mut`](Self::spare_mut) allocates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns free space to read into: at least 4 KiB, and up to 256 KiB for a source that fills
    /// the space it gets.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.end < self.min_spare_bytes() {
            self.make_room();
        }
        &mut self.buffer[self.end..]
    }

    /// Takes the first `n` bytes of [`spare_mut`](Self::spare_mut) as input.
    ///
    /// # Panics
    /// If `n` is greater than the length of the space that was returned.
    pub fn commit(&mut self, n: usize) {
        assert!(
            n <= self.buffer.len() - self.end,
            "more bytes were committed than the spare space holds"
        );
        self.end += n;
        self.largest_read = self.largest_read.max(n);
    }

    /// Copies `chunk` in.
    pub fn push(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let spare = self.spare_mut();
            let n = spare.len().min(chunk.len());
            spare[..n].copy_from_slice(&chunk[..n]);
            self.commit(n);
            chunk = &chunk[n..];
        }
    }

    /// Returns the complete lines as one run that shares the buffer. No line is copied.
    pub fn take_lines(&mut self) -> Lines {
        let unread = &self.buffer[self.start..self.end];
        let mut found = LineSpans {
            spans: Vec::with_capacity(self.lines_hint.min(unread.len())),
            continued: Vec::new(),
        };
        let consumed = find_lines(unread, self.searched, &mut found);
        self.searched = unread.len() - consumed;
        self.lines_hint = found.spans.len() + found.spans.len() / 8;
        let run = self.split_off(consumed);
        Lines::from_parts(run, found.spans).with_continued(found.continued)
    }

    /// Discards the complete lines and returns their number: exactly as many as
    /// [`take_lines`](Self::take_lines) would return.
    pub fn discard_lines(&mut self) -> u64 {
        let unread = &self.buffer[self.start..self.end];
        let (count, consumed) = count_lines(unread, self.searched);
        self.searched = unread.len() - consumed;
        self.start += consumed;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        count
    }

    /// Ends the input: returns the remaining lines, including a last one without a terminator. The
    /// splitter is empty afterwards.
    pub fn finish(&mut self) -> Lines {
        let unread = &self.buffer[self.start..self.end];
        let mut found = LineSpans::default();
        let consumed = find_lines(unread, self.searched, &mut found);
        found.push_pieces(unread, consumed, unread.len());
        self.searched = 0;
        let run = self.split_off(unread.len());
        Lines::from_parts(run, found.spans).with_continued(found.continued)
    }

    /// Returns the text of the unfinished line as a terminal shows it.
    ///
    /// A `\r` begins the text anew, as in a progress bar. Escape sequences are kept. The text is at
    /// most 16 KiB long and does not end inside a character. The bytes are still part of the line
    /// that [`take_lines`](Self::take_lines) returns once it has ended.
    pub fn partial(&self) -> &[u8] {
        partial_text(&self.buffer[self.start..self.end])
    }

    /// Returns the number of bytes that wait for the end of their line. It is at most
    /// [`MAX_LINE_BYTES`](super::MAX_LINE_BYTES) + 1 after [`take_lines`](Self::take_lines) or
    /// [`discard_lines`](Self::discard_lines).
    pub fn pending_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Splits `consumed` unread bytes off the buffer. The allocation is shared.
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

    /// Returns the smallest space that is worth a read.
    fn min_spare_bytes(&self) -> usize {
        (self.buffer_bytes() / 4).max(MIN_BUFFER_BYTES / 2)
    }

    /// Returns the size of a new buffer: four times the largest read, within bounds. A busy source
    /// gets large reads, and a source that writes a line now and then keeps no large buffer.
    fn buffer_bytes(&self) -> usize {
        (4 * self.largest_read).clamp(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES)
    }

    /// Moves the unread input to the front of this buffer if that makes enough space, or else to a
    /// new buffer.
    fn make_room(&mut self) {
        let pending = self.pending_bytes();
        if self.buffer.len() >= pending + self.min_spare_bytes() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
        } else {
            let mut fresh = BytesMut::zeroed(self.buffer_bytes() + pending);
            fresh[..pending].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = fresh;
            self.largest_read = 0;
        }
        self.start = 0;
        self.end = pending;
    }
}

impl fmt::Debug for LineSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSplitter")
            .field("pending_bytes", &self.pending_bytes())
            .field("capacity", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_LINE_BYTES;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence::WithSource;
    use std::ops::Range;

    /// Returns the lines of `text`, found by the simplest code.
    fn contents(text: &[u8]) -> Vec<&[u8]> {
        let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
        let unterminated = lines.pop().filter(|last| !last.is_empty());
        for line in &mut lines {
            *line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        lines.extend(unterminated);
        lines
    }

    /// Returns the lines of a run, each with whether it goes on in the next one.
    fn pieces(lines: &Lines) -> Vec<(Vec<u8>, bool)> {
        let pieces = (0u32..).zip(lines.iter());
        pieces
            .map(|(index, line)| (line.to_vec(), lines.continued().contains(&index)))
            .collect()
    }

    /// Returns the lines that a splitter finds in `text` as one chunk, each with whether it goes on
    /// in the next one.
    fn whole(text: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let mut splitter = LineSplitter::new();
        splitter.push(text);
        pieces(&splitter.finish())
    }

    /// Cuts `text` into chunks. Cuts at the same place make empty chunks.
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

    /// Generates text with many special cases: whole and half terminators, characters of every
    /// length, invalid UTF-8, and lines about as long as one or two pieces.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let long = (
            prop::sample::select(vec!["a", "é", "€", "😀"]),
            0..9usize,
            1..3usize,
            "[abc]{0,3}",
        )
            .prop_map(|(unit, less, pieces, shift)| {
                let bytes = MAX_LINE_BYTES * pieces + 4 - less;
                (shift + &unit.repeat(bytes / unit.len())).into_bytes()
            });
        let part = prop_oneof![
            6 => Just(b"\n".to_vec()),
            3 => Just(b"\r\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            6 => "[a-zé€😀]{0,12}".prop_map(String::into_bytes),
            2 => vec(any::<u8>(), 0..5),
            1 => long,
            1 => (
                vec(prop_oneof![Just(0x80), Just(0xF0), Just(b'a')], 1..9),
                MAX_LINE_BYTES - 9..MAX_LINE_BYTES + 9,
            )
                .prop_map(|(unit, length)| unit.into_iter().cycle().take(length).collect()),
        ];
        vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            // Beside this file, as `splitter.proptest-regressions`.
            failure_persistence: Some(Box::new(WithSource("proptest-regressions"))),
            ..ProptestConfig::with_cases(128)
        })]

        #[test]
        fn lines_are_whole_and_long_ones_in_pieces_that_cut_no_character(text in texts()) {
            let mut pieces = whole(&text).into_iter();
            for line in contents(&text) {
                let (mut got, mut continued) = pieces.next().expect("a piece of every line");
                let mut last = got.len();
                prop_assert!(last <= MAX_LINE_BYTES);
                while got.len() < line.len() {
                    prop_assert!(continued, "a piece that goes on is not marked");
                    // A piece is short by at most three bytes, where a character would not fit.
                    prop_assert!(last >= MAX_LINE_BYTES - 3, "a piece is shorter than it must be");
                    let (piece, goes_on) = pieces.next().expect("the line goes on");
                    continued = goes_on;
                    last = piece.len();
                    prop_assert!((1..=MAX_LINE_BYTES).contains(&last));
                    if std::str::from_utf8(line).is_ok() {
                        prop_assert!(std::str::from_utf8(&piece).is_ok(), "a character was cut");
                    }
                    got.extend(piece);
                }
                prop_assert!(!continued, "the last piece is marked");
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
                    for line in pieces(&splitter.take_lines()) {
                        prop_assert_eq!(&line, &expected[at]);
                        at += 1;
                    }
                } else {
                    at += splitter.discard_lines() as usize;
                }
                prop_assert!(splitter.pending_bytes() <= MAX_LINE_BYTES + 1);
            }
            for line in pieces(&splitter.finish()) {
                prop_assert_eq!(&line, &expected[at]);
                at += 1;
            }
            prop_assert_eq!(at, expected.len());
            prop_assert_eq!(splitter.pending_bytes(), 0);
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
                count += splitter.discard_lines();
            }
            count += splitter.finish().len() as u64;
            prop_assert_eq!(count, whole(&text).len() as u64);
        }
    }

    /// Lines of about the maximum length, with a read that ends inside the terminator. Random input
    /// rarely covers this.
    #[test]
    fn the_longest_line_and_its_neighbours_are_cut_alike_by_splitting_and_counting() {
        for length in MAX_LINE_BYTES - 1..=MAX_LINE_BYTES + 2 {
            for terminator in ["\n", "\r\n", "\r\r\n", "\r", "\ra\n", ""] {
                let text = [&[b'a'].repeat(length)[..], terminator.as_bytes(), b"next\n"].concat();
                let expected: usize = contents(&text)
                    .iter()
                    .map(|line| line.len().div_ceil(MAX_LINE_BYTES).max(1))
                    .sum();
                for cut in length - 1..=text.len() {
                    let (mut split, mut counted) = (LineSplitter::new(), LineSplitter::new());
                    let (mut lines, mut count) = (0, 0);
                    for chunk in [&text[..cut], &text[cut..]] {
                        split.push(chunk);
                        lines += split.take_lines().len();
                        counted.push(chunk);
                        count += counted.discard_lines() as usize;
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
        let room = splitter.spare_mut();
        room[..4].copy_from_slice(b"a\nbc");
        let address = room.as_ptr();
        splitter.commit(4);
        let run = splitter.take_lines();
        assert_eq!(run.iter().next().map(<[u8]>::as_ptr), Some(address));
        assert_eq!(splitter.pending_bytes(), 2);
    }

    #[test]
    fn the_buffer_follows_the_size_of_the_reads() {
        let mut splitter = LineSplitter::new();
        let mut largest_room = 0;
        for _ in 0..12 {
            let room = splitter.spare_mut().len();
            largest_room = largest_room.max(room);
            splitter.commit(room);
            splitter.discard_lines();
        }
        assert!(
            largest_room >= MAX_BUFFER_BYTES / 2,
            "a source that fills its space gets more"
        );
        for _ in 0..2 * MAX_BUFFER_BYTES / 100 {
            splitter.spare_mut()[99] = b'\n';
            splitter.commit(100);
            splitter.take_lines();
        }
        assert!(
            splitter.buffer.len() <= MIN_BUFFER_BYTES,
            "a source that writes little keeps no large buffer"
        );
    }
}
