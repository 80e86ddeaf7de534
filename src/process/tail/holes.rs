//! Holes of files: ranges that hold no data and read as NULs. A truncation under a writer that does
//! not append leaves one, as large as the file was.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The number of NULs that are a hole wherever they are. A shorter run within a line is text.
pub(super) const MIN_RUN_BYTES: usize = 16;

/// The size of a read in search of the end of a hole.
const SCAN_READ_BYTES: usize = 64 * 1024;

/// The most ranges of data that are looked at in search of the last one before an offset.
const MAX_RANGES: usize = 4096;

/// Returns the length of the text at the beginning of `chunk`, up to the next hole. `at_line_start`
/// says whether `chunk` begins a line.
///
/// A run of NULs is a hole if it begins a line, or if it is long. Linear, at the speed of a search
/// for NUL in text without any.
pub(super) fn text_len(chunk: &[u8], at_line_start: bool, unit_bytes: usize) -> usize {
    let mut searched = 0;
    while let Some(found) = memchr::memchr(0, &chunk[searched..]) {
        let start = searched + found;
        let run = chunk[start..].iter().take_while(|&&byte| byte == 0).count();
        let begins_line = match start {
            0 => at_line_start,
            _ => chunk[start - 1] == b'\n',
        };
        // Half of each character of UTF-16 is NUL, and so a run is a hole only by its length.
        if run >= MIN_RUN_BYTES || begins_line && unit_bytes == 1 {
            return start.next_multiple_of(unit_bytes).min(chunk.len());
        }
        searched = start + run;
    }
    chunk.len()
}

/// The outcome of a search for the end of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoleEnd {
    /// There is text at this offset.
    Text(u64),
    /// There is nothing but NULs up to this offset, where the search may go on.
    Unknown(u64),
    /// There is nothing but NULs up to the end of the file.
    EndOfFile,
}

/// Searches for the first byte from `offset` on that is not NUL, and reads at most about
/// `max_bytes`. A hole without data costs no read.
pub(super) fn hole_end(file: &File, mut offset: u64, max_bytes: u64) -> io::Result<HoleEnd> {
    let mut buffer = vec![0; SCAN_READ_BYTES];
    let limit = offset.saturating_add(max_bytes);
    let mut scanned = offset;
    while scanned < limit {
        match next_data(file, offset) {
            NextData::At(data) => offset = offset.max(data),
            NextData::None => return Ok(HoleEnd::EndOfFile),
            NextData::Unknown => {}
        }
        let n = file.read_at(&mut buffer, offset)?;
        if n == 0 {
            return Ok(HoleEnd::EndOfFile);
        }
        if let Some(text) = buffer[..n].iter().position(|&byte| byte != 0) {
            return Ok(HoleEnd::Text(offset + text as u64));
        }
        offset += n as u64;
        scanned += n as u64;
    }
    Ok(HoleEnd::Unknown(offset))
}

/// Returns the end of the last range of data before `offset`, or `offset` if the file system does
/// not tell.
pub(super) fn data_end_before(file: &File, offset: u64) -> u64 {
    let (mut position, mut data_end) = (0, 0);
    for _ in 0..MAX_RANGES {
        match next_data(file, position) {
            NextData::At(data) if data < offset => match seek_hole(file, data) {
                Some(hole) if hole < offset => (position, data_end) = (hole, hole),
                _ => return offset,
            },
            NextData::At(_) | NextData::None => return data_end,
            NextData::Unknown => return offset,
        }
    }
    offset
}

enum NextData {
    At(u64),
    /// There is no data up to the end of the file.
    None,
    /// The file system does not tell.
    Unknown,
}

/// Finds data. The position of the open file is changed, and all reads say their own.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
fn next_data(file: &File, offset: u64) -> NextData {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => NextData::At(data),
        Err(Errno::NXIO) => NextData::None,
        Err(_) => NextData::Unknown,
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
fn seek_hole(file: &File, offset: u64) -> Option<u64> {
    seek(file, SeekFrom::Hole(offset)).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
fn next_data(_: &File, _: u64) -> NextData {
    NextData::Unknown
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
fn seek_hole(_: &File, _: u64) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_where_nuls_begin_a_line_or_are_many() {
        let many = "\0".repeat(MIN_RUN_BYTES);
        for (text, at_line_start, expected) in [
            ("", true, 0),
            ("one\ntwo\n", true, 8),
            ("\0one", true, 0),
            ("\0one", false, 4),
            ("one\n\0two", true, 4),
            ("o\0ne\n\0", true, 5),
            (&format!("one{many}two"), true, 3),
            (&format!("one{}two", &many[1..]), true, 5 + MIN_RUN_BYTES),
        ] {
            assert_eq!(
                text_len(text.as_bytes(), at_line_start, 1),
                expected,
                "{text:?}"
            );
        }
        // Half of a newline in UTF-16 is a NUL before the hole.
        assert_eq!(text_len(format!("a\0\n\0{many}").as_bytes(), true, 2), 4);
        assert_eq!(text_len(b"a\0\n\0b\0", true, 2), 6);
    }

    #[test]
    fn a_long_search_goes_on_where_it_was_left() {
        let path = std::env::temp_dir().join(format!("outrace-holes-{}", std::process::id()));
        let zeros = 3 * SCAN_READ_BYTES;
        std::fs::write(
            &path,
            [vec![0; zeros], b"text".to_vec(), vec![0; 99]].concat(),
        )
        .unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let step = SCAN_READ_BYTES as u64;
        let unknown = HoleEnd::Unknown(step);
        assert_eq!(hole_end(&file, 0, step).unwrap(), unknown);
        let text = HoleEnd::Text(zeros as u64);
        assert_eq!(hole_end(&file, step, 9 * step).unwrap(), text);
        let rest = hole_end(&file, zeros as u64 + 4, step).unwrap();
        assert_eq!(rest, HoleEnd::EndOfFile);
    }
}
