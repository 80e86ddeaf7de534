//! Decides who may enter, subscribe and publish.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, request};

use super::Engine;
#[cfg(feature = "server")]
use crate::access::PublishTarget;
use crate::access::{Denial, Identity};
use crate::channel::Client;
#[cfg(feature = "server")]
use crate::message::Action;
use crate::message::ChannelName;

impl Engine {
    /// Replaces the peer address of a request by that of the client behind trusted proxies.
    pub(crate) fn resolve_peer(&self, head: &mut request::Parts) {
        self.gate.proxies.resolve(head);
    }

    /// Chooses a subprotocol among those that a handshake offers.
    pub(crate) fn choose_subprotocol(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.gate.subprotocols.choose(headers)
    }

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

#[cfg(all(test, feature = "server", not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::access::{Grants, PeerInfo};
    use crate::channel::ClientKind;
    use crate::message::{Message, ProcessId, ProcessOrder};
    use crate::{Hub, HubBuilder};

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn client(hub: &Hub, identity: Option<Identity>) -> Arc<Client> {
        let peer = PeerInfo {
            address: None,
            identity,
        };
        hub.engine().make_client(peer, ClientKind::Http)
    }

    /// An identity that may see `process:web` and `c`, and publish to `c` and to all clients.
    fn limited() -> Identity {
        let grants = Grants::default()
            .subscribe(["process:web", "c"])
            .and_then(|grants| grants.publish(["c", "@everyone"]))
            .unwrap();
        Identity::new("alice").with_grants(grants)
    }

    /// One action of each kind that the rights tell apart, and its name.
    fn actions() -> Vec<(&'static str, Action)> {
        let message = || Message::output("line");
        let process_id = ProcessId::parse("web").unwrap();
        vec![
            ("stats", Action::Stats),
            (
                "count c",
                Action::SubscriberCount {
                    channel: channel("c"),
                },
            ),
            (
                "count d",
                Action::SubscriberCount {
                    channel: channel("d"),
                },
            ),
            ("everyone", Action::SendEvent { message: message() }),
            (
                "publish c",
                Action::SendChannel {
                    channel: channel("c"),
                    message: message(),
                },
            ),
            (
                "output",
                Action::SendProcessOutput {
                    process_id: process_id.clone(),
                    output: String::new(),
                },
            ),
            (
                "order",
                Action::OrderProcess {
                    process_id,
                    order: ProcessOrder::Stop,
                },
            ),
        ]
    }

    fn permitted(hub: HubBuilder, identity: Option<Identity>) -> Vec<&'static str> {
        let hub = hub.build().unwrap();
        let client = client(&hub, identity);
        actions()
            .into_iter()
            .filter(|(_, action)| hub.engine().permits(&client, action))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn a_sender_without_identity_and_callbacks_may_do_everything() {
        let all: Vec<_> = actions().into_iter().map(|(name, _)| name).collect();
        assert_eq!(permitted(Hub::builder(), None), all);
    }

    #[test]
    fn grants_limit_each_action_by_its_target() {
        assert_eq!(
            permitted(Hub::builder(), Some(limited())),
            ["stats", "count c", "everyone", "publish c"]
        );
    }

    #[test]
    fn both_the_grants_and_the_callback_have_to_allow() {
        let only_channels = || {
            Hub::builder().authorize_publish(|identity, target| {
                assert!(identity.is_none_or(|identity| identity.user() == "alice"));
                matches!(target, PublishTarget::Channel(_))
            })
        };
        assert_eq!(
            permitted(only_channels(), None),
            ["stats", "count c", "count d", "publish c", "output"]
        );
        assert_eq!(
            permitted(only_channels(), Some(limited())),
            ["stats", "count c", "publish c"]
        );
    }

    #[test]
    fn a_callback_that_panics_refuses() {
        let panics = Hub::builder()
            .authorize_publish(|_, _| panic!("on purpose"))
            .on_subscribe(|_, _| panic!("on purpose"));
        assert_eq!(permitted(panics, None), ["stats"]);
    }

    #[test]
    fn a_subscription_needs_the_grant_before_the_callback_is_asked() {
        let hub = Hub::builder()
            .on_subscribe(|_, channel| {
                assert_ne!(channel.as_str(), "d", "no grant covers it");
                channel.as_str() != "process:web"
            })
            .build()
            .unwrap();
        let alice = client(&hub, Some(limited()));
        for (name, expected) in [("c", true), ("process:web", false), ("d", false)] {
            let authorized = hub.engine().authorizes(&alice, &channel(name));
            assert_eq!(authorized, expected, "{name}");
        }
    }
}
