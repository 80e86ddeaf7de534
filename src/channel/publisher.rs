//! A handle to publish to one channel without looking it up.

use std::sync::Arc;

use bytes::Bytes;

use super::registry::{ChannelLimit, Registry};
use super::{Channel, Run};
use crate::message::{ChannelName, Lines, Message, Status};

/// Publishes to one channel. Made by [`Hub::publisher`](crate::Hub::publisher).
///
/// Publishing through a handle uses no map, and takes no lock except for a status. It may be called
/// from any thread, inside a runtime or not. It never blocks and never waits for a client. Each
/// method returns the number of subscribers at that moment. Messages that are skipped because a
/// subscriber's queue is full are counted for the channel and for the client.
///
/// Cloning is cheap. While a handle lives, the channel keeps its numbering even without
/// subscribers.
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
    /// Returns the channel itself.
    pub(crate) fn target(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(crate) fn new(registry: Arc<Registry>, name: &ChannelName) -> Self {
        Self {
            channel: registry.pin(name),
            registry,
        }
    }

    /// Makes a handle for one message, if the channel exists or one more is allowed.
    ///
    /// # Errors
    /// [`ChannelLimit`] when the channel does not exist, and as many others as allowed do.
    pub(crate) fn bounded(
        registry: Arc<Registry>,
        name: &ChannelName,
    ) -> Result<Self, ChannelLimit> {
        Ok(Self {
            channel: registry.pin_bounded(name)?,
            registry,
        })
    }

    /// Returns the name of the channel it publishes to.
    pub fn channel(&self) -> &ChannelName {
        self.channel
            .name()
            .expect("a publisher is made for a channel with a name")
    }

    /// Returns the number of subscribers that the channel has now.
    pub fn subscriber_count(&self) -> usize {
        self.channel.listeners()
    }

    /// Returns whether a message published now reaches a subscriber, is kept in a history, or may be
    /// wanted by a bridge or by another node.
    ///
    /// While it is false, a caller with many lines need not make [`Lines`] of them: it counts them
    /// and calls [`Publisher::count_unwatched`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hub = outrace::Hub::new();
    /// let web = hub.publisher("process:web")?;
    /// let output = "one\ntwo\n";
    /// if web.is_watched() {
    ///     web.send_lines(outrace::Lines::split(output));
    /// } else {
    ///     web.count_unwatched(output.lines().count() as u64);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn is_watched(&self) -> bool {
        self.channel.is_wanted()
    }

    /// Returns whether a message published now waits for the hub's next flush.
    #[cfg(feature = "process")]
    pub(crate) fn is_paced(&self) -> bool {
        self.channel.is_paced()
    }

    /// Counts lines that were published while there were no subscribers. They enter the channel's
    /// numbering as if by [`Publisher::send_lines`].
    pub fn count_unwatched(&self, lines: u64) {
        self.channel.count_unwatched(lines);
    }

    /// Publishes one line of output: a `process_output` message. Invalid UTF-8 becomes U+FFFD. The
    /// line is copied unless [`is_watched`](Self::is_watched) is false.
    pub fn send_line(&self, line: impl AsRef<[u8]>) -> usize {
        if !self.channel.is_wanted() {
            self.channel.count_unwatched(1);
            return 0;
        }
        self.channel
            .publish(Run::Line(Bytes::copy_from_slice(line.as_ref())))
    }

    /// Publishes a run of lines at once: as many messages, with no other publisher's between them.
    pub fn send_lines(&self, lines: Lines) -> usize {
        self.channel.publish(Run::Lines(lines))
    }

    /// Shows the line that the process is still writing to subscriptions with `partial`. An empty
    /// text says that there is none any more.
    ///
    /// The latest text wins, at most ten times a second. It is never kept in a history and has no
    /// number. A `\r` begins it anew. A final status ends it.
    ///
    /// The text is remembered while no subscription sees it, for one that comes later. So a caller
    /// shows each change, watched or not. It costs a copy of the text, and no line waits for it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hub = outrace::Hub::new();
    /// let build = hub.publisher("process:build")?;
    /// build.show_partial(b"downloading 10%");
    /// build.show_partial(b"downloading 10%\rdownloading 20%");
    /// build.send_line("downloading 10%\rdownloading 20%, done");
    /// build.show_partial(b"");
    /// # Ok(()) }
    /// ```
    pub fn show_partial(&self, text: &[u8]) {
        self.channel.show_partial(text);
    }

    /// Returns whether a subscription of this channel asked for `partial`.
    pub fn shows_partial(&self) -> bool {
        self.channel.shows_partial()
    }

    /// Publishes a message of any type.
    pub fn send(&self, message: Message) -> usize {
        self.channel.publish(Run::Message(Box::new(message)))
    }

    /// Publishes a `process_status` message. The exit code is 0 for a status other than an exit.
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
