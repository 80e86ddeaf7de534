//! What a program does on behalf of a client.

use std::sync::Arc;

use super::{Engine, Hub};
use crate::channel::{Client, ClientKind};
use crate::message::{ChannelName, NameError};
use crate::protocol::SubscribeRefusal;

/// The reason why [`Client::subscribe`] did not subscribe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSubscribeError {
    /// The channel's name is not valid.
    #[error(transparent)]
    InvalidChannel(#[from] NameError),
    /// The client's grants or [`HubBuilder::on_subscribe`](crate::HubBuilder::on_subscribe) do not
    /// allow the subscription.
    #[error("the client may not subscribe to the channel")]
    Unauthorized,
    /// The client has as many subscriptions as
    /// [`HubBuilder::max_subscriptions`](crate::HubBuilder::max_subscriptions) allows.
    #[error("the client has as many subscriptions as it may")]
    SubscriptionLimit,
    /// The channel does not exist, and as many others as
    /// [`HubBuilder::max_channels`](crate::HubBuilder::max_channels) allows do.
    #[error("the hub has as many channels as it may")]
    ChannelLimit,
    /// The client is gone, or never connects: it stands for the sender of a request over HTTP.
    #[error("the client is not connected")]
    NotConnected,
    /// The client is a stream over HTTP or a [`Receiver`](crate::Receiver), which have one channel
    /// and no other.
    #[error("the client is no WebSocket, and has one channel alone")]
    NotAWebSocket,
}

impl Client {
    /// Returns the client's hub; `None` after the hub has gone.
    ///
    /// ```
    /// use outrace::Hub;
    ///
    /// let hub = Hub::builder()
    ///     .on_connect(|client| {
    ///         if let Some(hub) = client.hub() {
    ///             hub.send_error(&format!("{} clients are connected", hub.client_count()));
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn hub(&self) -> Option<Hub> {
        let engine = self.owner()?.downcast::<Engine>().ok()?;
        Some(Hub { engine })
    }

    /// Subscribes the client to a channel, as if it had asked for that without options. Nothing
    /// changes if it is subscribed already.
    ///
    /// The checks are those of a client's own request: the name, the client's grants,
    /// [`HubBuilder::on_subscribe`](crate::HubBuilder::on_subscribe), and the limits. The client is
    /// told nothing but the messages. `on_subscribe` is called by this method, so it must not call
    /// it in its turn.
    ///
    /// ```
    /// use outrace::Hub;
    ///
    /// let hub = Hub::builder()
    ///     .on_connect(|client| {
    ///         if let Err(error) = client.subscribe("news") {
    ///             eprintln!("{error}");
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if a check fails, or if the client is no connected WebSocket.
    pub fn subscribe(self: &Arc<Self>, channel: &str) -> Result<(), ClientSubscribeError> {
        let channel = ChannelName::parse(channel)?;
        if self.kind() != ClientKind::WebSocket {
            return Err(ClientSubscribeError::NotAWebSocket);
        }
        let hub = self.hub().ok_or(ClientSubscribeError::NotConnected)?;
        match hub.engine().subscribe_on_behalf(self, channel) {
            Some(subscribed) => subscribed.map_err(|refusal| match refusal {
                SubscribeRefusal::Limit => ClientSubscribeError::SubscriptionLimit,
                SubscribeRefusal::Channels => ClientSubscribeError::ChannelLimit,
                _ => ClientSubscribeError::Unauthorized,
            }),
            None => Err(ClientSubscribeError::NotConnected),
        }
    }

    /// Unsubscribes the client from a channel. Returns whether it was subscribed.
    ///
    /// Messages that already wait for the client are still sent. Returns false for a client that is
    /// no WebSocket.
    ///
    /// # Errors
    /// Returns an error if the channel name is not valid.
    pub fn unsubscribe(self: &Arc<Self>, channel: &str) -> Result<bool, NameError> {
        let channel = ChannelName::parse(channel)?;
        if self.kind() != ClientKind::WebSocket {
            return Ok(false);
        }
        let hub = self.hub();
        Ok(hub.is_some_and(|hub| hub.engine().unsubscribe_on_behalf(self, &channel)))
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::access::PeerInfo;

    fn client(hub: &Hub, kind: ClientKind) -> Arc<Client> {
        hub.engine().make_client(PeerInfo::default(), kind)
    }

    #[tokio::test]
    async fn a_subscription_by_the_program_has_the_checks_of_the_clients_own() {
        let hub = Hub::builder()
            .max_subscriptions(2)
            .max_channels(2)
            .on_subscribe(|_, channel| channel.as_str() != "secret")
            .build()
            .unwrap();
        let client = client(&hub, ClientKind::WebSocket);
        hub.engine().register(&client);
        assert!(matches!(
            client.subscribe("no name"),
            Err(ClientSubscribeError::InvalidChannel(_))
        ));
        let subscribed = ["secret", "a", "a", "b", "c"].map(|name| client.subscribe(name));
        assert_eq!(
            subscribed,
            [
                Err(ClientSubscribeError::Unauthorized),
                Ok(()),
                Ok(()),
                Ok(()),
                Err(ClientSubscribeError::SubscriptionLimit)
            ]
        );
        assert_eq!(client.unsubscribe("a"), Ok(true));
        assert_eq!(client.unsubscribe("a"), Ok(false));
        let other = self::client(&hub, ClientKind::WebSocket);
        hub.engine().register(&other);
        assert_eq!(other.subscribe("c"), Ok(()));
        assert_eq!(
            other.subscribe("d"),
            Err(ClientSubscribeError::ChannelLimit)
        );
        assert_eq!((hub.channel_count(), client.subscriptions().len()), (2, 1));
    }

    #[tokio::test]
    async fn a_client_that_is_not_connected_joins_no_channel() {
        let hub = Hub::new();
        let client = client(&hub, ClientKind::WebSocket);
        assert_eq!(
            client.subscribe("c"),
            Err(ClientSubscribeError::NotConnected)
        );
        let membership = hub.engine().register(&client);
        assert_eq!(client.subscribe("c"), Ok(()));
        hub.engine().leave_all(&membership);
        assert_eq!(
            client.subscribe("c"),
            Err(ClientSubscribeError::NotConnected)
        );
        assert_eq!(hub.channel_count(), 0);
        drop(hub);
        assert!(client.hub().is_none());
        assert_eq!(
            client.subscribe("c"),
            Err(ClientSubscribeError::NotConnected)
        );
    }

    #[tokio::test]
    async fn a_stream_and_a_receiver_keep_their_one_channel() {
        let hub = Hub::new();
        let _receiver = hub.subscribe("c", crate::From::Now).unwrap();
        let receiver = hub.clients().next().unwrap();
        for client in [receiver, client(&hub, ClientKind::Http)] {
            assert_eq!(
                client.subscribe("d"),
                Err(ClientSubscribeError::NotAWebSocket)
            );
            assert_eq!(client.unsubscribe("c"), Ok(false));
        }
        assert_eq!(hub.channel_subscriber_count("c"), 1);
    }

    /// Threads that subscribe one client at once make one subscription, and none is left over.
    #[tokio::test]
    async fn subscriptions_at_once_are_one_and_end_with_the_client() {
        for _ in 0..200 {
            let hub = Hub::new();
            let client = client(&hub, ClientKind::WebSocket);
            let membership = hub.engine().register(&client);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| client.subscribe("c"));
                }
                scope.spawn(|| hub.engine().leave_all(&membership));
            });
            assert_eq!(hub.channel_subscriber_count("c"), 0);
            assert_eq!(hub.channel_count(), 0);
        }
    }
}
