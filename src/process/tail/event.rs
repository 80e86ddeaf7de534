//! What happens to a followed file, and how its channel is told.

use std::io;

use crate::Publisher;
use crate::descriptor_limit;
use crate::message::Status;

/// An event of a followed file. See [`TailBuilder::on_event`](super::TailBuilder::on_event).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TailEvent {
    /// The file was opened, or is at its path again, and is read from now on.
    Opened,
    /// There is no file at the path.
    Missing,
    /// The path cannot be read, for example because it is a folder or because of its permissions.
    /// A file that was opened before is read on.
    Unreadable(io::ErrorKind),
    /// The file cannot be opened now, because the process or the system has no descriptor left.
    TooManyOpenFiles,
    /// Another file is at the path and is read from its beginning.
    Rotated,
    /// The file was truncated and is read from its beginning.
    Truncated,
    /// The content of the file is published. Follows each time that something was read.
    CaughtUp,
    /// The system reports no further changes, since its limits are reached. The file is checked at
    /// the poll interval only.
    Polled,
    /// The stream at the path has ended. No further event follows.
    Ended,
}

pub(super) type OnTailEvent = dyn FnMut(TailEvent) + Send;

/// The reason why the path is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Missing,
    Unreadable(io::ErrorKind),
    TooManyOpenFiles,
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            _ if descriptor_limit::is_reached(error) => Self::TooManyOpenFiles,
            io::ErrorKind::NotFound => Self::Missing,
            kind => Self::Unreadable(kind),
        }
    }
}

/// Passes events on to the callback, and to the channel as statuses.
pub(super) struct Reporter {
    publisher: Publisher,
    on_event: Box<OnTailEvent>,
    /// The last published status.
    status: Option<Status>,
    /// What was said about the path: trouble, or that it is fine.
    said: Option<Result<(), Trouble>>,
    has_said_polled: bool,
}

impl Reporter {
    pub(super) fn new(publisher: Publisher, on_event: Option<Box<OnTailEvent>>) -> Self {
        Self {
            publisher,
            on_event: on_event.unwrap_or_else(|| Box::new(|_| {})),
            status: None,
            said: None,
            has_said_polled: false,
        }
    }

    /// Publishes the status that follows from the event, and calls the callback.
    pub(super) fn emit(&mut self, event: TailEvent) {
        match event {
            TailEvent::Missing => self.set_status(Status::from("missing"), 0),
            TailEvent::Unreadable(_) => self.set_status(Status::from("unreadable"), 0),
            TailEvent::TooManyOpenFiles => {
                self.set_status(Status::from("too many open files"), 0);
            }
            TailEvent::Ended => self.set_status(Status::Exited, 0),
            TailEvent::CaughtUp | TailEvent::Polled => {}
            TailEvent::Opened | TailEvent::Rotated | TailEvent::Truncated => {
                self.set_status(Status::Running, 0);
            }
        }
        (self.on_event)(event);
    }

    /// Says whether the path can be read, if that has changed.
    pub(super) fn say(&mut self, path: Result<(), Trouble>) {
        if self.said.replace(path) == Some(path) {
            return;
        }
        self.emit(match path {
            Ok(()) => TailEvent::Opened,
            Err(Trouble::Missing) => TailEvent::Missing,
            Err(Trouble::Unreadable(kind)) => TailEvent::Unreadable(kind),
            Err(Trouble::TooManyOpenFiles) => TailEvent::TooManyOpenFiles,
        });
    }

    /// Says once that the system reports no changes.
    pub(super) fn say_polled(&mut self) {
        if !std::mem::replace(&mut self.has_said_polled, true) {
            self.emit(TailEvent::Polled);
        }
    }

    /// Publishes the status of a following that ends on request.
    pub(super) fn stop(&mut self) {
        self.set_status(Status::Stopped, 0);
    }

    fn set_status(&mut self, status: Status, code: i32) {
        if self.status.as_ref() != Some(&status) {
            self.publisher.send_status(&status, code);
            self.status = Some(status);
        }
    }
}
