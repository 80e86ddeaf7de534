//! One open file that is followed: the read position and the check for truncation.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, SeekFrom, seek};
use rustix::io::Errno;

/// The number of bytes at the beginning of the file, and before the read position, that are
/// compared to find a truncation after which the file has grown again.
const MARK_BYTES: usize = 1024;

/// The device and the inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

impl FileIdentity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// What was found at a path.
pub(super) enum Opened {
    File(OpenFile),
    /// A FIFO, a device, or a file that the kernel makes up as it is read.
    Stream(File),
}

/// Opens `path` for reading. Never waits for a writer of a FIFO or the carrier of a terminal.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let has_positions = seek(&file, SeekFrom::Current(0)) != Err(Errno::SPIPE);
    if !kind.is_file() || !has_positions || is_made_up(&file) {
        return Ok(Opened::Stream(file));
    }
    Ok(Opened::File(OpenFile {
        file: Arc::new(file),
        identity: FileIdentity::of(&metadata),
        offset: 0,
        head: Vec::new(),
        mark: Vec::new(),
    }))
}

/// Returns whether the file belongs to a file system without stored content, such as `/proc`. A
/// second read of such a file returns something else, and may take what another program waits for.
#[cfg(target_os = "linux")]
fn is_made_up(file: &File) -> bool {
    const PROC: u32 = 0x9fa0;
    const SYSFS: u32 = 0x6265_6572;
    const DEBUGFS: u32 = 0x6462_6720;
    const TRACEFS: u32 = 0x7472_6163;
    const CGROUP: u32 = 0x0027_e0eb;
    const CGROUP2: u32 = 0x6367_7270;
    let Ok(status) = rustix::fs::fstatfs(file) else {
        return false;
    };
    // The type of the field differs between architectures. The numbers have 32 bits.
    let kind = status.f_type as u32;
    [PROC, SYSFS, DEBUGFS, TRACEFS, CGROUP, CGROUP2].contains(&kind)
}

#[cfg(not(target_os = "linux"))]
fn is_made_up(_: &File) -> bool {
    false
}

pub(super) struct OpenFile {
    file: Arc<File>,
    identity: FileIdentity,
    /// The read position.
    offset: u64,
    /// The bytes at the beginning of the file, up to `offset`.
    head: Vec<u8>,
    /// The bytes just before `offset`.
    mark: Vec<u8>,
}

impl OpenFile {
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn identity(&self) -> FileIdentity {
        self.identity
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns whether the read position is at the beginning of a line of UTF-8.
    pub(super) fn is_at_line_start(&self) -> bool {
        matches!(self.mark.last(), None | Some(b'\n' | 0))
    }

    /// Reads at the read position, which [`advance`](Self::advance) moves.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, self.offset)
    }

    /// Returns whether the first bytes, or those just before the read position, have changed or are
    /// gone.
    ///
    /// Each call costs two small reads. Length and modification time do not suffice: a file can be
    /// rewritten to its old length within one tick of its modification time.
    pub(super) fn is_truncated(&self) -> io::Result<bool> {
        let start = self.offset - self.mark.len() as u64;
        Ok(!self.has_at(&self.mark, start)? || !self.has_at(&self.head, 0)?)
    }

    /// Returns whether `expected` stands in the file at `start`.
    fn has_at(&self, expected: &[u8], start: u64) -> io::Result<bool> {
        let mut now = [0; MARK_BYTES];
        let now = &mut now[..expected.len()];
        match self.file.read_exact_at(now, start) {
            Ok(()) => Ok(now == expected),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves the read position to the beginning.
    pub(super) fn rewind(&mut self) {
        self.offset = 0;
        self.head.clear();
        self.mark.clear();
    }

    /// Moves the read position behind the bytes that were read.
    pub(super) fn advance(&mut self, read: &[u8]) {
        if self.head.len() as u64 == self.offset {
            let free = MARK_BYTES - self.head.len();
            self.head.extend_from_slice(&read[..free.min(read.len())]);
        }
        self.offset += read.len() as u64;
        let new = &read[read.len().saturating_sub(MARK_BYTES)..];
        let kept = self.mark.len().min(MARK_BYTES - new.len());
        self.mark.drain(..self.mark.len() - kept);
        self.mark.extend_from_slice(new);
    }

    /// Moves the read position to `offset`. The bytes before it need not have been read.
    pub(super) fn move_to(&mut self, offset: u64) -> io::Result<()> {
        let length = MARK_BYTES.min(usize::try_from(offset).unwrap_or(MARK_BYTES));
        let (mut head, mut mark) = (vec![0; length], vec![0; length]);
        self.file.read_exact_at(&mut head, 0)?;
        self.file.read_exact_at(&mut mark, offset - length as u64)?;
        (self.offset, self.head, self.mark) = (offset, head, mark);
        Ok(())
    }
}
