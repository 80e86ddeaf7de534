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
    /// A channel with a history, a bridge or other nodes. The publisher keeps it alive until the message is
    /// pushed.
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
            Some(name) => self
                .target(name.as_str())
                // The error is about the id and not about the channel made of it.
                .map_err(|error| ProcessId::parse(process_id).err().unwrap_or(error)),
            // An id that is too long is no process id.
            None => ProcessId::parse(process_id).map(|_| None),
        }
    }

    /// Returns the channel of this name, or `None` if a message to it has no effect.
    ///
    /// A message has no effect if the channel does not exist and either the hub has neither history
    /// nor bridge nor other nodes, or there are as many channels as [`HubBuilder::max_channels`] allows.
    ///
    /// [`HubBuilder::max_channels`]: super::HubBuilder::max_channels
    pub(super) fn target(&self, name: &str) -> Result<Option<Target>, NameError> {
        let shared = &self.shared;
        if shared.keeps_history() || shared.exports.is_some() || shared.sharing.is_some() {
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

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::Hub;

    #[test]
    fn an_unknown_channel_is_no_target_unless_a_history_keeps_what_is_published() {
        let (live, kept) = (Hub::new(), Hub::builder().history(10).build().unwrap());
        assert!(live.engine().target("c").unwrap().is_none());
        assert!(matches!(
            kept.engine().target("c").unwrap(),
            Some(Target::Kept(_))
        ));
        let _publisher = live.publisher("c").unwrap();
        assert!(matches!(
            live.engine().target("c").unwrap(),
            Some(Target::Live(_))
        ));
    }

    #[test]
    fn a_history_beyond_the_channel_limit_is_not_begun_and_the_message_is_counted() {
        let hub = Hub::builder().history(10).max_channels(1).build().unwrap();
        hub.send_process_output("a", "line").unwrap();
        hub.send_process_output("b", "line").unwrap();
        assert_eq!(hub.channels().len(), 1);
        assert_eq!(hub.stats().refused["channel limit"], 1);
    }

    #[test]
    fn a_process_id_is_checked_in_the_same_way_whether_its_channel_exists_or_not() {
        let long = "x".repeat(129);
        let longest = "x".repeat(128);
        for hub in [Hub::new(), Hub::builder().history(10).build().unwrap()] {
            let _publisher = hub.publisher("process:web").unwrap();
            for id in ["web", "other", &longest] {
                assert!(hub.engine().process_target(id).is_ok(), "{id}");
            }
            for id in ["", "no spaces", "a:b", &long] {
                let error = hub.engine().process_target(id).map(|_| ()).unwrap_err();
                assert_eq!(error, ProcessId::parse(id).unwrap_err());
            }
        }
    }
}
