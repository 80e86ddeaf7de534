//! Channels, clients and subscriptions for the unit tests, without a hub.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::block::Block;
use super::{Channel, Client, ClientId, ClientKind, HubShared, Overflow, Run, Subscription};
use crate::access::PeerInfo;
use crate::config::Config;
use crate::encode::{Encoding, Timestamp};
use crate::message::{ChannelName, Message, Status};
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
        std::sync::Weak::<()>::new(),
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
    let encoding = options.as_ref().map_or(Encoding::Json, |options| {
        Encoding::of_web_socket(options.batch, options.detail)
    });
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

/// One message that a subscriber got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// A message, by the number that [`numbered_block`] gave it.
    Message(u64),
    /// The first and the last message of a gap.
    Gap(u64, u64),
    /// The answer to a subscription: the number of the last message before the first one to come.
    Subscribed(u64),
    /// The start of a replay, with the first and the last message.
    Replay(u64, u64),
    /// The end of a replay.
    Replayed(u64, u64),
}

/// A sealed block whose messages carry their own numbers: statuses where `statuses` is true, lines
/// elsewhere.
pub(super) fn numbered_block(first: u64, statuses: &[bool]) -> Block {
    let mut block = Block::with_capacity(statuses.len());
    for (seq, is_status) in (first..).zip(statuses) {
        block.push(if *is_status {
            Run::Message(Box::new(Message::status(&Status::Exited, seq as i32)))
        } else {
            Run::Line(Bytes::from(seq.to_string()))
        });
    }
    block.seal(first, Timestamp::from_unix_millis(0), 0);
    block
}

/// Writes at most this many parcels, and appends their messages to `told`. Returns true when
/// nothing is left and the sealer has asked to be called then.
pub(super) fn write(
    reader: &mut OutboxReader,
    client: &Client,
    parcels: usize,
    told: &mut Vec<Told>,
) -> bool {
    reader.take(&client.outbox);
    for _ in 0..parcels {
        let Some(parcel) = reader.pop() else { break };
        reader.release(&client.outbox, parcel.weight());
        parse(&parcel.bytes, told);
    }
    !reader.take(&client.outbox) && reader.drained(&client.outbox).pending
}

/// Appends the messages of whole WebSocket frames of at most 64 KiB to `told`.
fn parse(mut frames: &[u8], told: &mut Vec<Told>) {
    while let [0x81, len, rest @ ..] = frames {
        let (len, rest) = match len {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            len => (usize::from(*len), rest),
        };
        let message: Value = serde_json::from_slice(&rest[..len]).expect("a JSON message");
        frames = &rest[len..];
        let data = &message["data"];
        let number = |field: &str| data[field].as_u64().expect("a number");
        let line = |line: &Value| {
            let text = line.as_str().expect("a text");
            Told::Message(text.parse().expect("a line that is its number"))
        };
        match message["type"].as_str().expect("a type") {
            "process_output" => told.push(line(data)),
            "process_output_batch" => {
                let lines = data["lines"].as_array().or_else(|| data.as_array());
                told.extend(lines.expect("lines").iter().map(line));
            }
            "process_status" => told.push(Told::Message(number("exitCode"))),
            "gap" => told.push(Told::Gap(number("from"), number("to"))),
            "subscribed" => told.push(Told::Subscribed(number("seq"))),
            "replay" => told.push(Told::Replay(number("from"), number("to"))),
            "replayed" => told.push(Told::Replayed(number("from"), number("to"))),
            other => panic!("an unexpected {other}"),
        }
    }
    assert!(frames.is_empty(), "whole frames");
}

/// Asserts that messages and gaps follow each other without hole or repetition, from message `next`
/// on. Returns the number after the last one, and the number of messages in gaps.
#[track_caller]
pub(super) fn contiguous(told: &[Told], mut next: u64) -> (u64, u64) {
    let mut skipped = 0;
    for message in told {
        match *message {
            Told::Message(seq) => {
                assert_eq!(seq, next, "in {told:?}");
                next += 1;
            }
            Told::Gap(from, to) => {
                assert_eq!(from, next, "in {told:?}");
                skipped += to + 1 - from;
                next = to + 1;
            }
            _ => panic!("{message:?} among the messages of {told:?}"),
        }
    }
    (next, skipped)
}
