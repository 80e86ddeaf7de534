//! A watcher's position in all of its channels, for the next run of the program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::envelope::Envelope;
use super::event::Event;
use super::tracked_channel::{Position, TrackedChannel};
use super::watcher::Watcher;
use crate::message::ChannelName;

/// The place in each channel up to which a [`Watcher`] has returned its events. A later run of the
/// program continues there: see [`Watcher::resume_point`].
///
/// What it contains is no part of the interface. It can be stored in any format of serde that has
/// maps, such as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    channels: BTreeMap<String, Position>,
}

impl ResumePoint {
    /// Removes the place in a channel, and returns it.
    pub(super) fn take(&mut self, channel: &ChannelName) -> Option<Position> {
        self.channels.remove(channel.as_str())
    }

    /// Returns whether there is no channel in it.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}

impl Watcher {
    /// Returns the place up to which the events have been returned, in each watched channel whose
    /// messages the server numbers.
    ///
    /// A program stores it, and gives it to
    /// [`WatcherBuilder::resume_from`](super::WatcherBuilder::resume_from) when it is started
    /// again. Channels of the earlier run that are not watched yet stay in it. It takes time linear
    /// in the number of channels.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use outrace::client::{ResumePoint, Watcher};
    ///
    /// let stored: ResumePoint = match std::fs::read("position.json") {
    ///     Ok(json) => serde_json::from_slice(&json)?,
    ///     Err(_) => ResumePoint::default(),
    /// };
    /// let mut watcher = Watcher::builder("ws://127.0.0.1:7223/ws")
    ///     .channel("process:web")
    ///     .resume_from(stored)
    ///     .build()?;
    /// while let Some(event) = watcher.next().await {
    ///     // Handle the event, and then:
    ///     std::fs::write("position.json", serde_json::to_vec(&watcher.resume_point())?)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_point(&self) -> ResumePoint {
        let mut point = self.restored.clone();
        // All events that wait are of one message, and so of one channel.
        let pending = self.events.front().and_then(Pending::of);
        for tracked in &self.channels {
            let position = match &pending {
                Some(pending) if pending.channel == tracked.name().as_str() => {
                    pending.position(tracked)
                }
                _ => tracked.position().cloned(),
            };
            if let Some(position) = position {
                let name = tracked.name().as_str().to_owned();
                point.channels.insert(name, position);
            }
        }
        point
    }
}

/// The first event that was not returned.
struct Pending {
    channel: String,
    kind: PendingKind,
}

enum PendingKind {
    /// A confirmation.
    Confirmation,
    /// The message with this number.
    Numbered(u64),
    /// A message of another kind.
    Message,
}

impl Pending {
    /// Returns `None` for an event that has no number.
    fn of(event: &Event) -> Option<Self> {
        let kind = match event {
            Event::Subscribed { .. } | Event::Reconnected { .. } => PendingKind::Confirmation,
            Event::Line { seq, .. } | Event::Status { seq, .. } => PendingKind::Numbered((*seq)?),
            Event::Gap { from, .. } => PendingKind::Numbered(*from),
            Event::Other { json } => {
                let message = Envelope::parse(json)?;
                let kind = match &*message.kind {
                    "subscribed" => PendingKind::Confirmation,
                    "process_partial" | "replay" | "replayed" | "error" => return None,
                    _ => PendingKind::Message,
                };
                let channel = message.channel?.into_owned();
                return Some(Self { channel, kind });
            }
            _ => return None,
        };
        let channel = event.channel()?.as_str().to_owned();
        Some(Self { channel, kind })
    }

    /// Returns the position before the event.
    fn position(&self, tracked: &TrackedChannel) -> Option<Position> {
        match self.kind {
            PendingKind::Confirmation => tracked.before_confirmation().cloned(),
            PendingKind::Numbered(seq) => tracked.position_before(seq),
            PendingKind::Message => tracked.position_before_message(),
        }
    }
}
