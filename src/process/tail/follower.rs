//! Follows one file by its path, through rotations and truncations. Does file I/O only: it waits
//! for nothing and knows no runtime.
//!
//! The rules hold for a single writer that finishes a line before it goes on to the next file:
//! - The file at the path is read to its end. A *non-empty* file with another device or inode at
//!   the path means that the writer is done with the old file. The old file is then read to its end
//!   once more, and the new file from its beginning. So a rotation by renaming loses and repeats
//!   nothing, however late the writer opens its new file.
//! - A removed file is still read while nothing new is at its path: its writer may have it open.
//! - A file was truncated if it is shorter than the read position, or if the bytes just before that
//!   position have changed. It is then read from its beginning. Lines that were written between the
//!   last check and the truncation are lost: no copy of them exists.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::open_file::{OpenFile, StartPosition};
use crate::descriptor_limit;
use crate::process::LinePublisher;

/// An event of a followed file. See [`TailBuilder::on_event`](super::TailBuilder::on_event).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TailEvent {
    /// The file was opened and is read from now on.
    Opened,
    /// The file does not exist, does not exist any more, or cannot be read.
    Missing,
    /// The file cannot be opened now, because the process or the system has no descriptor left.
    TooManyOpenFiles,
    /// Another file is at the path and is read from its beginning.
    Rotated,
    /// The file was truncated and is read from its beginning.
    Truncated,
    /// The content of the file is published. Follows each time that something was read.
    CaughtUp,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckOutcome {
    /// Something was read, and there may be more.
    Read,
    /// There is nothing to read now.
    Idle,
}

pub(super) struct Follower {
    path: PathBuf,
    /// The place to begin in the first file. `None` after the first check.
    start: Option<StartPosition>,
    /// A check ends after it has read at least this many bytes.
    max_check_bytes: usize,
    open: Option<OpenFile>,
    missing: bool,
}

impl Follower {
    pub(super) fn new(path: &Path, start: StartPosition, max_check_bytes: usize) -> Self {
        Self {
            path: path.to_owned(),
            start: Some(start),
            max_check_bytes,
            open: None,
            missing: false,
        }
    }

    /// Reads and publishes new content, up to a bound. Linear in the new content.
    pub(super) fn check(
        &mut self,
        lines: &mut LinePublisher,
        emit: &mut dyn FnMut(TailEvent),
    ) -> CheckOutcome {
        let start = self.start.take();
        let Some(open) = &mut self.open else {
            return match OpenFile::open(&self.path, start.unwrap_or(StartPosition::Beginning)) {
                Ok(open) => {
                    self.open = Some(open);
                    self.missing = false;
                    emit(TailEvent::Opened);
                    self.read(lines, emit)
                }
                Err(error) => {
                    if descriptor_limit::is_reached(&error) {
                        // The file may be there: it is read from the same place later.
                        self.start = start;
                    }
                    self.set_missing(&error, emit);
                    CheckOutcome::Idle
                }
            };
        };
        // Precedes the read of the old file: the writer finishes the old file before it writes to
        // the new one.
        let has_successor = match fs::metadata(&self.path) {
            Ok(metadata) if open.is_same_file(&metadata) => {
                self.missing = false;
                false
            }
            Ok(metadata) => metadata.len() > 0,
            Err(error) => {
                self.set_missing(&error, emit);
                false
            }
        };
        let outcome = self.read(lines, emit);
        if outcome != CheckOutcome::Idle || !has_successor {
            return outcome;
        }
        let Ok(open) = OpenFile::open(&self.path, StartPosition::Beginning) else {
            return CheckOutcome::Idle;
        };
        lines.finish();
        self.open = Some(open);
        self.missing = false;
        emit(TailEvent::Rotated);
        self.read(lines, emit)
    }

    fn set_missing(&mut self, error: &io::Error, emit: &mut dyn FnMut(TailEvent)) {
        if !std::mem::replace(&mut self.missing, true) {
            emit(if descriptor_limit::is_reached(error) {
                TailEvent::TooManyOpenFiles
            } else {
                TailEvent::Missing
            });
        }
    }

    /// Reads the open file.
    fn read(&mut self, lines: &mut LinePublisher, emit: &mut dyn FnMut(TailEvent)) -> CheckOutcome {
        let Some(open) = &mut self.open else {
            return CheckOutcome::Idle;
        };
        let mut read_bytes = 0;
        while read_bytes < self.max_check_bytes {
            let spare = lines.spare_mut();
            let n = match open.read(spare) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // For example, the file system is gone. The next check tries again.
                Err(_) => break,
            };
            // Follows the read: a check before it would not tell which content the read returns.
            match open.is_truncated() {
                Ok(false) => {}
                Ok(true) => {
                    lines.finish();
                    open.rewind();
                    emit(TailEvent::Truncated);
                    continue;
                }
                Err(_) => break,
            }
            if n == 0 {
                break;
            }
            open.advance(&spare[..n]);
            lines.commit(n);
            read_bytes += n;
        }
        if read_bytes == 0 {
            CheckOutcome::Idle
        } else {
            CheckOutcome::Read
        }
    }

    /// Returns the folders whose changes may be news of the file: the folder of the path and, if
    /// the path is a link, the folder of its target.
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
