//! Reports changes of files and folders: with one inotify instance for all files on Linux, and not
//! at all elsewhere.
//!
//! A change is only a hint that a followed file may have news. A network file system reports none,
//! and neither does the system when its limits are exhausted. The follower therefore also checks at
//! intervals.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
pub(super) use inotify::{ChangeWatch, FileWatch};
#[cfg(not(target_os = "linux"))]
pub(super) use none::{ChangeWatch, FileWatch};

/// The reason why changes are not reported: the system's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfWatches;

#[cfg(not(target_os = "linux"))]
mod none {
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::OutOfWatches;

    #[derive(Clone, Default)]
    pub(in crate::process) struct ChangeWatch;

    impl ChangeWatch {
        pub(in crate::process) fn set_entries(
            &mut self,
            _: &[PathBuf],
        ) -> Result<(), OutOfWatches> {
            Ok(())
        }

        pub(in crate::process) fn file(&self, _: &Arc<File>) -> Result<FileWatch, OutOfWatches> {
            Ok(FileWatch)
        }

        pub(in crate::process) fn wake(&self) -> Arc<tokio::sync::Notify> {
            Arc::default()
        }
    }

    pub(in crate::process) struct FileWatch;

    impl FileWatch {
        pub(in crate::process) fn is_reporting(&self) -> bool {
            false
        }

        pub(in crate::process) fn take_modified(&self) -> bool {
            false
        }

        pub(in crate::process) fn is_truncated(&self) -> bool {
            false
        }

        pub(in crate::process) fn set_read_bytes(&self, _: u64) {}

        pub(in crate::process) fn rewind(&self) {}
    }
}
