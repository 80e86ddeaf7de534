//! A run of lines that is published with one call.

use std::ops::Range;

use bytes::Bytes;

use super::line_ends::for_each_line;

/// A run of lines without their terminators: one text, and the byte range of each line in it.
///
/// A publisher can make one `Lines` of each read from a pipe, and publish it with one call. The
/// lines share the buffer.
///
/// ```
/// use outrace::Lines;
/// let lines = Lines::split("one\r\ntwo\nthree");
/// assert!(lines.iter().eq(["one", "two", "three"].map(str::as_bytes)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lines {
    text: Text,
    spans: Vec<(u32, u32)>,
    bytes: usize,
    /// The length of the longest line in bytes.
    longest: usize,
    stream: Option<OutputStream>,
    past: bool,
    /// The indexes of the lines that go on in the next line of their stream, ascending.
    continued: Vec<u32>,
}

/// The stream of a process that a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

#[derive(Clone, Debug)]
enum Text {
    Shared(Bytes),
    Owned(Vec<u8>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl std::ops::Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl Lines {
    /// Creates an empty run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one line. Copies it to the end of the text, and the text too if it is shared.
    ///
    /// # Panics
    /// Panics when the text would exceed 4 GiB.
    pub fn push(&mut self, line: &[u8]) {
        if let Text::Shared(shared) = &mut self.text {
            self.text = Text::Owned(std::mem::take(shared).into());
        }
        let Text::Owned(text) = &mut self.text else {
            unreachable!("the text was made owned above")
        };
        let start = offset(text.len());
        let end = offset(text.len() + line.len());
        text.extend_from_slice(line);
        self.spans.push((start, end));
        self.bytes += line.len();
        self.longest = self.longest.max(line.len());
    }

    /// Creates a run from a text and the `(start, end)` byte offsets of its lines, without copying.
    ///
    /// The lines have the order of the spans. Bytes that no span covers, such as terminators, are
    /// not sent.
    ///
    /// # Panics
    /// Panics when a span ends before it starts, or after the text.
    pub fn from_parts(text: Bytes, spans: Vec<(u32, u32)>) -> Self {
        let (mut bytes, mut longest) = (0, 0);
        for &(start, end) in &spans {
            assert!(
                start <= end && end as usize <= text.len(),
                "a line at {start}..{end} is not within a text of {} bytes",
                text.len()
            );
            let len = (end - start) as usize;
            bytes += len;
            longest = longest.max(len);
        }
        Self {
            text: Text::Shared(text),
            spans,
            bytes,
            longest,
            ..Self::default()
        }
    }

    /// Says which stream all these lines were written to.
    #[must_use]
    pub fn with_stream(mut self, stream: OutputStream) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Says that all these lines were written before they were followed: they are the past of a
    /// file.
    #[must_use]
    pub fn with_past(mut self) -> Self {
        self.past = true;
        self
    }

    /// Says which lines, by their ascending indexes, are pieces of a longer line that goes on in
    /// the next line of the same stream.
    #[must_use]
    pub fn with_continued(mut self, indexes: Vec<u32>) -> Self {
        self.continued = indexes;
        self
    }

    /// Returns the stream that these lines were written to, if it is known.
    pub fn stream(&self) -> Option<OutputStream> {
        self.stream
    }

    /// Returns whether these lines were written before they were followed.
    pub fn is_past(&self) -> bool {
        self.past
    }

    /// Returns the ascending indexes of the lines that go on in the next one.
    pub fn continued(&self) -> &[u32] {
        &self.continued
    }

    /// Splits a text into lines, which end at `\n` or `\r\n`. The last line needs no terminator.
    ///
    /// # Panics
    /// Panics when the text is longer than 4 GiB.
    pub fn split(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        let end_of_text = offset(text.len());
        let mut spans = Vec::new();
        let start = offset(for_each_line(&text, 0, |start, end| {
            spans.push((offset(start), offset(end)));
        }));
        if start < end_of_text {
            spans.push((start, end_of_text));
        }
        Self::from_parts(text, spans)
    }

    /// Drops the first `lines` lines, which must be there. Their text is kept.
    pub(crate) fn without_first(mut self, lines: usize) -> Self {
        self.bytes -= self.spans[..lines]
            .iter()
            .map(|&(start, end)| (end - start) as usize)
            .sum::<usize>();
        self.spans.drain(..lines);
        self.continued.retain_mut(|index| {
            let is_left = *index as usize >= lines;
            *index = index.saturating_sub(lines as u32);
            is_left
        });
        self
    }

    /// Returns the number of lines.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the run has no line. An empty line counts as a line.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the length of all lines in bytes, without terminators.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Returns the length of the longest line in bytes; 0 without lines.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Returns the length of each line in bytes.
    pub(crate) fn line_lens(&self) -> impl ExactSizeIterator<Item = usize> {
        self.spans
            .iter()
            .map(|&(start, end)| (end - start) as usize)
    }

    /// Returns some of the lines by their indexes, without copying them. They keep their stream,
    /// their past and their pieces.
    ///
    /// # Panics
    /// Panics when the range ends after the last line.
    pub(crate) fn slice(&mut self, lines: Range<usize>) -> Self {
        let text = match &mut self.text {
            Text::Shared(text) => text.clone(),
            Text::Owned(text) => {
                let shared = Bytes::from(std::mem::take(text));
                self.text = Text::Shared(shared.clone());
                shared
            }
        };
        Self {
            stream: self.stream,
            past: self.past,
            continued: self.continued_within(lines.clone()),
            ..Self::from_parts(text, self.spans[lines].to_vec())
        }
    }

    /// Copies some of the lines by their indexes. A shared text is not copied. The lines keep their
    /// stream, their past and their pieces.
    ///
    /// # Panics
    /// Panics when the range ends after the last line.
    pub(crate) fn part(&self, lines: Range<usize>) -> Self {
        match &self.text {
            Text::Shared(_) => self.clone().slice(lines),
            // Lines that were pushed lie one behind the other.
            Text::Owned(text) => {
                let spans = &self.spans[lines.clone()];
                let base = spans.first().map_or(0, |span| span.0);
                let end = spans.last().map_or(0, |span| span.1);
                let mut part = Self {
                    text: Text::Owned(text[base as usize..end as usize].to_vec()),
                    bytes: 0,
                    longest: 0,
                    spans: spans.iter().map(|&(a, b)| (a - base, b - base)).collect(),
                    stream: self.stream,
                    past: self.past,
                    continued: self.continued_within(lines),
                };
                part.bytes = part.line_lens().sum();
                part.longest = part.line_lens().max().unwrap_or(0);
                part
            }
        }
    }

    /// Returns the indexes of the continued lines among some lines, counted from the first of them.
    fn continued_within(&self, lines: Range<usize>) -> Vec<u32> {
        let (start, end) = (lines.start as u32, lines.end as u32);
        let continued = self.continued.iter();
        continued
            .filter(|&&index| start <= index && index < end)
            .map(|index| index - start)
            .collect()
    }

    /// Cuts the lines that are longer than `cut` allows. `cut` returns the length of the first
    /// piece of a line that is not empty, which is its whole length if it needs no cut. Each piece
    /// becomes a line, and all pieces of a line but the last go on in the next one.
    pub(crate) fn cut(self, cut: impl Fn(&[u8]) -> usize) -> Self {
        let (stream, past) = (self.stream, self.past);
        let continued = self.continued.clone();
        let mut continues = continued.iter().copied().peekable();
        let (text, spans) = self.into_parts();
        let mut pieces = Vec::with_capacity(spans.len() + 1);
        let mut continued = Vec::new();
        for (index, (mut start, end)) in (0u32..).zip(spans) {
            while start < end {
                let line = &text[start as usize..end as usize];
                let len = cut(line).clamp(1, line.len());
                if len == line.len() {
                    break;
                }
                continued.push(pieces.len() as u32);
                pieces.push((start, start + len as u32));
                start += len as u32;
            }
            if continues.next_if_eq(&index).is_some() {
                continued.push(pieces.len() as u32);
            }
            pieces.push((start, end));
        }
        Self {
            stream,
            past,
            continued,
            ..Self::from_parts(text, pieces)
        }
    }

    /// Iterates over the lines in order.
    pub fn iter(&self) -> LinesIter<'_> {
        LinesIter {
            text: &self.text,
            spans: self.spans.iter(),
        }
    }

    /// Returns the text and the `(start, end)` byte offsets of its lines, without copying. This is
    /// the inverse of [`from_parts`](Self::from_parts).
    pub fn into_parts(self) -> (Bytes, Vec<(u32, u32)>) {
        let text = match self.text {
            Text::Shared(text) => text,
            Text::Owned(text) => text.into(),
        };
        (text, self.spans)
    }
}

/// Iterates over the lines of a run. Returned by [`Lines::iter`].
#[derive(Clone, Debug)]
pub struct LinesIter<'a> {
    text: &'a [u8],
    spans: std::slice::Iter<'a, (u32, u32)>,
}

impl<'a> Iterator for LinesIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let &(start, end) = self.spans.next()?;
        Some(&self.text[start as usize..end as usize])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }

    fn nth(&mut self, lines: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.spans.nth(lines)?;
        Some(&self.text[start as usize..end as usize])
    }
}

impl ExactSizeIterator for LinesIter<'_> {}

impl<'a> IntoIterator for &'a Lines {
    type Item = &'a [u8];
    type IntoIter = LinesIter<'a>;

    fn into_iter(self) -> LinesIter<'a> {
        self.iter()
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a run of lines holds at most 4 GiB")
}

impl<T: AsRef<[u8]>> FromIterator<T> for Lines {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        let mut run = Self::new();
        run.extend(lines);
        run
    }
}

impl<T: AsRef<[u8]>> Extend<T> for Lines {
    fn extend<I: IntoIterator<Item = T>>(&mut self, lines: I) {
        for line in lines {
            self.push(line.as_ref());
        }
    }
}

/// Two runs are equal if they have the same lines in the same order, at any offsets.
impl PartialEq for Lines {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Lines {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_end_at_newlines_and_a_last_one_without_counts() {
        let of = |text: &'static str| {
            Lines::split(text)
                .iter()
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        };
        assert!(of("").is_empty());
        assert_eq!(of("\n"), [b""]);
        assert_eq!(of("\r\n"), [b""]);
        assert_eq!(of("a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(of("a\r\r\nb\r"), [&b"a\r"[..], b"b\r"]);
    }

    #[test]
    #[should_panic(expected = "is not within a text of 3 bytes")]
    fn a_span_outside_the_text_is_refused() {
        Lines::from_parts(Bytes::from_static(b"abc"), vec![(0, 4)]);
    }

    #[test]
    fn a_line_can_be_added_to_a_shared_text() {
        let text = Bytes::from_static(b"one\n");
        let mut lines = Lines::split(text.clone());
        lines.push(b"two");
        assert_eq!(lines, ["one", "two"].into_iter().collect());
        assert_eq!(text, "one\n");
    }

    #[test]
    fn a_slice_and_a_cut_keep_what_is_known_of_the_lines() {
        let mut lines = ["aaaa", "b", "cccccc"].iter().collect::<Lines>();
        lines = lines
            .with_stream(OutputStream::Stderr)
            .with_past()
            .with_continued(vec![1, 2]);
        let part = lines.slice(1..3);
        assert_eq!(part, ["b", "cccccc"].iter().collect());
        assert_eq!(part.continued(), [0, 1]);
        assert!(part.is_past() && part.stream() == Some(OutputStream::Stderr));
        assert_eq!((part.longest(), part.byte_len()), (6, 7));
        let cut = lines.cut(|line| line.len().min(4));
        assert_eq!(cut, ["aaaa", "b", "cccc", "cc"].iter().collect());
        assert_eq!(cut.continued(), [1, 2, 3]);
        assert!(cut.is_past() && cut.stream() == Some(OutputStream::Stderr));
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_lines_they_were_cut_from(
            lines: Vec<Vec<u8>>, most in 1usize..9,
        ) {
            let run: Lines = lines.iter().collect();
            let cut = run.cut(|line| line.len().min(most));
            prop_assert!(cut.longest() <= most);
            let (mut joined, mut open) = (Vec::new(), Vec::new());
            for (index, piece) in (0u32..).zip(cut.iter()) {
                open.extend_from_slice(piece);
                if !cut.continued().contains(&index) {
                    joined.push(std::mem::take(&mut open));
                }
            }
            prop_assert_eq!(joined, lines);
        }

        #[test]
        fn what_was_joined_is_what_is_split(lines: Vec<Vec<u8>>, last in "[^\r\n]{1,8}") {
            let lines: Vec<Vec<u8>> = lines
                .into_iter()
                .map(|line| line.into_iter().filter(|b| !b"\r\n".contains(b)).collect())
                .collect();
            let mut text = Vec::new();
            for (i, line) in lines.iter().enumerate() {
                text.extend_from_slice(line);
                text.extend_from_slice(if i % 2 == 0 { b"\n" } else { b"\r\n" });
            }
            text.extend_from_slice(last.as_bytes());
            let split = Lines::split(text);
            let expected = lines.iter().map(Vec::as_slice).chain([last.as_bytes()]);
            let expected: Lines = expected.collect();
            prop_assert_eq!(split.len(), lines.len() + 1);
            prop_assert_eq!(split.iter().len(), split.len());
            prop_assert_eq!(split.byte_len(), split.iter().map(<[u8]>::len).sum::<usize>());
            prop_assert_eq!(&split, &expected);
            let (text, spans) = expected.clone().into_parts();
            prop_assert_eq!(Lines::from_parts(text, spans), expected);
        }
    }
}
