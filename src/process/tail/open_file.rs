//! One open file that is followed: the read position and the check for truncation.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The number of bytes before the read position that are compared to find a truncation after which
/// the file has grown again.
const MARK_BYTES: usize = 64;

/// The number of bytes that one backward read takes in search of the last lines.
const BACKWARD_READ_BYTES: usize = 64 * 1024;

/// The place to begin in a file that exists at the first check. A file that appears later is read
/// from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartPosition {
    Beginning,
    LastLines(u64),
}

pub(super) struct OpenFile {
    file: File,
    identity: (u64, u64),
    /// The read position.
    offset: u64,
    /// The bytes just before `offset`.
    mark: Vec<u8>,
}

impl OpenFile {
    pub(super) fn open(path: &Path, start: StartPosition) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let offset = match start {
            StartPosition::Beginning => 0,
            StartPosition::LastLines(lines) => last_lines(&file, metadata.len(), lines)?,
        };
        let mut open = Self {
            file,
            identity: identity(&metadata),
            offset,
            mark: Vec::new(),
        };
        open.read_mark()?;
        Ok(open)
    }

    /// Returns whether `metadata` describes this file: the same device and inode.
    pub(super) fn is_same_file(&self, metadata: &Metadata) -> bool {
        identity(metadata) == self.identity
    }

    /// Reads at the read position, which [`advance`](Self::advance) moves.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, self.offset)
    }

    /// Returns whether the bytes just before the read position have changed or are gone.
    ///
    /// Each call costs one small read. Length and modification time do not suffice: a file can be
    /// rewritten to its old length within one tick of its modification time.
    pub(super) fn is_truncated(&self) -> io::Result<bool> {
        let mut now = [0; MARK_BYTES];
        let now = &mut now[..self.mark.len()];
        let start = self.offset - self.mark.len() as u64;
        match self.file.read_exact_at(now, start) {
            Ok(()) => Ok(now != &self.mark[..]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Moves the read position to the beginning.
    pub(super) fn rewind(&mut self) {
        self.offset = 0;
        self.mark.clear();
    }

    /// Moves the read position behind the bytes that were read.
    pub(super) fn advance(&mut self, read: &[u8]) {
        self.offset += read.len() as u64;
        let new = &read[read.len().saturating_sub(MARK_BYTES)..];
        let kept = self.mark.len().min(MARK_BYTES - new.len());
        self.mark.drain(..self.mark.len() - kept);
        self.mark.extend_from_slice(new);
    }

    /// Reads the mark from the file. Reading may begin in the middle of it.
    fn read_mark(&mut self) -> io::Result<()> {
        let length = MARK_BYTES.min(usize::try_from(self.offset).unwrap_or(MARK_BYTES));
        self.mark.resize(length, 0);
        self.file
            .read_exact_at(&mut self.mark, self.offset - length as u64)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Returns the offset of the last `lines` lines of the first `length` bytes. A trailing
/// unterminated line is included and not counted, since it is still being written.
fn last_lines(file: &File, length: u64, lines: u64) -> io::Result<u64> {
    let mut buffer = vec![0; BACKWARD_READ_BYTES];
    let mut wanted = lines;
    let mut end = length;
    while end > 0 {
        let step = usize::try_from(end)
            .unwrap_or(BACKWARD_READ_BYTES)
            .min(BACKWARD_READ_BYTES);
        let chunk = &mut buffer[..step];
        let start = end - step as u64;
        file.read_exact_at(chunk, start)?;
        for newline in memchr::memrchr_iter(b'\n', chunk) {
            if wanted == 0 {
                return Ok(start + newline as u64 + 1);
            }
            wanted -= 1;
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn temporary(text: &[u8]) -> File {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "outrace-follow-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(path).unwrap();
        file
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_last_lines_are_found_wherever_the_steps_cut(
            lengths in prop::collection::vec(
                prop_oneof![
                    4 => 0..40usize,
                    1 => BACKWARD_READ_BYTES - 2..BACKWARD_READ_BYTES + 2,
                ],
                0..12,
            ),
            unfinished in 0..3usize,
            wanted in 0..14usize,
        ) {
            let line = |&n: &usize| [vec![b'x'; n], vec![b'\n']].concat();
            let mut text: Vec<u8> = lengths.iter().flat_map(line).collect();
            let skipped = &lengths[..lengths.len().saturating_sub(wanted)];
            let skipped: usize = skipped.iter().map(|n| n + 1).sum();
            text.extend(vec![b'y'; unfinished]);
            let file = temporary(&text);
            let offset = last_lines(&file, text.len() as u64, wanted as u64).unwrap();
            prop_assert_eq!(offset, skipped as u64);
        }
    }
}
