//! Channels, clients and subscriptions for the unit tests, without a hub.

use std::sync::Arc;

use bytes::Bytes;

use super::{Channel, Client, ClientId, ClientKind, HubShared, Overflow, Run, Subscription};
use crate::access::PeerInfo;
use crate::config::Config;
use crate::encode::Encoding;
use crate::message::ChannelName;
use crate::outbox::OutboxReader;
use crate::protocol::SubscribeOptions;

/// A channel `c` with default settings.
pub(super) fn channel() -> Arc<Channel> {
    channel_with(Config::default())
}

/// A channel `c` of a hub with these settings.
pub(super) fn channel_with(config: Config) -> Arc<Channel> {
    let name = ChannelName::parse("c").expect("a valid name");
    let shared = Arc::new(HubShared::new(config));
    Arc::new(Channel::new(shared, Some(name), Overflow::Skip))
}

/// A client of the channel's hub.
pub(super) fn client(channel: &Channel, id: u64) -> Arc<Client> {
    Arc::new(Client::new(
        ClientId(id),
        PeerInfo::default(),
        channel.shared.config.limits(),
        ClientKind::WebSocket,
        Arc::downgrade(&channel.shared.totals),
    ))
}

/// A new client's subscription, which has not joined yet.
pub(super) fn subscription(
    channel: &Arc<Channel>,
    options: Option<SubscribeOptions>,
) -> Arc<Subscription> {
    subscription_of(client(channel, 1), channel, options)
}

/// A client's subscription, which has not joined yet.
pub(super) fn subscription_of(
    client: Arc<Client>,
    channel: &Arc<Channel>,
    options: Option<SubscribeOptions>,
) -> Arc<Subscription> {
    let encoding = if options.as_ref().is_some_and(|options| options.batch) {
        Encoding::Batch
    } else {
        Encoding::Json
    };
    let channel = Arc::clone(channel);
    Arc::new(Subscription::new(client, channel, encoding, options))
}

/// Subscribes a new client.
pub(super) fn join(
    channel: &Arc<Channel>,
    id: u64,
    options: Option<SubscribeOptions>,
) -> Arc<Client> {
    let client = client(channel, id);
    channel.join(&subscription_of(Arc::clone(&client), channel, options));
    client
}

/// Takes everything that waits for a client, as written, and returns it as text.
pub(super) fn received(client: &Client) -> String {
    let mut reader = OutboxReader::default();
    reader.take(&client.outbox);
    let mut text = String::new();
    while let Some(parcel) = reader.pop() {
        reader.release(&client.outbox, parcel.weight());
        text.push_str(&String::from_utf8_lossy(&parcel.bytes));
    }
    text
}

/// A run of one line.
pub(super) fn line(text: &'static str) -> Run {
    Run::Line(Bytes::from_static(text.as_bytes()))
}
