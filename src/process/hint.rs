//! What tells that there may be something new in a file: inotify on its folder, where there is that. A hint alone: whoever follows a file looks for himself,
//! and does so now and then without one, since network file systems and exhausted limits give none.

#[cfg(target_os = "linux")]
pub(super) use linux::Hint;
#[cfg(not(target_os = "linux"))]
pub(super) use none::Hint;

#[cfg(target_os = "linux")]
mod linux {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use tokio::net::unix::pipe::Receiver;

    /// Cheap to clone.
    #[derive(Clone)]
    pub(in crate::process) struct Hint {
        /// `None` where the system gives none.
        events: Option<Arc<Receiver>>,
    }

    impl Hint {
        pub(in crate::process) fn new() -> Self {
            let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
            // Unchecked: it is no pipe, but is waited for and read like one.
            let events = events.and_then(|events| Receiver::from_owned_fd_unchecked(events).ok());
            Self {
                events: events.map(Arc::new),
            }
        }

        /// Watches these folders, from now on. Folders that are watched already cost a call each. Those that cannot be are left out.
        pub(in crate::process) fn watch(&self, folders: &[PathBuf]) {
            let Some(events) = &self.events else { return };
            let what = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVED_FROM
                | WatchFlags::DELETE
                | WatchFlags::ATTRIB;
            for folder in folders {
                let _ = inotify::add_watch(&**events, folder, what);
            }
        }

        /// Until something happened in one of the folders since this was last called. Never, where the system does not tell.
        pub(in crate::process) async fn changed(&self) {
            let Some(events) = &self.events else {
                return std::future::pending().await;
            };
            // What happened does not matter: all of it is read, to be told of what happens next.
            let mut some = false;
            let mut buffer = [0; 4096];
            while !some {
                if events.readable().await.is_err() {
                    return std::future::pending().await;
                }
                while let Ok(1..) = events.try_read(&mut buffer) {
                    some = true;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::path::PathBuf;

    #[derive(Clone)]
    pub(in crate::process) struct Hint;

    impl Hint {
        pub(in crate::process) fn new() -> Self {
            Self
        }

        pub(in crate::process) fn watch(&self, _: &[PathBuf]) {}

        pub(in crate::process) async fn changed(&self) {
            std::future::pending().await
        }
    }
}
