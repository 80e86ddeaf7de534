//! A handle to publish to one channel without looking it up.

use std::sync::Arc;

use bytes::Bytes;

use super::registry::{ChannelLimit, Registry};
use super::{Channel, Run};
use crate::message::{ChannelName, Lines, Message, Status};

/// Publishes to one channel. Made by [`Hub::publisher`](crate::Hub::publisher).
///
/// Publishing through a handle touches no map and, but for a status, takes no lock. It may be called from any thread, inside a runtime or not; it
/// never blocks and never waits for a client. Each method answers how many subscribers the channel had at that moment; what those were
/// spared because their queue was full is in the counters of the channel and of the client.
///
/// Cloning is cheap. While a handle lives, the channel keeps its numbering even when nobody is subscribed.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = outrace::Hub::new();
/// let web = hub.publisher("process:web")?;
/// std::thread::spawn(move || web.send_line("listening on :3000")).join().unwrap();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Publisher {
    channel: Arc<Channel>,
    registry: Arc<Registry>,
}

impl Publisher {
    /// The channel itself.
    pub(crate) fn target(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(crate) fn new(registry: Arc<Registry>, name: &ChannelName) -> Self {
        Self {
            channel: registry.pin(name),
            registry,
        }
    }

    /// For one message, of whoever asks: only if the channel exists or there may be one more.
    pub(crate) fn bounded(
        registry: Arc<Registry>,
        name: &ChannelName,
    ) -> Result<Self, ChannelLimit> {
        Ok(Self {
            channel: registry.pin_bounded(name)?,
            registry,
        })
    }

    /// The channel it publishes to.
    pub fn channel(&self) -> &ChannelName {
        self.channel
            .name()
            .expect("a publisher is made for a channel with a name")
    }

    /// How many subscribers the channel has now.
    pub fn subscriber_count(&self) -> usize {
        self.channel.listeners()
    }

    /// Whether publishing reaches anybody now, or is kept in a history. While it is not, a caller that has lines by the megabyte can spare
    /// making [`Lines`] of them: it counts them and calls [`Publisher::count_unwatched`].
    pub fn is_watched(&self) -> bool {
        self.channel.is_wanted()
    }

    /// Whether what is published now waits for the hub's next flush.
    #[cfg(feature = "process")]
    pub(crate) fn is_paced(&self) -> bool {
        self.channel.is_paced()
    }

    /// Tells that so many lines were published while nobody listened. They enter the channel's numbering, as they would have by
    /// [`Publisher::send_lines`].
    pub fn count_unwatched(&self, lines: u64) {
        self.channel.count_unwatched(lines);
    }

    /// Publishes one line of output: a `process_output` message. Invalid UTF-8 becomes U+FFFD. Copies the line unless nobody listens.
    pub fn send_line(&self, line: impl AsRef<[u8]>) -> usize {
        if !self.channel.is_wanted() {
            self.channel.count_unwatched(1);
            return 0;
        }
        self.channel
            .publish(Run::Line(Bytes::copy_from_slice(line.as_ref())))
    }

    /// Publishes a run of lines at once: as many messages, no other publisher's between them.
    pub fn send_lines(&self, lines: Lines) -> usize {
        self.channel.publish(Run::Lines(lines))
    }

    /// Publishes a message of any type.
    pub fn send(&self, message: Message) -> usize {
        self.channel.publish(Run::Message(Box::new(message)))
    }

    /// Publishes a `process_status` message. The exit code is 0 for a status that is no exit.
    pub fn send_status(&self, status: impl Into<Status>, exit_code: i32) -> usize {
        self.send(Message::status(&status.into(), exit_code))
    }
}

impl Clone for Publisher {
    fn clone(&self) -> Self {
        Self {
            channel: self.registry.pin(self.channel()),
            registry: Arc::clone(&self.registry),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.registry.unpin(&self.channel);
    }
}
