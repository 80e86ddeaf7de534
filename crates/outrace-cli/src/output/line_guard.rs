//! Keeps lines whole on an output that fails now and then, and counts those that it leaves out.
//!
//! Pure: the caller does the writing.

use std::io;

use memchr::{memchr, memchr_iter};

/// The most that is kept of a line whose beginning was written. A longer one is cut.
const MAX_TORN_BYTES: usize = 64 * 1024;

/// What was not written. A line of which a part is missing counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// The state of an output between two writes.
///
/// A failed write may leave the beginning of a line behind. Its rest is kept, and is written before
/// anything else. All other lines of a failed write are left out whole.
#[derive(Debug, Default)]
pub(super) struct LineGuard {
    /// The rest of a line whose beginning was written.
    torn: Vec<u8>,
    /// Whether the last byte written was no line end.
    in_line: bool,
    /// The bytes left out of the current line, of which nothing is to be written. 0 if it is not
    /// being left out.
    skipped_bytes: usize,
    loss: Loss,
}

impl LineGuard {
    /// Writes `bytes` by means of `write`, which returns how many bytes the system took.
    ///
    /// Returns whether anything was written.
    ///
    /// # Errors
    /// Returns the error of `write`. What is not written by then is left out, and counted.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let bytes = self.skip(bytes);
        let bytes = self.complete_torn(bytes);
        let mut has_written = false;
        while !self.torn.is_empty() {
            match write(&self.torn) {
                Ok(n) => {
                    self.in_line = self.torn[..n].last().map_or(self.in_line, |&b| b != b'\n');
                    self.torn.drain(..n);
                    has_written |= n > 0;
                }
                Err(error) => {
                    self.leave_out(bytes);
                    return Err(error);
                }
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match write(rest) {
                Ok(n) => {
                    self.in_line = rest[..n].last().map_or(self.in_line, |&b| b != b'\n');
                    rest = &rest[n..];
                    has_written |= n > 0;
                }
                Err(error) => {
                    if self.in_line {
                        rest = self.complete_torn_with(rest);
                    }
                    self.leave_out(rest);
                    return Err(error);
                }
            }
        }
        Ok(has_written)
    }

    /// Returns what was left out since the last call.
    pub(super) fn take_loss(&mut self) -> Loss {
        std::mem::take(&mut self.loss)
    }

    /// Gives up the rest of a torn line, and counts it.
    pub(super) fn give_up(&mut self) {
        let torn = std::mem::take(&mut self.torn);
        if !torn.is_empty() {
            self.loss.lines += 1;
            self.loss.bytes += torn.len() as u64;
        }
    }

    /// Passes over the rest of a line that is being left out. Returns what follows.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.skipped_bytes == 0 {
            return bytes;
        }
        let end = memchr(b'\n', bytes);
        let skipped = end.map_or(bytes.len(), |end| end + 1);
        self.loss.bytes += skipped as u64;
        self.skipped_bytes += skipped;
        // Bytes without line ends are no text. They go on where they can.
        if end.is_some() || self.skipped_bytes > MAX_TORN_BYTES {
            self.skipped_bytes = 0;
        }
        &bytes[skipped..]
    }

    /// Adds to a torn line as far as it goes. Returns what follows.
    fn complete_torn<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.torn.is_empty() || self.torn.ends_with(b"\n") {
            bytes
        } else {
            self.complete_torn_with(bytes)
        }
    }

    fn complete_torn_with<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        if self.torn.len() + end > MAX_TORN_BYTES {
            self.torn.push(b'\n');
            self.leave_out(&bytes[..end]);
        } else {
            self.torn.extend_from_slice(&bytes[..end]);
        }
        &bytes[end..]
    }

    /// Leaves out lines, of which the last may go on in the next write.
    fn leave_out(&mut self, bytes: &[u8]) {
        let ends = memchr_iter(b'\n', bytes).count();
        self.loss.bytes += bytes.len() as u64;
        self.loss.lines += ends as u64;
        if bytes.last().is_some_and(|&last| last != b'\n') {
            self.loss.lines += 1;
            self.skipped_bytes = bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An output that takes as many bytes as it has room for.
    #[derive(Default)]
    struct Disk {
        content: Vec<u8>,
        room: usize,
    }

    impl Disk {
        fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= n;
            self.content.extend_from_slice(&bytes[..n]);
            Ok(n)
        }
    }

    #[test]
    fn a_torn_line_is_completed_and_the_lines_behind_it_are_left_out_and_counted() {
        let (mut guard, mut disk) = (LineGuard::default(), Disk::default());
        disk.room = 6;
        let full = guard.write(b"one\ntwo\nthree\nfo", |bytes| disk.take(bytes));
        assert!(full.is_err() && disk.content == b"one\ntw");
        assert!(
            guard
                .write(b"ur\nfive\n", |bytes| disk.take(bytes))
                .is_err()
        );
        disk.room = 100;
        assert!(guard.write(b"six\n", |bytes| disk.take(bytes)).unwrap());
        assert_eq!(disk.content, b"one\ntwo\nsix\n");
        assert_eq!(
            guard.take_loss(),
            Loss {
                lines: 3,
                bytes: 16
            }
        );
        guard.give_up();
        assert_eq!(guard.take_loss(), Loss::default());
    }

    #[test]
    fn a_line_without_an_end_does_not_keep_an_output_shut() {
        let (mut guard, mut disk) = (LineGuard::default(), Disk::default());
        let piece = vec![b'x'; MAX_TORN_BYTES];
        assert!(guard.write(&piece, |bytes| disk.take(bytes)).is_err());
        disk.room = usize::MAX;
        assert!(!guard.write(&piece, |bytes| disk.take(bytes)).unwrap());
        assert!(guard.write(&piece, |bytes| disk.take(bytes)).unwrap());
    }

    proptest! {
        #[test]
        fn each_line_is_written_whole_and_in_order_or_counted(
            pieces in prop::collection::vec(("[a-c\n]{0,12}", 0..12_usize), 1..20),
        ) {
            let (mut guard, mut disk) = (LineGuard::default(), Disk::default());
            let mut numbered = String::new();
            let mut number = 0;
            // Each line begins with its number, so that all differ.
            let pieces: Vec<_> = pieces.iter().map(|(text, room)| {
                let mut piece = String::new();
                for c in text.chars() {
                    if numbered.is_empty() || numbered.ends_with('\n') {
                        piece += &format!("{number}:");
                        numbered += &format!("{number}:");
                        number += 1;
                    }
                    piece.push(c);
                    numbered.push(c);
                }
                (piece, *room)
            }).collect();
            for (piece, room) in &pieces {
                disk.room += room;
                let _ = guard.write(piece.as_bytes(), |bytes| disk.take(bytes));
            }
            disk.room = usize::MAX;
            let ended = if numbered.ends_with('\n') { "" } else { "\n" };
            numbered += ended;
            let _ = guard.write(ended.as_bytes(), |bytes| disk.take(bytes));
            // A write of nothing writes the rest of a torn line.
            let _ = guard.write(b"", |bytes| disk.take(bytes));
            let loss = guard.take_loss();
            let sent: Vec<_> = numbered.lines().collect();
            let content = String::from_utf8(disk.content).unwrap();
            let mut rest = sent.iter();
            for line in content.lines() {
                prop_assert!(rest.any(|sent| *sent == line), "{line:?} of {sent:?}");
            }
            prop_assert_eq!(content.lines().count() as u64 + loss.lines, sent.len() as u64);
            prop_assert_eq!(content.len() as u64 + loss.bytes, numbered.len() as u64);
        }
    }
}
