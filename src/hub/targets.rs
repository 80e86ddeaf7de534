//! Finds the channel that a message is published to.

use std::ops::Deref;
use std::sync::Arc;

use super::Engine;
use crate::channel::{Channel, Publisher};
use crate::message::{ChannelName, NameError, ProcessChannelName, ProcessId};
use crate::reason::RefusalReason;

/// A channel, for the time of one publication.
pub(super) enum Target {
    /// A channel that has a subscriber or a publisher.
    Live(Arc<Channel>),
    /// A channel with a history. The publisher keeps it alive until its history holds the message.
    Kept(Publisher),
}

impl Deref for Target {
    type Target = Arc<Channel>;

    fn deref(&self) -> &Arc<Channel> {
        match self {
            Self::Live(channel) => channel,
            Self::Kept(publisher) => publisher.target(),
        }
    }
}

impl Engine {
    /// Returns the channel of a process, or `None` if a message to it has no effect.
    ///
    /// Allocates nothing for a channel that exists, unless the hub keeps a history.
    pub(super) fn process_target(&self, process_id: &str) -> Result<Option<Target>, NameError> {
        match ProcessChannelName::new(process_id) {
            Some(name) => self.target(name.as_str()),
            // An id that is too long is no process id.
            None => ProcessId::parse(process_id).map(|_| None),
        }
    }

    /// Returns the channel of this name, or `None` if a message to it has no effect.
    ///
    /// A message has no effect if the channel does not exist and either the hub keeps no history,
    /// or there are as many channels as [`HubBuilder::max_channels`](super::HubBuilder) allows.
    pub(super) fn target(&self, name: &str) -> Result<Option<Target>, NameError> {
        if self.shared.keeps_history() {
            let name = ChannelName::parse(name)?;
            let publisher = Publisher::bounded(Arc::clone(&self.registry), &name);
            if publisher.is_err() {
                self.totals().count_refused(RefusalReason::ChannelLimit);
            }
            return Ok(publisher.ok().map(Target::Kept));
        }
        match self.registry.find(name) {
            Some(channel) => Ok(Some(Target::Live(channel))),
            // A name in the registry is valid: only an unknown one has to be checked.
            None => ChannelName::parse(name).map(|_| None),
        }
    }
}
