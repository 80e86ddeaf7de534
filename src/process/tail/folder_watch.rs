//! Watches folders for changes: with inotify on Linux, and not at all elsewhere.
//!
//! A change is only a hint that a followed file may have news. A network file system reports none,
//! and neither does the system when its limits are exhausted. The follower therefore also checks at
//! intervals.

#[cfg(target_os = "linux")]
pub(super) use linux::FolderWatch;
#[cfg(not(target_os = "linux"))]
pub(super) use none::FolderWatch;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use tokio::io::unix::AsyncFd;

    use crate::descriptor::register_readable;

    /// The changes that may be news of a followed file.
    const CHANGES: WatchFlags = WatchFlags::MODIFY
        .union(WatchFlags::CREATE)
        .union(WatchFlags::MOVED_TO)
        .union(WatchFlags::MOVED_FROM)
        .union(WatchFlags::DELETE)
        .union(WatchFlags::ATTRIB);

    /// Cheap to clone.
    #[derive(Clone)]
    pub(in crate::process) struct FolderWatch {
        /// `None` if the system provides no inotify instance.
        events: Option<Arc<AsyncFd<OwnedFd>>>,
    }

    impl FolderWatch {
        pub(in crate::process) fn new() -> Self {
            let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
            let events = events.and_then(|events| register_readable(events).ok());
            Self {
                events: events.map(Arc::new),
            }
        }

        /// Adds folders. A folder that is already watched costs one system call. A folder that
        /// cannot be watched is ignored.
        pub(in crate::process) fn add(&self, folders: &[PathBuf]) {
            let Some(events) = &self.events else { return };
            for folder in folders {
                let _ = inotify::add_watch(events.get_ref(), folder, CHANGES);
            }
        }

        /// Waits for a change in one of the folders since the last call. Never completes if the
        /// system reports no changes.
        ///
        /// # Cancel safety
        /// Cancel safe.
        pub(in crate::process) async fn changed(&self) {
            let Some(events) = &self.events else {
                return std::future::pending().await;
            };
            // The events are read only to be told of the next ones. Their content does not matter.
            let mut buffer = [0; 4096];
            let mut has_changed = false;
            while !has_changed {
                let Ok(mut ready) = events.readable().await else {
                    return std::future::pending().await;
                };
                // Reads until the queue is empty, which clears the readiness.
                while let Ok(Ok(1..)) =
                    ready.try_io(|events| Ok(rustix::io::read(events.get_ref(), &mut buffer)?))
                {
                    has_changed = true;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::path::PathBuf;

    #[derive(Clone)]
    pub(in crate::process) struct FolderWatch;

    impl FolderWatch {
        pub(in crate::process) fn new() -> Self {
            Self
        }

        pub(in crate::process) fn add(&self, _: &[PathBuf]) {}

        pub(in crate::process) async fn changed(&self) {
            std::future::pending().await
        }
    }
}
