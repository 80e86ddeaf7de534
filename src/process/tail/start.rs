//! The place to begin in a file that has content already.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::encoding::Encoding;
use super::holes;

/// The number of bytes that one read takes in search of a line.
const SEARCH_READ_BYTES: usize = 64 * 1024;

/// The place to begin in a file that exists at the first check. A file that appears later is read
/// from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartPosition {
    Beginning,
    LastLines(u64),
    /// The line of this number. The first line has the number 1.
    Line(u64),
}

impl StartPosition {
    /// Returns the offset of this position within the first `length` bytes of a file.
    pub(super) fn offset(self, file: &File, length: u64, encoding: Encoding) -> io::Result<u64> {
        match self {
            Self::Beginning => Ok(0),
            Self::LastLines(lines) => last_lines(file, length, lines, encoding),
            Self::Line(number) => line(file, length, number, encoding),
        }
    }
}

/// Returns the offset of the last `lines` lines of the first `length` bytes. A trailing
/// unterminated line is included and not counted, since it is still being written.
fn last_lines(file: &File, length: u64, lines: u64, encoding: Encoding) -> io::Result<u64> {
    let mut buffer = vec![0; SEARCH_READ_BYTES];
    let mut wanted = lines;
    // A unit of two bytes is never cut: `end` and the size of a step are even.
    let mut end = length - length % encoding.unit_bytes() as u64;
    while end > 0 {
        let step = usize::try_from(end)
            .unwrap_or(SEARCH_READ_BYTES)
            .min(SEARCH_READ_BYTES);
        let chunk = &mut buffer[..step];
        let start = end - step as u64;
        file.read_exact_at(chunk, start)?;
        for at in memchr::memrchr_iter(b'\n', chunk) {
            let Some(line_end) = encoding.line_end(chunk, at) else {
                continue;
            };
            if wanted == 0 {
                return Ok(start + line_end as u64);
            }
            wanted -= 1;
        }
        let is_empty = chunk.iter().all(|&byte| byte == 0);
        end = if is_empty {
            let data_end = holes::data_end_before(file, start);
            data_end - data_end % encoding.unit_bytes() as u64
        } else {
            start
        };
    }
    Ok(0)
}

/// Returns the offset of the line `number`, or `length` if there are fewer lines.
fn line(file: &File, length: u64, number: u64, encoding: Encoding) -> io::Result<u64> {
    let mut buffer = vec![0; SEARCH_READ_BYTES];
    let mut to_skip = number.saturating_sub(1);
    let mut start = 0;
    while to_skip > 0 && start < length {
        let step = usize::try_from(length - start)
            .unwrap_or(SEARCH_READ_BYTES)
            .min(SEARCH_READ_BYTES);
        let chunk = &mut buffer[..step];
        file.read_exact_at(chunk, start)?;
        for at in memchr::memchr_iter(b'\n', chunk) {
            let Some(line_end) = encoding.line_end(chunk, at) else {
                continue;
            };
            to_skip -= 1;
            if to_skip == 0 {
                return Ok(start + line_end as u64);
            }
        }
        start += step as u64;
    }
    Ok(start)
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
                    1 => SEARCH_READ_BYTES - 2..SEARCH_READ_BYTES + 2,
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
            let offset = last_lines(&file, text.len() as u64, wanted as u64, Encoding::Utf8).unwrap();
            prop_assert_eq!(offset, skipped as u64);
        }
    }
}
