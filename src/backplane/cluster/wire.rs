//! What every part of a node needs to talk to the other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use super::broker::Topic;
use super::counters::Counters;
use super::message::{ClusterMessage, Request, Requested};
use super::names::NodeId;
use super::outgoing::Outgoing;
use crate::message::ChannelName;

/// The most bytes of messages that one request is answered with.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// How long the parts of an answer are expected.
const REQUEST_LIFETIME: Duration = Duration::from_secs(10);

/// The node's own name, and the queue to the broker.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) me: NodeId,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) counters: Arc<Counters>,
    /// The most bytes of one message of this hub.
    pub(super) max_message: usize,
    /// The number of messages of each channel that this hub keeps.
    pub(super) history: u64,
    next_request: u64,
    /// The channels of the requests that may still be answered.
    requests: HashMap<u64, (ChannelName, Instant)>,
}

impl Wire {
    pub(super) fn new(
        me: NodeId,
        outgoing: Arc<Outgoing>,
        counters: Arc<Counters>,
        max_message: usize,
        history: u64,
    ) -> Self {
        Self {
            me,
            outgoing,
            counters,
            max_message,
            history,
            next_request: 1,
            requests: HashMap::new(),
        }
    }

    /// Queues a message.
    pub(super) fn send(&self, topic: Topic, message: &ClusterMessage) {
        self.outgoing.send(topic, message.encode(&self.me));
    }

    /// Queues a message to one node.
    pub(super) fn tell(&self, node: &NodeId, message: &ClusterMessage) {
        self.send(Topic::Node(node.clone()), message);
    }

    /// Queues an encoded block or partial line.
    pub(super) fn send_block(&self, topic: Topic, payload: Bytes, messages: u64) {
        self.outgoing.send_block(topic, payload, messages);
    }

    /// Asks the home of a channel for messages. Returns the number of the request.
    pub(super) fn request(
        &mut self,
        home: &NodeId,
        channel: &ChannelName,
        wanted: Requested,
    ) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, (channel.clone(), Instant::now()));
        let request = Request {
            id,
            channel: channel.clone(),
            wanted,
            max_bytes: MAX_ANSWER_BYTES,
        };
        self.tell(home, &ClusterMessage::Request(request));
        id
    }

    /// Returns the channel that a request is about.
    pub(super) fn requested(&self, id: u64) -> Option<ChannelName> {
        self.requests.get(&id).map(|(channel, _)| channel.clone())
    }

    /// Forgets a request that was answered.
    pub(super) fn close_request(&mut self, id: u64) -> Option<ChannelName> {
        self.requests.remove(&id).map(|(channel, _)| channel)
    }

    /// Forgets the requests that nobody will answer any more.
    pub(super) fn forget_old_requests(&mut self, now: Instant) {
        self.requests
            .retain(|_, (_, made)| *made + REQUEST_LIFETIME > now);
    }
}

/// Returns the time in milliseconds since 1970-01-01T00:00:00Z.
pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
