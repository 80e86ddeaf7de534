//! Subscribes clients to channels and unsubscribes them.

use std::sync::Arc;

use super::Engine;
use crate::channel::{
    Channel, ChannelLimit, Client, HubShared, OffersUnderway, Presence, Subscription,
};
use crate::encode::{Encoding, Envelope, single};
use crate::message::{ChannelName, Message};
use crate::protocol::{Command, Range, SubscribeOptions, SubscribeRefusal};

impl Engine {
    /// Executes a command of a client.
    ///
    /// After an unsubscription, messages may still be on their way to the client. They come before
    /// the answer to its next message, so that message has to wait until the returned offers are
    /// over.
    pub(crate) fn command(
        &self,
        client: &Arc<Client>,
        command: Command<'_>,
    ) -> Option<OffersUnderway> {
        match command {
            Command::Subscribe { channel, options } => {
                tracing::trace!(client = %client.id(), %channel, ?options, "subscribe");
                let subscribed = match options {
                    Ok(options) => self.subscribe(client, &channel, options),
                    Err(_) => Err(SubscribeRefusal::Options),
                };
                if let Err(refusal) = subscribed {
                    tracing::debug!(
                        client = %client.id(), %channel, %refusal, "refused a subscription"
                    );
                    self.totals().count_refused(refusal.reason());
                    self.reply(client, Message::error(refusal.as_str()));
                }
            }
            Command::Unsubscribe { channel } => {
                tracing::trace!(client = %client.id(), %channel, "unsubscribe");
                let _changing = client.presence();
                return self.unsubscribe(client, &channel);
            }
            // The answer proves that the subscriptions before it are active.
            Command::Ping => match self.unsynced_channel(client) {
                Some(mirror) => mirror.answer_when_synced(Arc::clone(client)),
                None => client.pong(self.totals()),
            },
        }
        None
    }

    /// Sends a message to one client.
    fn reply(&self, client: &Client, message: Message) {
        let frame = single(&Envelope::new(None), &message, &HubShared::timestamp());
        client.count_single(self.totals(), client.outbox.offer_reserved(frame));
    }

    /// Subscribes a client to a channel.
    ///
    /// If the client is subscribed already, the effect depends on the options. Without options
    /// nothing changes. A range is sent again on the existing subscription, provided that one has
    /// options itself. Any other options replace the subscription by a new one.
    fn subscribe(
        &self,
        client: &Arc<Client>,
        channel: &str,
        options: Option<SubscribeOptions>,
    ) -> Result<(), SubscribeRefusal> {
        let name = ChannelName::parse(channel).map_err(|error| SubscribeRefusal::from(&error))?;
        if !self.authorizes(client, &name) {
            return Err(SubscribeRefusal::Unauthorized);
        }
        let _changing = client.presence();
        self.subscribe_authorized(client, name, options)
    }

    /// Subscribes a client to a channel for the program. Returns `None` if the client is not
    /// registered.
    pub(super) fn subscribe_on_behalf(
        &self,
        client: &Arc<Client>,
        channel: ChannelName,
    ) -> Option<Result<(), SubscribeRefusal>> {
        if !self.authorizes(client, &channel) {
            return Some(Err(SubscribeRefusal::Unauthorized));
        }
        let presence = client.presence();
        let is_registered = *presence == Presence::Registered;
        is_registered.then(|| self.subscribe_authorized(client, channel, None))
    }

    /// Unsubscribes a client from a channel for the program. Returns whether it was subscribed.
    pub(super) fn unsubscribe_on_behalf(&self, client: &Client, channel: &ChannelName) -> bool {
        let _changing = client.presence();
        let is_subscribed = client.lock().contains_key(channel);
        // No answer of this client has to wait for the offers under way.
        let _ = self.unsubscribe(client, channel.as_str());
        is_subscribed
    }

    /// Does what is left to do once the client may subscribe. The caller holds the lock for changes
    /// of its subscriptions.
    fn subscribe_authorized(
        &self,
        client: &Arc<Client>,
        name: ChannelName,
        mut options: Option<SubscribeOptions>,
    ) -> Result<(), SubscribeRefusal> {
        let (existing, count) = {
            let subscriptions = client.lock();
            (subscriptions.get(&name).cloned(), subscriptions.len())
        };
        let range = options.as_mut().and_then(|options| options.range.take());
        if let Some(existing) = existing {
            if options.is_none() {
                return Ok(());
            }
            if let (Some(range), true) = (&range, existing.is_tracked()) {
                existing.channel.refetch(&existing, range.clone());
                return Ok(());
            }
            self.unsubscribe(client, name.as_str());
        } else if count >= self.config().max_subscriptions {
            return Err(SubscribeRefusal::Limit);
        }
        let encoding = options.as_ref().map_or(Encoding::Json, |options| {
            Encoding::of_web_socket(options.batch, options.detail)
        });
        self.join(client, name, encoding, options, range)
    }

    /// Subscribes a client to a channel to which it is not subscribed, then sends it `range` again.
    pub(crate) fn join(
        &self,
        client: &Arc<Client>,
        name: ChannelName,
        encoding: Encoding,
        options: Option<SubscribeOptions>,
        range: Option<Range>,
    ) -> Result<(), SubscribeRefusal> {
        let channel: Arc<Channel> = self
            .registry
            .pin_bounded(&name)
            .map_err(|ChannelLimit| SubscribeRefusal::Channels)?;
        let subscription = Arc::new(Subscription::new(
            Arc::clone(client),
            Arc::clone(&channel),
            encoding,
            options,
        ));
        client.lock().insert(name, Arc::clone(&subscription));
        if channel.join(&subscription) {
            self.registry.count_live();
            self.note_interest(&channel);
        }
        if let Some(range) = range {
            channel.refetch(&subscription, range);
        }
        Ok(())
    }

    /// Delivers what the client's subscriptions have pending. Called once its writer has written
    /// everything.
    pub(crate) fn resume(&self, client: &Client) {
        for subscription in client.take_pending() {
            subscription.channel.resume(&subscription);
        }
    }

    /// Returns a mirror that keeps the client's subscriptions waiting.
    fn unsynced_channel(&self, client: &Client) -> Option<Arc<Channel>> {
        self.shared.interest.as_ref()?;
        client.unsynced_channel()
    }

    /// Tells a hub of mirrors that a channel got its first subscriber or lost its last one.
    fn note_interest(&self, channel: &Channel) {
        if let (Some(interest), Some(name)) = (&self.shared.interest, channel.name()) {
            interest.note(name);
        }
    }

    fn unsubscribe(&self, client: &Client, channel: &str) -> Option<OffersUnderway> {
        let subscription = client.lock().remove(channel)?;
        self.leave(&subscription);
        subscription.channel.offers_underway()
    }

    /// Removes a subscription from its channel.
    pub(super) fn leave(&self, subscription: &Arc<Subscription>) {
        if subscription.channel.leave(subscription) {
            self.registry.count_dead();
            self.note_interest(&subscription.channel);
        }
        self.registry.unpin(&subscription.channel);
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::access::PeerInfo;
    use crate::channel::ClientKind;
    use crate::outbox::OutboxReader;
    use crate::{Hub, HubBuilder};

    /// A client without a socket, whose outbox the test reads.
    struct Peer {
        hub: Hub,
        client: Arc<Client>,
        membership: Arc<Subscription>,
    }

    impl Peer {
        fn connect(hub: &Hub) -> Self {
            let engine = hub.engine();
            let client = engine.make_client(PeerInfo::default(), ClientKind::WebSocket);
            Self {
                membership: engine.register(&client),
                hub: hub.clone(),
                client,
            }
        }

        fn subscribe(&self, channel: &str, options: Option<SubscribeOptions>) {
            self.command(Command::Subscribe {
                channel: channel.into(),
                options: Ok(options),
            });
        }

        fn command(&self, command: Command<'_>) {
            self.hub.engine().command(&self.client, command);
        }

        fn subscription(&self, channel: &str) -> Option<Arc<Subscription>> {
            self.client.lock().get(channel).cloned()
        }

        /// Everything that waits for the client, as text.
        fn received(&self) -> String {
            let mut reader = OutboxReader::default();
            reader.take(&self.client.outbox);
            let mut bytes = Vec::new();
            while let Some(parcel) = reader.pop() {
                bytes.extend_from_slice(&parcel.bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }

        fn leave(self) {
            self.hub.engine().leave_all(&self.membership);
        }
    }

    fn hub(settings: HubBuilder) -> Hub {
        settings.build().unwrap()
    }

    fn gaps() -> Option<SubscribeOptions> {
        Some(SubscribeOptions {
            gaps: true,
            ..SubscribeOptions::default()
        })
    }

    fn range(seq: u64, epoch: &str) -> Option<SubscribeOptions> {
        Some(SubscribeOptions {
            range: Some(Range {
                epoch: epoch.to_owned(),
                from: seq,
                to: seq,
            }),
            ..SubscribeOptions::default()
        })
    }

    #[tokio::test]
    async fn a_channel_lives_from_its_first_subscription_to_its_last() {
        let hub = hub(Hub::builder());
        let (a, b) = (Peer::connect(&hub), Peer::connect(&hub));
        a.subscribe("c", None);
        a.subscribe("c", None);
        b.subscribe("c", None);
        assert_eq!(
            (hub.channel_count(), hub.channel_subscriber_count("c")),
            (1, 2)
        );
        a.command(Command::Unsubscribe {
            channel: "c".into(),
        });
        a.command(Command::Unsubscribe {
            channel: "c".into(),
        });
        assert_eq!(
            (hub.channel_count(), hub.channel_subscriber_count("c")),
            (1, 1)
        );
        b.leave();
        assert_eq!(
            (hub.channel_count(), hub.channel_subscriber_count("c")),
            (0, 0)
        );
        assert!(hub.engine().registry.find("c").is_none());
    }

    #[tokio::test]
    async fn a_subscription_again_changes_nothing_without_options_and_is_a_new_one_with_them() {
        let hub = hub(Hub::builder());
        let peer = Peer::connect(&hub);
        peer.subscribe("c", None);
        let first = peer.subscription("c").unwrap();
        peer.subscribe("c", None);
        assert!(Arc::ptr_eq(&first, &peer.subscription("c").unwrap()));
        peer.subscribe("c", gaps());
        let second = peer.subscription("c").unwrap();
        assert!(!Arc::ptr_eq(&first, &second) && first.has_left());
        assert_eq!(hub.channel_subscriber_count("c"), 1);
    }

    #[tokio::test]
    async fn a_range_is_sent_on_the_subscription_that_there_is_if_that_has_options() {
        let hub = hub(Hub::builder().history(10));
        let peer = Peer::connect(&hub);
        peer.subscribe("c", gaps());
        let first = peer.subscription("c").unwrap();
        hub.send_to_channel("c", Message::output("once")).unwrap();
        hub.engine().flush();
        assert_eq!(peer.received().matches("once").count(), 1);
        let epoch = first.channel.epoch().to_string();
        peer.subscribe("c", range(1, &epoch));
        hub.engine().flush();
        assert!(Arc::ptr_eq(&first, &peer.subscription("c").unwrap()));
        assert_eq!(peer.received().matches("once").count(), 1);
    }

    #[tokio::test]
    async fn each_refusal_is_counted_and_answered_and_leaves_no_subscription() {
        let hub = hub(Hub::builder()
            .max_subscriptions(2)
            .max_channels(2)
            .on_subscribe(|_, channel| channel.as_str() != "secret"));
        let (a, b) = (Peer::connect(&hub), Peer::connect(&hub));
        a.subscribe("c", None);
        b.subscribe("no spaces", None);
        b.subscribe("process:", None);
        b.subscribe("secret", None);
        b.command(Command::Subscribe {
            channel: "c".into(),
            options: Err(crate::protocol::InvalidOptions),
        });
        assert_eq!(b.client.subscriptions().len(), 0);
        b.subscribe("d", None);
        b.subscribe("e", None);
        b.subscribe("c", None);
        b.subscribe("f", None);
        let names: Vec<_> = b.client.subscriptions().collect();
        assert_eq!(
            names,
            ["c", "d"].map(|name| ChannelName::parse(name).unwrap())
        );
        let received = b.received();
        for refusal in [
            SubscribeRefusal::ChannelName,
            SubscribeRefusal::ProcessId,
            SubscribeRefusal::Unauthorized,
            SubscribeRefusal::Options,
            SubscribeRefusal::Channels,
            SubscribeRefusal::Limit,
        ] {
            assert_eq!(received.matches(refusal.as_str()).count(), 1, "{refusal}");
        }
        let refused = hub.stats().refused;
        assert_eq!(refused.values().sum::<u64>(), 6);
        assert_eq!(refused["invalid name"], 2);
    }

    #[tokio::test]
    async fn a_ping_is_answered() {
        let hub = hub(Hub::builder());
        let peer = Peer::connect(&hub);
        peer.command(Command::Ping);
        assert!(peer.received().contains(r#""type":"pong""#));
    }
}
