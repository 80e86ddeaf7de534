//! What a program asks of a watcher: channels, ranges, and messages to the server.

use serde::Serialize;
use serde_json::json;

use super::send_error::SendError;
use super::tracked_channel::TrackedChannel;
use super::watcher::Watcher;
use crate::message::{ChannelName, NameError};

/// The number of ranges of one channel that may be requested and not yet complete. A server drops
/// requests beyond that.
const MAX_PENDING_RANGES: usize = 16;

/// The most requests and messages that wait to be given to the socket.
const MAX_UNSENT: usize = 4096;

impl Watcher {
    /// Watches one more channel, with the options that the watcher was built with. The server is
    /// told when the next event is asked for. A channel that is watched already changes nothing.
    ///
    /// # Errors
    /// If the name is not valid.
    pub fn watch(&mut self, channel: &str) -> Result<(), NameError> {
        self.add(TrackedChannel::new(ChannelName::parse(channel)?));
        Ok(())
    }

    pub(super) fn add(&mut self, mut channel: TrackedChannel) {
        if self.channels().all(|known| known != channel.name()) {
            self.unwatched.remove(channel.name());
            if let Some(position) = self.restored.take(channel.name()) {
                channel.resume_at(position);
            }
            if self.is_open() {
                let request = channel.subscribe_request(self.config.options);
                self.unsent.push_back(request);
            }
            self.channels.push(channel);
        }
    }

    /// Stops watching a channel. The server is told when the next event is asked for. Returns false
    /// if the channel is not watched.
    ///
    /// No event of the channel comes after this call. A [pattern](super::WatcherBuilder::pattern)
    /// does not find the channel again; [`watch`](Self::watch) begins anew with it.
    pub fn unwatch(&mut self, channel: &str) -> bool {
        let found = self
            .channels
            .iter()
            .position(|known| known.name().as_str() == channel);
        let Some(found) = found else {
            return false;
        };
        let name = self.channels.remove(found).name().clone();
        self.events.retain(|event| event.channel() != Some(&name));
        if let Some(discovery) = &mut self.discovery {
            discovery.ignore(&name);
        }
        if self.is_open() {
            let request = json!({"type": "unsubscribe", "channel": channel, "data": channel});
            self.unsent.push_back(request.to_string());
            self.unwatched.insert(name);
        }
        true
    }

    /// Asks for the messages `from..=to` of a channel again, such as those of an
    /// [`Event::Gap`](super::Event::Gap).
    ///
    /// They come between an [`Event::Replay`](super::Event::Replay) and an
    /// [`Event::Replayed`](super::Event::Replayed). They do not come if the connection is lost
    /// before that.
    ///
    /// Returns false if they cannot be asked for: there is no connection, the channel is not
    /// watched, the server does not number its messages, the range is empty or begins at 0, or 16
    /// ranges of the channel are still to come.
    pub fn refetch(&mut self, channel: &str, from: u64, to: u64) -> bool {
        if !self.is_open() {
            return false;
        }
        let request = self
            .channels
            .iter_mut()
            .find(|known| known.name().as_str() == channel)
            .filter(|known| known.pending_ranges() < MAX_PENDING_RANGES)
            .and_then(|known| known.range_request(from, to));
        let is_possible = request.is_some();
        self.unsent.extend(request);
        is_possible
    }

    /// Sends a text message to the server, unchanged. The program there gets it with
    /// [`HubBuilder::on_message`](crate::HubBuilder::on_message), unless it is a command of the
    /// protocol.
    ///
    /// It is sent while events are asked for, in the order of the calls. It is lost if the
    /// connection is lost before that. Nothing tells whether the server received it.
    ///
    /// # Errors
    /// If there is no connection, or 4,096 messages wait already.
    pub fn send(&mut self, message: impl Into<String>) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::NotConnected);
        }
        if self.unsent.len() >= MAX_UNSENT {
            return Err(SendError::Full);
        }
        self.unsent.push_back(message.into());
        Ok(())
    }

    /// Sends a value as JSON, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// If the value cannot be serialized, there is no connection, or 4,096 messages wait already.
    pub fn send_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.send(serde_json::to_string(value).map_err(SendError::Serialize)?)
    }
}
