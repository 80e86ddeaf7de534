//! One inotify instance for all followed files of the program, read by one thread.
//!
//! A system allows a user few instances (128 by default) and many watches. The instance is a thread
//! and not a task, because it outlives each runtime, and a program may have several of them. The
//! thread exists while something is watched.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::OutOfWatches;
use super::table::{FileChanges, Table};
use crate::sync::lock;

/// The changes of a folder that may put another file at a path, or make it readable.
const FOLDER_CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// The changes of a file that may be news. The last link to a file is removed with `ATTRIB`.
const FILE_CHANGES: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::ATTRIB);

/// The instance, while something is watched.
static SHARED: Mutex<Weak<Instance>> = Mutex::new(Weak::new());

struct Instance {
    inotify: Arc<OwnedFd>,
    /// An eventfd: a write to it ends the thread.
    stop: Arc<OwnedFd>,
    table: Mutex<Table>,
}

impl Instance {
    /// Returns the instance of the program. Makes it if there is none.
    fn shared() -> io::Result<Arc<Self>> {
        let mut shared = lock(&SHARED);
        if let Some(instance) = shared.upgrade() {
            return Ok(instance);
        }
        let instance = Arc::new(Self {
            inotify: Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?),
            stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            table: Mutex::default(),
        });
        let (fd, stop) = (Arc::clone(&instance.inotify), Arc::clone(&instance.stop));
        let weak = Arc::downgrade(&instance);
        std::thread::Builder::new()
            .name("outrace-inotify".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || report_changes(&fd, &stop, &weak))?;
        *shared = Arc::downgrade(&instance);
        Ok(instance)
    }

    /// Watches the inode at `path` for one follower: a file, or the entry `name` of a folder. Costs
    /// one system call. Returns `known` if that is what it is a registration of.
    fn watch(
        self: &Arc<Self>,
        path: &Path,
        changes: WatchFlags,
        name: &OsStr,
        file: Option<Arc<FileChanges>>,
        wake: &Arc<Notify>,
        known: Option<Registration>,
    ) -> rustix::io::Result<Registration> {
        // Held over the call, so that the first change finds the interest.
        let mut table = lock(&self.table);
        let watch = inotify::add_watch(&self.inotify, path, changes)?;
        let is_known = known.as_ref().is_some_and(|known| {
            known.watch == watch
                && Arc::ptr_eq(&known.instance, self)
                && table.has(watch, name, known.key)
        });
        // A registration locks the table when it is dropped. The parameter outlives the lock.
        if is_known && let Some(known) = known {
            return Ok(known);
        }
        let key = table.add(watch, name, file, Arc::clone(wake));
        Ok(Registration {
            instance: Arc::clone(self),
            watch,
            name: name.to_owned(),
            key,
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Fails only if the counter is full, and then the thread is woken already.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

/// Reports changes until `stop` is readable.
fn report_changes(inotify: &OwnedFd, stop: &OwnedFd, instance: &Weak<Instance>) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        let mut ready = [
            PollFd::new(inotify, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let Some(instance) = instance.upgrade() else {
            return;
        };
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(_) => return,
            };
            let (watch, what) = (event.wd(), event.events());
            let has_overflowed = what.contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name();
            let name = name.map(|name| OsStr::from_bytes(name.to_bytes()));
            let interests = if has_overflowed {
                lock(&instance.table).all()
            } else if what.contains(ReadFlags::IGNORED) {
                lock(&instance.table).forget(watch)
            } else {
                lock(&instance.table).interests(watch, name)
            };
            for interest in interests {
                interest.report(has_overflowed || what.contains(ReadFlags::MODIFY));
            }
        }
    }
}

/// One interest of one follower. Dropping it ends the reports.
struct Registration {
    instance: Arc<Instance>,
    watch: i32,
    /// The name of the folder's entry. Empty for a file.
    name: OsString,
    key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = lock(&self.instance.table);
        if table.remove(self.watch, &self.name, self.key) {
            // Fails if the inode is gone, and the watch with it.
            let _ = inotify::remove_watch(&self.instance.inotify, self.watch);
        }
    }
}

/// The watches of one followed path.
#[derive(Default)]
pub(in crate::process) struct ChangeWatch {
    wake: Arc<Notify>,
    entries: HashMap<PathBuf, Registration>,
}

impl ChangeWatch {
    /// Returns the notification that each change is reported by.
    pub(in crate::process) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Watches the entries of folders at `paths`, and no other entries any more. Costs one system
    /// call for each path. A folder that does not exist is tried again by the next call.
    ///
    /// # Errors
    /// Returns an error if the system's limits are reached.
    pub(in crate::process) fn set_entries(
        &mut self,
        paths: &[PathBuf],
    ) -> Result<(), OutOfWatches> {
        let mut known = std::mem::take(&mut self.entries);
        let mut outcome = Ok(());
        for path in paths {
            match self.entry(path, known.remove(path)) {
                Ok(Some(registration)) => {
                    self.entries.insert(path.clone(), registration);
                }
                Ok(None) => {}
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    fn entry(
        &self,
        path: &Path,
        known: Option<Registration>,
    ) -> Result<Option<Registration>, OutOfWatches> {
        let Some(name) = path.file_name() else {
            return Ok(None);
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let instance = Instance::shared().map_err(|_| OutOfWatches)?;
        match instance.watch(folder, FOLDER_CHANGES, name, None, &self.wake, known) {
            Ok(registration) => Ok(Some(registration)),
            Err(Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Err(OutOfWatches),
            // For example, there is no such folder.
            Err(_) => Ok(None),
        }
    }

    /// Watches an open file, under whatever name it has. The file need not be at the path.
    ///
    /// # Errors
    /// Returns an error if the system's limits are reached.
    pub(in crate::process) fn file(&self, file: &Arc<File>) -> Result<FileWatch, OutOfWatches> {
        let changes = Arc::new(FileChanges::new(Arc::clone(file)));
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let instance = Instance::shared().map_err(|_| OutOfWatches)?;
        let file = Some(Arc::clone(&changes));
        match instance.watch(&path, FILE_CHANGES, OsStr::new(""), file, &self.wake, None) {
            Ok(registration) => Ok(FileWatch {
                changes,
                registration: Some(registration),
            }),
            Err(Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Err(OutOfWatches),
            // For example, /proc is not mounted.
            Err(_) => Ok(FileWatch {
                changes,
                registration: None,
            }),
        }
    }
}

/// The watch of one open file.
pub(in crate::process) struct FileWatch {
    changes: Arc<FileChanges>,
    registration: Option<Registration>,
}

impl FileWatch {
    /// Returns whether the system reports the changes that are made on this machine.
    pub(in crate::process) fn is_reporting(&self) -> bool {
        self.registration.is_some()
    }

    /// Returns whether bytes were written or removed since the last call.
    pub(in crate::process) fn take_modified(&self) -> bool {
        self.changes.take_modified()
    }

    /// Returns whether the file was seen to be shorter than what was read of it, whatever its
    /// length is now.
    pub(in crate::process) fn is_truncated(&self) -> bool {
        self.changes.is_truncated()
    }

    /// Takes note of how far the file was read.
    pub(in crate::process) fn set_read_bytes(&self, read_bytes: u64) {
        self.changes.set_read_bytes(read_bytes);
    }

    /// Takes note that the file is read from its beginning again.
    pub(in crate::process) fn rewind(&self) {
        self.changes.rewind();
    }
}
