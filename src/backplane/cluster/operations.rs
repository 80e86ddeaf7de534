//! What a node's task has begun at the broker or the engine and waits for.

use std::sync::Arc;

use super::block::{Block, BlockHeader};
use super::broker::{Broker, BrokerError, Created, Key, Replaced, Topic};
use super::durable::{Opening, Outcome};
use super::lease::{LeaseKey, StoreCall, StoreReply};
use super::names::{NodeId, Token};
use super::numbered::Accept;
use crate::backplane::LocalRuns;
use crate::message::ChannelName;

/// The end of something that was begun.
#[derive(Debug)]
pub(super) enum Done {
    /// The broker has the subscription to a channel's blocks, or will have it once it is connected.
    Subscribed(ChannelName),
    /// The subscription to a channel's blocks has ended.
    Left(ChannelName),
    /// The broker answered a call for a lease.
    Replied(u64, StoreReply),
    /// The engine gave messages of a channel whose home is elsewhere.
    Taken(ChannelName, Option<LocalRuns>),
    /// Forwarded messages were published.
    Accepted {
        channel: ChannelName,
        from: NodeId,
        run: u64,
    },
    /// A term was opened in the store, or could not be.
    Opened {
        channel: ChannelName,
        term: u64,
        opening: Option<Opening>,
    },
    /// The broker stored a block, or did not.
    Appended {
        channel: ChannelName,
        term: u64,
        outcome: Outcome,
    },
    /// The store has these last blocks of a channel.
    Loaded(ChannelName, Option<(BlockHeader, Vec<Block>)>),
    /// Nothing is to be done about it.
    Over,
}

/// Makes a call for a lease.
pub(super) async fn call(broker: Arc<dyn Broker>, id: u64, key: LeaseKey, call: StoreCall) -> Done {
    let key = match key {
        LeaseKey::Session(node) => Key::Session(node),
        LeaseKey::Home(channel) => Key::Home(Token::of_channel(&channel)),
    };
    let reply = match call {
        StoreCall::Create(value) => match broker.create(&key, value).await {
            Ok(Created::Yes(revision)) => StoreReply::Written(revision),
            Ok(Created::No { .. }) => StoreReply::Conflict,
            Err(error) => failed(&key, &error),
        },
        StoreCall::Replace(value, revision) => match broker.replace(&key, value, revision).await {
            Ok(Replaced::Yes(revision)) => StoreReply::Written(revision),
            Ok(Replaced::No) => StoreReply::Conflict,
            Err(error) => failed(&key, &error),
        },
        StoreCall::Read => match broker.read(&key).await {
            Ok(found) => StoreReply::Found(found),
            Err(error) => failed(&key, &error),
        },
    };
    Done::Replied(id, reply)
}

fn failed(key: &Key, error: &BrokerError) -> StoreReply {
    tracing::debug!(?key, %error, "a record could not be read or written");
    StoreReply::Unknown
}

/// Subscribes to the blocks of a channel.
pub(super) async fn subscribe(broker: Arc<dyn Broker>, channel: ChannelName) -> Done {
    let topic = Topic::Blocks(Token::of_channel(&channel));
    if let Err(error) = broker.subscribe(&topic).await {
        tracing::debug!(%channel, %error, "not subscribed yet");
    }
    Done::Subscribed(channel)
}

/// Ends the subscription to the blocks of a channel.
pub(super) async fn leave(broker: Arc<dyn Broker>, channel: ChannelName) -> Done {
    let topic = Topic::Blocks(Token::of_channel(&channel));
    // It is forgotten in any case.
    let _ = broker.unsubscribe(&topic).await;
    Done::Left(channel)
}

/// Publishes forwarded messages.
pub(super) async fn accept(accept: Accept) -> Done {
    let Accept {
        home,
        from,
        run,
        runs,
    } = accept;
    home.publish(runs).await;
    Done::Accepted {
        channel: home.channel().clone(),
        from,
        run,
    }
}
