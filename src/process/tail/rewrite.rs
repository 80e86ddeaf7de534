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

    /// Returns whether the file has the length and the modification time that belong to the content
    /// that was read.
    pub(super) fn is_unchanged(&self, metadata: &Metadata, offset: u64) -> bool {
        let time = (metadata.mtime(), metadata.mtime_nsec());
        metadata.len() == offset && self.read_time == Some(time)
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
            || !is_known && is_set_by_hand(metadata, modified.is_none())
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
            && self
                .suspect
                .is_some_and(|(_, since)| now.saturating_duration_since(since) >= CONFIRMATION_TIME)
    }
}

/// Returns whether the times were set by a program such as `touch`. A write sets the times of
/// modification and change to the same instant, and leaves the time of access.
///
/// `touch` is not reported as a change of the content. So the time of access matters only without
/// reports: the follower may have read the file in the same tick of the clock.
fn is_set_by_hand(metadata: &Metadata, compare_access: bool) -> bool {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    modified != (metadata.ctime(), metadata.ctime_nsec())
        || compare_access && modified == (metadata.atime(), metadata.atime_nsec())
}

/// Returns whether the file system has no space left. A write that fails for that reason changes
/// the modification time.
fn is_full(file: &File) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|status| status.f_bavail == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;
    use std::io::Write;
    use std::path::PathBuf;
    use std::time::SystemTime;

    /// A file that was read to its end.
    struct Log {
        path: PathBuf,
        check: RewriteCheck,
        now: Instant,
    }

    impl Log {
        fn new(name: &str) -> Self {
            let name = format!("outrace-rewrite-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, "text\n").unwrap();
            let now = Instant::now();
            let check = RewriteCheck::default();
            let mut log = Self { path, check, now };
            assert!(!log.is_rewritten(Some(true)));
            log
        }

        fn is_rewritten(&mut self, modified: Option<bool>) -> bool {
            let file = File::open(&self.path).unwrap();
            let metadata = file.metadata().unwrap();
            self.check
                .is_rewritten(&file, &metadata, 5, modified, self.now)
        }

        /// Writes the same text again, at another modification time.
        fn rewrite(&self) {
            let time = || self.path.metadata().unwrap().modified().unwrap();
            let before = time();
            while time() == before {
                std::fs::write(&self.path, "text\n").unwrap();
            }
        }

        /// Checks until the confirmation is due.
        fn settle(&mut self, modified: Option<bool>) -> bool {
            let at_once = self.is_rewritten(modified);
            assert!(!at_once, "a write may be under way");
            self.now += CONFIRMATION_TIME;
            self.is_rewritten(modified.map(|_| false))
        }
    }

    impl Drop for Log {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    #[test]
    fn the_same_text_written_again_is_found_with_and_without_reports() {
        for modified in [None, Some(true)] {
            let mut log = Log::new("again");
            log.rewrite();
            assert!(log.settle(modified));
        }
    }

    #[test]
    fn a_late_report_counts() {
        let mut log = Log::new("late");
        log.rewrite();
        assert!(!log.settle(Some(false)));
        assert!(log.is_rewritten(Some(true)));
    }

    #[test]
    fn a_failed_write_changes_the_time_and_is_not_reported() {
        let mut log = Log::new("failed");
        log.rewrite();
        assert!(!log.settle(Some(false)));
    }

    #[test]
    fn an_unchanged_file_is_not_rewritten_whatever_is_reported() {
        let mut log = Log::new("unchanged");
        assert!(!log.settle(Some(true)));
    }

    #[test]
    fn a_touched_file_is_not_rewritten() {
        let mut log = Log::new("touched");
        let file = File::options().write(true).open(&log.path).unwrap();
        let time = SystemTime::now() + Duration::from_secs(9);
        file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
            .unwrap();
        assert!(!log.settle(None));
    }

    #[test]
    fn a_file_that_grows_after_all_is_not_rewritten() {
        let mut log = Log::new("grown");
        log.rewrite();
        assert!(!log.is_rewritten(Some(true)));
        let mut file = File::options().append(true).open(&log.path).unwrap();
        file.write_all(b"more\n").unwrap();
        assert!(!log.settle(Some(true)));
    }
}
