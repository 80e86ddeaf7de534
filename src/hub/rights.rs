//! Decides who may enter, subscribe and publish.

use std::sync::Arc;

use http::request;

use super::Engine;
#[cfg(feature = "server")]
use crate::access::PublishTarget;
use crate::access::{Denial, Identity};
use crate::channel::Client;
#[cfg(feature = "server")]
use crate::message::Action;
use crate::message::ChannelName;

impl Engine {
    /// Asks the gate whether a request may enter. Returns the identity of its sender, or `None` if
    /// there is no authenticator.
    pub(crate) async fn admit(&self, head: &request::Parts) -> Result<Option<Identity>, Denial> {
        self.gate.admit(head).await
    }

    /// Returns whether a client may subscribe to a channel: its grants and the callback both have
    /// to allow it. A client without an identity has no grants that limit it.
    pub(crate) fn authorizes(&self, client: &Arc<Client>, channel: &ChannelName) -> bool {
        let grants = client.identity().and_then(Identity::grants);
        grants.is_none_or(|grants| grants.may_subscribe(channel))
            && self.callbacks.allows_subscription(client, channel)
    }

    /// Returns whether the sender of an action may have it executed.
    #[cfg(feature = "server")]
    pub(crate) fn permits(&self, client: &Arc<Client>, action: &Action) -> bool {
        let may_publish = |target: PublishTarget<'_>| self.may_publish(client.identity(), target);
        match action {
            Action::ClientCount | Action::ChannelCount | Action::Stats => true,
            Action::SubscriberCount { channel } => self.authorizes(client, channel),
            Action::Broadcast { .. } | Action::SendEvent { .. } | Action::SendError { .. } => {
                may_publish(PublishTarget::Everyone)
            }
            Action::SendChannel { channel, .. } => may_publish(PublishTarget::Channel(channel)),
            Action::SendProcessOutput { process_id, .. }
            | Action::SendProcessStatus { process_id, .. } => {
                may_publish(PublishTarget::Channel(&ChannelName::process(process_id)))
            }
            Action::OrderProcess { process_id, .. } => {
                may_publish(PublishTarget::Process(&ChannelName::process(process_id)))
            }
        }
    }

    #[cfg(feature = "server")]
    fn may_publish(&self, identity: Option<&Identity>, target: PublishTarget<'_>) -> bool {
        let grants = identity.and_then(Identity::grants);
        grants.is_none_or(|grants| grants.may_publish(target))
            && self.callbacks.allows_publication(identity, target)
    }
}
