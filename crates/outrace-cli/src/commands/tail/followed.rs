//! Starts the following of files, and says what happens to them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrace::process::{Tail, TailEvent};
use outrace::{ChannelName, Hub};
use tokio::sync::mpsc;

use super::begin::Begin;
use crate::console::notice;
use crate::failure::Failure;

/// What all followed files have in common.
pub(super) struct Following {
    pub(super) hub: Hub,
    pub(super) lossless: Option<Duration>,
    pub(super) quiet: bool,
    /// Receives a message for each stream that has ended.
    pub(super) ended: mpsc::UnboundedSender<()>,
    /// Whether it was said that files are polled.
    pub(super) has_said_polled: Arc<AtomicBool>,
}

impl Following {
    /// Starts to follow one file.
    pub(super) fn start(
        &self,
        file: &Path,
        channel: &ChannelName,
        begin: Begin,
    ) -> Result<Tail, Failure> {
        let tail = begin.apply(Tail::builder(file).lossless(self.lossless));
        let ended = self.ended.clone();
        let mut sayer = (!self.quiet).then(|| Sayer {
            name: file.display().to_string(),
            has_trouble: false,
            has_said_polled: Arc::clone(&self.has_said_polled),
        });
        let tail = tail.on_event(move |event| {
            if let Some(sayer) = &mut sayer {
                sayer.say(event);
            }
            if event == TailEvent::Ended {
                // Fails only if the program is ending.
                let _ = ended.send(());
            }
        });
        tail.start(&self.hub, channel.as_str())
            .map_err(Failure::usage)
    }
}

/// Says what happens to one file.
struct Sayer {
    name: String,
    has_trouble: bool,
    has_said_polled: Arc<AtomicBool>,
}

impl Sayer {
    fn say(&mut self, event: TailEvent) {
        let name = &self.name;
        let had_trouble = self.has_trouble;
        match event {
            TailEvent::Missing => notice!("{name} is not there; waiting for it"),
            TailEvent::Unreadable(kind) => notice!("{name} {}; waiting for it", reason(kind)),
            TailEvent::TooManyOpenFiles => notice!(
                "{name} cannot be opened: too many open files; waiting. Raise the limit with \
                 ulimit -n"
            ),
            TailEvent::Opened if had_trouble => notice!("{name} can be read now"),
            TailEvent::Rotated => notice!("{name} is another file now"),
            TailEvent::Truncated => notice!("{name} was truncated"),
            TailEvent::Ended => notice!("{name} has ended"),
            // Relaxed: the flag guards no data.
            TailEvent::Polled if !self.has_said_polled.swap(true, Ordering::Relaxed) => notice!(
                "the system reports no changes of files, since its limits are reached: they are \
                 checked every 250 ms; raise fs.inotify.max_user_instances or max_user_watches"
            ),
            _ => {}
        }
        match event {
            TailEvent::Missing | TailEvent::Unreadable(_) | TailEvent::TooManyOpenFiles => {
                self.has_trouble = true
            }
            TailEvent::Opened => self.has_trouble = false,
            _ => {}
        }
    }
}

/// Returns why a file cannot be read.
fn reason(kind: io::ErrorKind) -> String {
    match (kind, kind.to_string()) {
        (io::ErrorKind::IsADirectory, _) => "is a folder now".to_owned(),
        // An error of the system that the standard library has no words for.
        (_, words) if words == "uncategorized error" => "cannot be read".to_owned(),
        (_, words) => format!("cannot be read: {words}"),
    }
}
