//! Finds that a file was truncated and written again with the same text, to the same length. Its
//! content does not tell.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How long a file must be unchanged before it counts as rewritten. A write under way has changed
/// the modification time already, and the length not yet.
const CONFIRMATION_TIME: Duration = Duration::from_millis(500);

/// A time of a file in seconds and nanoseconds.
type FileTime = (i64, i64);

/// Watches the modification time of a file that is read to its end.
#[derive(Debug, Default)]
pub(super) struct RewriteCheck {
    /// The modification time that belongs to the content that was read.
    read_time: Option<FileTime>,
    /// Whether the system has reported a change of the content since then.
    modified: bool,
    /// A modification time without new content, and when it was seen first.
    suspect: Option<(FileTime, Instant)>,
}

impl RewriteCheck {
    /// Takes note of new content, or of a rewind.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns whether a file that was read up to `offset` was rewritten to the length `offset`.
    ///
    /// `modified` is whether the system has reported a change of the content since the last call,
    /// or `None` if it reports none for this file. Without a report, a later modification time is
    /// that of a failed write.
    pub(super) fn is_rewritten(
        &mut self,
        file: &File,
        metadata: &Metadata,
        offset: u64,
        modified: Option<bool>,
        now: Instant,
    ) -> bool {
        self.modified |= modified != Some(false);
        if metadata.len() != offset {
            self.suspect = None;
            return false;
        }
        let time = (metadata.mtime(), metadata.mtime_nsec());
        let is_known = self.suspect.is_some_and(|(suspect, _)| suspect == time);
        // The times are looked at once. The follower's own next read changes the time of access.
        let is_explained = offset == 0
            || self.read_time.is_none_or(|read| read == time)
            || !is_known && is_set_by_hand(metadata)
            || is_full(file);
        if is_explained {
            *self = Self {
                read_time: Some(time),
                ..Self::default()
            };
            return false;
        }
        if !is_known {
            self.suspect = Some((time, now));
        }
        self.modified
            && self.suspect.is_some_and(|(_, since)| {
                now.saturating_duration_since(since) >= CONFIRMATION_TIME
            })
    }
}

/// Returns whether the times were set by a program such as `touch`. A write sets the times of
/// modification and change to the same instant, and leaves the time of access.
fn is_set_by_hand(metadata: &Metadata) -> bool {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    modified != (metadata.ctime(), metadata.ctime_nsec())
        || modified == (metadata.atime(), metadata.atime_nsec())
}

/// Returns whether the file system has no space left. A write that fails for that reason changes
/// the modification time.
fn is_full(file: &File) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|status| status.f_bavail == 0)
}
