//! Subscribes clients to channels and unsubscribes them.

use std::sync::Arc;

use super::Engine;
use crate::channel::{Channel, ChannelLimit, Client, HubShared, OffersUnderway, Subscription};
use crate::encode::{Encoding, Envelope, single};
use crate::message::{ChannelName, Message, MessageType};
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
                tracing::trace!(client = %client.id(), channel, ?options, "subscribe");
                let subscribed = match options {
                    Ok(options) => self.subscribe(client, channel, options),
                    Err(_) => Err(SubscribeRefusal::Options),
                };
                if let Err(refusal) = subscribed {
                    tracing::debug!(
                        client = %client.id(), channel, %refusal, "refused a subscription"
                    );
                    self.totals().count_refused(refusal.reason());
                    self.reply(client, Message::error(refusal.as_str()));
                }
            }
            Command::Unsubscribe { channel } => {
                tracing::trace!(client = %client.id(), channel, "unsubscribe");
                return self.unsubscribe(client, channel);
            }
            Command::Ping => self.reply(client, Message::new(MessageType::Pong)),
        }
        None
    }

    /// Sends a message to one client.
    fn reply(&self, client: &Client, message: Message) {
        let frame = single(&Envelope::new(None), &message, &HubShared::timestamp());
        client.count_single(&self.shared, client.outbox.offer_reserved(frame));
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
        mut options: Option<SubscribeOptions>,
    ) -> Result<(), SubscribeRefusal> {
        let name = ChannelName::parse(channel).map_err(|error| SubscribeRefusal::from(&error))?;
        if !self.authorizes(client, &name) {
            return Err(SubscribeRefusal::Unauthorized);
        }
        let (existing, count) = {
            let subscriptions = client.lock();
            (subscriptions.get(&name).cloned(), subscriptions.len())
        };
        let range = options.as_mut().and_then(|options| options.range.take());
        if let Some(existing) = existing {
            if options.is_none() {
                return Ok(());
            }
            if let (Some(range), Some(_)) = (&range, existing.tracked()) {
                existing.channel.refetch(&existing, range.clone());
                return Ok(());
            }
            self.unsubscribe(client, name.as_str());
        } else if count >= self.config().max_subscriptions {
            return Err(SubscribeRefusal::Limit);
        }
        let batch = options.as_ref().is_some_and(|options| options.batch);
        let encoding = if batch {
            Encoding::Batch
        } else {
            Encoding::Json
        };
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
        }
        if let Some(range) = range {
            channel.refetch(&subscription, range);
        }
        Ok(())
    }

    /// Delivers what the client's subscriptions have pending. Called once its writer has written
    /// everything.
    pub(crate) fn resume(&self, client: &Client) {
        for subscription in client.owed_subscriptions() {
            subscription.channel.resume(&subscription);
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
        }
        self.registry.unpin(&subscription.channel);
    }
}
