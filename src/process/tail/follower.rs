//! Follows one file by its path, through rotations and truncations. Does file I/O only: it waits
//! for nothing and knows no runtime.
//!
//! The rules:
//! - The file at the path is read to its end. A *non-empty* file with another device or inode at
//!   the path is the successor. The old file is then read to its end once more, and the successor
//!   from its beginning. So a rotation by renaming loses and repeats nothing, however late a single
//!   writer opens its new file.
//! - The old file is read on beside its successor until it is quiet, since one of several writers
//!   may open the successor later than the others.
//! - A removed file is read while nothing new is at its path: its writer may have it open. It is
//!   let go when it is quiet, since it takes space as long as it is open.
//! - A file was truncated if it is shorter than the read position, if the bytes at its beginning or
//!   just before that position have changed, or if it was changed without new content. It is then
//!   read from its beginning. Lines that were written between the last check and the truncation are
//!   lost: no copy of them exists.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::event::{Reporter, TailEvent, Trouble};
use super::file_reader::{FileReader, ReadOutcome};
use super::open_file::{FileIdentity, Opened, open};
use super::start::StartPosition;
use super::watch::ChangeWatch;
use crate::process::LineSender;

/// The most files that are read after their rotation.
const MAX_ROTATED_FILES: usize = 16;

/// The bounds of the following.
#[derive(Clone, Copy, Debug)]
pub(super) struct TailLimits {
    /// A check ends after it has read at least this many bytes of a file.
    pub(super) check_bytes: usize,
    /// How long a file is read on after a rotation while nothing is written to it.
    pub(super) rotated_timeout: Duration,
    /// How long a removed file is read on while nothing is written to it.
    pub(super) deleted_timeout: Duration,
}

/// The outcome of a check.
pub(super) enum CheckOutcome {
    /// Something was read, and there may be more.
    Read,
    /// There is nothing to read now.
    Idle,
    /// The path leads to a stream, which is open and not yet read.
    Stream(File),
}

pub(super) struct Follower {
    path: PathBuf,
    /// The place to begin in the first file. `None` after the first check.
    start: Option<StartPosition>,
    limits: TailLimits,
    sender: LineSender,
    watch: ChangeWatch,
    current: Option<FileReader>,
    /// The file at the path, as long as it is empty and the current one is another.
    successor: Option<FileReader>,
    /// Files that were current, the oldest first.
    rotated: VecDeque<FileReader>,
    /// Files that are read no more, until their last lines are flushed.
    finished: Vec<FileReader>,
}

impl Follower {
    pub(super) fn new(
        path: &Path,
        start: StartPosition,
        limits: TailLimits,
        sender: LineSender,
    ) -> Self {
        Self {
            path: path.to_owned(),
            start: Some(start),
            limits,
            sender,
            watch: ChangeWatch::default(),
            current: None,
            successor: None,
            rotated: VecDeque::new(),
            finished: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn sender(&self) -> &LineSender {
        &self.sender
    }

    pub(super) fn watch(&self) -> &ChangeWatch {
        &self.watch
    }

    /// Watches the places where another file may appear: the path and, if the path is a link, its
    /// target.
    pub(super) fn refresh_watch(&mut self, reporter: &mut Reporter) {
        let mut places = vec![self.path.clone()];
        if let Ok(target) = fs::canonicalize(&self.path)
            && fs::canonicalize(parent(&self.path)).ok().as_deref() != target.parent()
        {
            places.push(target);
        }
        if self.watch.set_entries(&places).is_err() {
            reporter.say_polled();
        }
    }

    /// Reads and publishes new content, up to a bound. Linear in the new content.
    pub(super) fn check(&mut self, now: Instant, reporter: &mut Reporter) -> CheckOutcome {
        let start = self.start.take();
        let mut has_read = self.read_rotated(now);
        if self.current.is_none() {
            match self.open_path(now, reporter) {
                Ok(Found::Reader(mut reader)) => {
                    let begun = start.map_or(Ok(()), |start| reader.begin_at(start));
                    if let Err(error) = begun {
                        reporter.say(Err(Trouble::from(&error)));
                        return outcome(has_read);
                    }
                    reporter.say(Ok(()));
                    self.current = Some(*reader);
                }
                Ok(Found::Stream(stream)) => {
                    reporter.say(Ok(()));
                    return CheckOutcome::Stream(stream);
                }
                Err(error) => {
                    let trouble = Trouble::from(&error);
                    if trouble == Trouble::TooManyOpenFiles {
                        // The file may be there: it is read from the same place later.
                        self.start = start;
                    }
                    reporter.say(Err(trouble));
                    return outcome(has_read);
                }
            }
        }
        // Precedes the read of the old file: a single writer finishes the old file before it writes
        // to the new one.
        let next = self.next_at_path(now, reporter);
        let mut path = next.as_ref().map(|_| ()).map_err(|&trouble| trouble);
        match self.read_current(now, reporter) {
            Ok(read) => has_read |= read,
            Err(error) => path = path.and(Err(Trouble::from(&error))),
        }
        reporter.say(path);
        if has_read {
            return CheckOutcome::Read;
        }
        match next {
            Ok(Next::Successor) => {
                let successor = self.successor.take();
                self.rotate(successor, now);
                reporter.emit(TailEvent::Rotated);
                match self.read_current(now, reporter) {
                    Ok(read) => outcome(read),
                    Err(error) => {
                        reporter.say(Err(Trouble::from(&error)));
                        CheckOutcome::Idle
                    }
                }
            }
            Ok(Next::Stream(stream)) => {
                // Nothing is checked beside a stream.
                self.rotate(None, now);
                for reader in std::mem::take(&mut self.rotated) {
                    self.end(reader);
                }
                reporter.emit(TailEvent::Rotated);
                CheckOutcome::Stream(stream)
            }
            Ok(Next::Nothing) => CheckOutcome::Idle,
            Ok(Next::Empty) | Err(_) => {
                self.let_go_of_deleted(now);
                CheckOutcome::Idle
            }
        }
    }

    /// Opens what is at the path.
    fn open_path(&mut self, now: Instant, reporter: &mut Reporter) -> io::Result<Found> {
        match open(&self.path)? {
            Opened::Stream(stream) => Ok(Found::Stream(stream)),
            Opened::File(file) => {
                // A file that was rotated away and comes back is read on.
                let is_same = |reader: &FileReader| reader.identity() == file.identity();
                if let Some(at) = self.rotated.iter().position(is_same)
                    && let Some(reader) = self.rotated.remove(at)
                {
                    return Ok(Found::Reader(Box::new(reader)));
                }
                // Precedes the first read, so that no change in between is missed.
                let watch = self.watch.file(file.file());
                if watch.is_err() {
                    reporter.say_polled();
                }
                let reader = FileReader::new(file, watch.ok(), &self.sender, now);
                Ok(Found::Reader(Box::new(reader)))
            }
        }
    }

    /// Looks at what is at the path beside the current file.
    fn next_at_path(&mut self, now: Instant, reporter: &mut Reporter) -> Result<Next, Trouble> {
        let metadata = fs::metadata(&self.path).map_err(|error| Trouble::from(&error))?;
        let identity = FileIdentity::of(&metadata);
        let is_at_path = |reader: &FileReader| reader.identity() == identity;
        if self.current.as_ref().is_some_and(is_at_path) {
            self.successor = None;
            return Ok(Next::Nothing);
        }
        if !self.successor.as_ref().is_some_and(is_at_path) {
            self.successor = None;
            match self.open_path(now, reporter) {
                Ok(Found::Reader(reader)) => self.successor = Some(*reader),
                Ok(Found::Stream(stream)) => return Ok(Next::Stream(stream)),
                Err(error) => return Err(Trouble::from(&error)),
            }
        }
        match &self.successor {
            Some(successor) if successor.has_content() => Ok(Next::Successor),
            _ => Ok(Next::Empty),
        }
    }

    /// Reads the current file. Returns whether something was read.
    fn read_current(&mut self, now: Instant, reporter: &mut Reporter) -> io::Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let outcome = current.read(self.limits.check_bytes, now)?;
        if outcome == ReadOutcome::Truncated {
            reporter.emit(TailEvent::Truncated);
        }
        Ok(outcome != ReadOutcome::Idle)
    }

    /// Reads the files that were rotated away, and ends those that are quiet. Returns whether
    /// something was read.
    fn read_rotated(&mut self, now: Instant) -> bool {
        let mut has_read = false;
        for mut reader in std::mem::take(&mut self.rotated) {
            match reader.read(self.limits.check_bytes, now) {
                Ok(ReadOutcome::Read) => has_read = true,
                Ok(ReadOutcome::Idle)
                    if now.saturating_duration_since(reader.read_at())
                        < self.limits.rotated_timeout => {}
                // It was compressed or emptied, or cannot be read.
                Ok(ReadOutcome::Idle | ReadOutcome::Truncated) | Err(_) => {
                    self.end(reader);
                    continue;
                }
            }
            self.rotated.push_back(reader);
        }
        has_read
    }

    /// Replaces the current file, which is read on beside the new one.
    fn rotate(&mut self, successor: Option<FileReader>, now: Instant) {
        let Some(mut old) = std::mem::replace(&mut self.current, successor) else {
            return;
        };
        old.finish();
        old.restart_quiet_time(now);
        self.rotated.push_back(old);
        if self.rotated.len() > MAX_ROTATED_FILES
            && let Some(oldest) = self.rotated.pop_front()
        {
            self.end(oldest);
        }
    }

    /// Ends the reading of a removed file that is quiet.
    fn let_go_of_deleted(&mut self, now: Instant) {
        let timeout = self.limits.deleted_timeout;
        let is_over = |reader: &mut FileReader| {
            reader.is_deleted() && now.saturating_duration_since(reader.read_at()) >= timeout
        };
        if let Some(reader) = self.current.take_if(is_over) {
            self.end(reader);
        }
    }

    fn end(&mut self, mut reader: FileReader) {
        reader.finish();
        self.finished.push(reader);
    }

    /// Publishes all that was read, with unterminated last lines.
    pub(super) fn finish(&mut self) {
        for reader in self.rotated.iter_mut().chain(&mut self.current) {
            reader.finish();
        }
    }

    /// Publishes what waits for subscribers.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn flush(&mut self) {
        let readers = self.finished.iter_mut().chain(&mut self.rotated);
        for reader in readers.chain(&mut self.current) {
            reader.flush().await;
        }
        self.finished.clear();
    }
}

/// What was opened at the path.
enum Found {
    Reader(Box<FileReader>),
    Stream(File),
}

/// What is at the path beside the current file.
enum Next {
    Nothing,
    /// A file without content.
    Empty,
    /// A file with content.
    Successor,
    Stream(File),
}

fn outcome(has_read: bool) -> CheckOutcome {
    if has_read {
        CheckOutcome::Read
    } else {
        CheckOutcome::Idle
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
