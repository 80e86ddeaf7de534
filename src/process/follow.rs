//! Following one file by its path, through rotations and truncations. Looks and reads; waits for nothing and knows no runtime.
//!
//! The rules, each for a single writer that writes a line before it goes on to the next file:
//! - What is at the path is read to its end. When something else is there (another device or inode) *and has something in it*, the writer is done with the old
//!   one: that is read to its end once more, and then the new one from its beginning. So nothing is lost or read twice over a rotation by renaming, however late
//!   the writer opens its new file.
//! - A file that is gone is read on as long as there is nothing new at its path: its writer may still have it open.
//! - A file that is shorter than what was read of it, or whose bytes just before that place have changed, was truncated: it is read from its beginning. What
//!   was written between the last look and the truncation is lost; nobody has kept it.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::LineFeed;

/// Bytes before the place where reading stands that are compared to find a truncation that was written over since.
const MARK: usize = 64;
/// What is read backwards at once to find the last lines.
const STEP: usize = 64 * 1024;

/// Something that happened to the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TailEvent {
    /// It is there: it is read from now on.
    Opened,
    /// Nothing is there yet, or any more, or it may not be read.
    Missing,
    /// Another file is at its path, and is read from its beginning.
    Rotated,
    /// It was cut short, and is read from its beginning.
    Truncated,
    /// All that is in it has been read and published. Told after each time that something was.
    CaughtUp,
}

/// What a look has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// So many bytes were read, and there may be more.
    Read(usize),
    /// There is nothing more for now.
    Idle,
}

/// Where to begin in a file that is there at the first look. One that appears later is read from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Start,
    LastLines(u64),
}

pub(super) struct Follower {
    path: PathBuf,
    begin: Option<Begin>,
    /// What is read in one look, about.
    most: usize,
    open: Option<OpenFile>,
    missing: bool,
}

struct OpenFile {
    file: File,
    identity: (u64, u64),
    /// Up to here it was read.
    at: u64,
    /// The bytes just before `at`.
    mark: Vec<u8>,
}

impl Follower {
    pub(super) fn new(path: &Path, begin: Begin, most: usize) -> Self {
        Self {
            path: path.to_owned(),
            begin: Some(begin),
            most,
            open: None,
            missing: false,
        }
    }

    /// Reads what is new, up to a bound, and feeds it. Linear in what is new.
    pub(super) fn look(&mut self, feed: &mut LineFeed, tell: &mut dyn FnMut(TailEvent)) -> Looked {
        let begin = self.begin.take();
        let Some(open) = &mut self.open else {
            return match OpenFile::at(&self.path, begin.unwrap_or(Begin::Start)) {
                Ok(open) => {
                    self.open = Some(open);
                    self.missing = false;
                    tell(TailEvent::Opened);
                    self.read(feed, tell)
                }
                Err(_) => {
                    if !std::mem::replace(&mut self.missing, true) {
                        tell(TailEvent::Missing);
                    }
                    Looked::Idle
                }
            };
        };
        // Looked at before the old one is read: what the writer had for the old one was in it by the time it wrote to the new one.
        let successor = match fs::metadata(&self.path) {
            Ok(there) if identity(&there) == open.identity => {
                self.missing = false;
                None
            }
            Ok(there) => (there.len() > 0).then_some(()),
            Err(_) => {
                if !std::mem::replace(&mut self.missing, true) {
                    tell(TailEvent::Missing);
                }
                None
            }
        };
        let looked = self.read(feed, tell);
        if looked != Looked::Idle || successor.is_none() {
            return looked;
        }
        let Ok(open) = OpenFile::at(&self.path, Begin::Start) else {
            return Looked::Idle;
        };
        feed.finish();
        self.open = Some(open);
        self.missing = false;
        tell(TailEvent::Rotated);
        self.read(feed, tell)
    }

    /// Reads the open file.
    fn read(&mut self, feed: &mut LineFeed, tell: &mut dyn FnMut(TailEvent)) -> Looked {
        let Some(open) = &mut self.open else {
            return Looked::Idle;
        };
        let mut read = 0;
        while read < self.most {
            let spare = feed.spare();
            let got = match open.file.read_at(spare, open.at) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // As on a file system that went away: it is looked at again later.
                Err(_) => break,
            };
            // After the read: what was there before it does not tell where the bytes are from.
            match open.is_truncated() {
                Ok(false) => {}
                Ok(true) => {
                    feed.finish();
                    open.rewind();
                    tell(TailEvent::Truncated);
                    continue;
                }
                Err(_) => break,
            }
            if got == 0 {
                break;
            }
            open.advance(&spare[..got]);
            feed.filled(got);
            read += got;
        }
        if read == 0 {
            Looked::Idle
        } else {
            Looked::Read(read)
        }
    }

    /// The folders in which something has to happen for there to be anything new: that of the path and, if the path is a link, that of its
    /// target.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let parent = |path: &Path| match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut folders = vec![parent(&self.path)];
        if let Ok(target) = fs::canonicalize(&self.path)
            && let target = parent(&target)
            && fs::canonicalize(&folders[0]).is_ok_and(|folder| folder != target)
        {
            folders.push(target);
        }
        folders
    }
}

impl OpenFile {
    fn at(path: &Path, begin: Begin) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let at = match begin {
            Begin::Start => 0,
            Begin::LastLines(lines) => last_lines(&file, metadata.len(), lines)?,
        };
        let mut open = Self {
            file,
            identity: identity(&metadata),
            at,
            mark: Vec::new(),
        };
        open.remember()?;
        Ok(open)
    }

    /// Whether the bytes just before the place where reading stands are others than they were, or gone. One small read each time: a file can be written anew to
    /// its old length, and within one tick of its modification time.
    fn is_truncated(&self) -> io::Result<bool> {
        let mut now = [0; MARK];
        let now = &mut now[..self.mark.len()];
        match self
            .file
            .read_exact_at(now, self.at - self.mark.len() as u64)
        {
            Ok(()) => Ok(now != &self.mark[..]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn rewind(&mut self) {
        self.at = 0;
        self.mark.clear();
    }

    fn advance(&mut self, read: &[u8]) {
        self.at += read.len() as u64;
        let new = &read[read.len().saturating_sub(MARK)..];
        let kept = self.mark.len().min(MARK - new.len());
        self.mark.drain(..self.mark.len() - kept);
        self.mark.extend_from_slice(new);
    }

    /// Takes the mark from the file, where reading does not begin at its start.
    fn remember(&mut self) -> io::Result<()> {
        let length = MARK.min(usize::try_from(self.at).unwrap_or(MARK));
        self.mark.resize(length, 0);
        self.file
            .read_exact_at(&mut self.mark, self.at - length as u64)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Where the last `lines` lines begin, of the first `length` bytes. A last line without an end is begun but does not count: it goes on.
fn last_lines(file: &File, length: u64, lines: u64) -> io::Result<u64> {
    let mut buffer = vec![0; STEP];
    let mut wanted = lines;
    let mut end = length;
    while end > 0 {
        let step = usize::try_from(end).unwrap_or(STEP).min(STEP);
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
            lengths in prop::collection::vec(prop_oneof![4 => 0..40usize, 1 => STEP - 2..STEP + 2], 0..12),
            unfinished in 0..3usize,
            wanted in 0..14usize,
        ) {
            let mut text: Vec<u8> = lengths.iter().flat_map(|&n| [vec![b'x'; n], vec![b'\n']].concat()).collect();
            let skipped: usize = lengths[..lengths.len().saturating_sub(wanted)].iter().map(|n| n + 1).sum();
            text.extend(vec![b'y'; unfinished]);
            let at = last_lines(&temporary(&text), text.len() as u64, wanted as u64).unwrap();
            prop_assert_eq!(at, skipped as u64);
        }
    }
}
