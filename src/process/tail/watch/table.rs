//! Who wants to hear of the changes of which watched file or folder.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::sync::lock;

/// What has happened to one open file since its follower looked.
#[derive(Debug)]
pub(super) struct FileChanges {
    file: Arc<File>,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Rises when the follower begins the file anew.
    generation: u64,
    /// How far the follower has read.
    read_bytes: u64,
    modified: bool,
    truncated: bool,
}

impl FileChanges {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            progress: Mutex::default(),
        }
    }

    /// Records a change of the content or the length.
    ///
    /// Looks at the length at once: a file that was truncated may have its old length again when
    /// its follower looks. May block on a network file system.
    fn record(&self) {
        // Precedes the look at the length. A file that is shorter than what was read of it before
        // was truncated in between.
        let before = {
            let mut progress = lock(&self.progress);
            progress.modified = true;
            *progress
        };
        let length = self.file.metadata().map(|metadata| metadata.len());
        let mut progress = lock(&self.progress);
        if length.is_ok_and(|length| length < before.read_bytes)
            && progress.generation == before.generation
        {
            progress.truncated = true;
        }
    }

    /// Takes note of how far the follower has read.
    pub(super) fn set_read_bytes(&self, read_bytes: u64) {
        lock(&self.progress).read_bytes = read_bytes;
    }

    /// Takes note that the follower begins the file anew.
    pub(super) fn rewind(&self) {
        let mut progress = lock(&self.progress);
        *progress = Progress {
            generation: progress.generation + 1,
            ..Progress::default()
        };
    }

    /// Returns whether the content was changed since the last call.
    pub(super) fn take_modified(&self) -> bool {
        std::mem::take(&mut lock(&self.progress).modified)
    }

    /// Returns whether the file was seen to be shorter than what was read of it.
    pub(super) fn is_truncated(&self) -> bool {
        lock(&self.progress).truncated
    }
}

/// The changes of a watched inode that matter to one follower.
#[derive(Clone)]
pub(super) enum Target {
    /// The changes of the folder's entry of this name.
    Entry(OsString),
    /// All changes of the file.
    File(Arc<FileChanges>),
}

/// One follower of one inode.
#[derive(Clone)]
pub(super) struct Interest {
    key: u64,
    target: Target,
    wake: Arc<Notify>,
}

impl Interest {
    /// Reports a change of the inode, or of its entry `name`, if it matters. May block.
    pub(super) fn report(&self, name: Option<&OsStr>, is_content: bool) {
        match &self.target {
            // A change without a name is one of the folder itself.
            Target::Entry(entry) if name.is_some_and(|name| name != entry) => return,
            Target::Entry(_) => {}
            Target::File(changes) if is_content => changes.record(),
            Target::File(_) => {}
        }
        self.wake.notify_one();
    }
}

/// The interests by the watch descriptor of the inode.
#[derive(Default)]
pub(super) struct Table {
    interests: HashMap<i32, Vec<Interest>>,
    last_key: u64,
}

impl Table {
    /// Adds an interest and returns its key.
    pub(super) fn add(&mut self, watch: i32, target: Target, wake: Arc<Notify>) -> u64 {
        self.last_key += 1;
        let key = self.last_key;
        let interest = Interest { key, target, wake };
        self.interests.entry(watch).or_default().push(interest);
        key
    }

    /// Removes an interest. Returns whether it was the last one of its watch descriptor.
    pub(super) fn remove(&mut self, watch: i32, key: u64) -> bool {
        let Some(interests) = self.interests.get_mut(&watch) else {
            return false;
        };
        interests.retain(|interest| interest.key != key);
        let is_last = interests.is_empty();
        if is_last {
            self.interests.remove(&watch);
        }
        is_last
    }

    /// Returns the interests in an inode. They are cloned, because a report may block, and the
    /// table must stay free then.
    pub(super) fn interests(&self, watch: i32) -> Vec<Interest> {
        self.interests.get(&watch).cloned().unwrap_or_default()
    }

    /// Returns all interests.
    pub(super) fn all(&self) -> Vec<Interest> {
        self.interests.values().flatten().cloned().collect()
    }

    /// Removes an inode that is gone, and returns the interests in it.
    pub(super) fn forget(&mut self, watch: i32) -> Vec<Interest> {
        self.interests.remove(&watch).unwrap_or_default()
    }
}
