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

/// One follower of one inode.
#[derive(Clone)]
pub(super) struct Interest {
    key: u64,
    /// The open file, if the inode is not a folder.
    file: Option<Arc<FileChanges>>,
    wake: Arc<Notify>,
}

impl Interest {
    /// Reports a change. May block.
    pub(super) fn report(&self, is_content: bool) {
        if let Some(file) = &self.file
            && is_content
        {
            file.record();
        }
        self.wake.notify_one();
    }
}

/// The interests by the watch descriptor of the inode, and by the name of the folder's entry. A
/// file has the empty name.
#[derive(Default)]
pub(super) struct Table {
    interests: HashMap<i32, HashMap<OsString, Vec<Interest>>>,
    last_key: u64,
}

impl Table {
    /// Adds an interest in the file, or in the entry `name` of the folder. Returns its key.
    pub(super) fn add(
        &mut self,
        watch: i32,
        name: &OsStr,
        file: Option<Arc<FileChanges>>,
        wake: Arc<Notify>,
    ) -> u64 {
        self.last_key += 1;
        let key = self.last_key;
        let interest = Interest { key, file, wake };
        let names = self.interests.entry(watch).or_default();
        names.entry(name.to_owned()).or_default().push(interest);
        key
    }

    /// Returns whether there is an interest with this key.
    pub(super) fn has(&self, watch: i32, name: &OsStr, key: u64) -> bool {
        let interests = self.interests.get(&watch).and_then(|names| names.get(name));
        interests.is_some_and(|interests| interests.iter().any(|interest| interest.key == key))
    }

    /// Removes an interest. Returns whether it was the last one of its watch descriptor.
    pub(super) fn remove(&mut self, watch: i32, name: &OsStr, key: u64) -> bool {
        let Some(names) = self.interests.get_mut(&watch) else {
            return false;
        };
        if let Some(interests) = names.get_mut(name) {
            interests.retain(|interest| interest.key != key);
            if interests.is_empty() {
                names.remove(name);
            }
        }
        let is_last = names.is_empty();
        if is_last {
            self.interests.remove(&watch);
        }
        is_last
    }

    /// Returns the interests in the entry `name` of an inode, or all those in the inode. They are
    /// cloned, because a report may block, and the table must stay free then.
    pub(super) fn interests(&self, watch: i32, name: Option<&OsStr>) -> Vec<Interest> {
        let Some(names) = self.interests.get(&watch) else {
            return Vec::new();
        };
        match name {
            Some(name) => names.get(name).cloned().unwrap_or_default(),
            None => names.values().flatten().cloned().collect(),
        }
    }

    /// Returns all interests.
    pub(super) fn all(&self) -> Vec<Interest> {
        let names = self.interests.values().flat_map(HashMap::values);
        names.flatten().cloned().collect()
    }

    /// Removes an inode that is gone, and returns the interests in it.
    pub(super) fn forget(&mut self, watch: i32) -> Vec<Interest> {
        let names = self.interests.remove(&watch).unwrap_or_default();
        names.into_values().flatten().collect()
    }
}
