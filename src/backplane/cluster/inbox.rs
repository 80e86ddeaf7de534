//! What arrived from the broker and waits for the node.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;

use super::broker::{BrokerCounters, Incoming, Topic};
use crate::sync::lock;

/// What a message takes beside its bytes.
const MESSAGE_OVERHEAD: usize = 128;

/// The bounds of what waits for the node. The oldest messages go for newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboxBounds {
    /// The most bytes of blocks.
    pub(crate) max_block_bytes: usize,
    /// The most other messages.
    pub(crate) max_others: usize,
    /// The most bytes of other messages.
    pub(crate) max_other_bytes: usize,
}

impl Default for InboxBounds {
    fn default() -> Self {
        Self {
            max_block_bytes: 8 * 1024 * 1024,
            max_others: 4096,
            max_other_bytes: 16 * 1024 * 1024,
        }
    }
}

/// The inboxes between the connection and the node's one task, and the state of the connection.
///
/// Nothing that puts something in waits, except for the lock, which is held for single steps.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    bounds: InboxBounds,
}

#[derive(Debug, Default)]
struct Waiting {
    blocks: Queue,
    others: Queue,
    connection: Connection,
    counters: BrokerCounters,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(Topic, Bytes)>,
    bytes: usize,
}

/// What the node was told of the connection, and what it is told next. Changes that follow each
/// other before it asks become one.
#[derive(Debug, Default)]
struct Connection {
    is_told_connected: bool,
    was_told_connected: bool,
    tell_disconnected: bool,
    tell_connected: bool,
    was_connected: bool,
}

impl Inbox {
    pub(crate) fn new(bounds: InboxBounds) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            bounds,
        }
    }

    /// Puts a message in. The oldest of its inbox that have to go for it are counted; a message
    /// that is larger than the whole inbox goes itself.
    pub(crate) fn push(&self, topic: Topic, payload: Bytes) {
        let bounds = &self.bounds;
        {
            let waiting = &mut *lock(&self.waiting);
            let counters = &mut waiting.counters;
            if matches!(topic, Topic::Blocks(_)) {
                let dropped = &mut counters.dropped_blocks;
                let blocks = &mut waiting.blocks;
                *dropped += blocks.push(topic, payload, usize::MAX, bounds.max_block_bytes);
            } else {
                let dropped = &mut counters.dropped_others;
                let (messages, bytes) = (bounds.max_others, bounds.max_other_bytes);
                *dropped += waiting.others.push(topic, payload, messages, bytes);
            }
        }
        self.arrived.notify_one();
    }

    /// Counts messages that were lost on their way to the inbox.
    #[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "for NATS alone"))]
    pub(crate) fn count_dropped(&self, is_block: bool) {
        let counters = &mut lock(&self.waiting).counters;
        if is_block {
            counters.dropped_blocks += 1;
        } else {
            counters.dropped_others += 1;
        }
    }

    /// Tells that the connection is there, with all its subscriptions.
    pub(crate) fn connected(&self) {
        {
            let waiting = &mut *lock(&self.waiting);
            if waiting.connection.was_connected {
                waiting.counters.reconnects += 1;
            }
            waiting.connection.was_connected = true;
            waiting.connection.tell_connected = true;
        }
        self.arrived.notify_one();
    }

    /// Tells that the connection was lost.
    pub(crate) fn disconnected(&self) {
        {
            let connection = &mut lock(&self.waiting).connection;
            connection.tell_connected = false;
            connection.tell_disconnected |= connection.is_told_connected;
        }
        self.arrived.notify_one();
    }

    /// Waits for the next event: changes of the connection first, then messages that are no
    /// blocks, then blocks.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(crate) async fn next(&self) -> Incoming {
        loop {
            // Others in the same task get their turn.
            tokio::task::coop::consume_budget().await;
            if let Some(incoming) = lock(&self.waiting).take() {
                return incoming;
            }
            self.arrived.notified().await;
        }
    }

    pub(crate) fn counters(&self) -> BrokerCounters {
        lock(&self.waiting).counters
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Incoming> {
        if let Some(told) = self.connection.take() {
            return Some(told);
        }
        let taken = self.others.pop().or_else(|| self.blocks.pop());
        taken.map(|(topic, payload)| Incoming::Message { topic, payload })
    }
}

impl Connection {
    fn take(&mut self) -> Option<Incoming> {
        if std::mem::take(&mut self.tell_disconnected) {
            self.is_told_connected = false;
            return Some(Incoming::Disconnected);
        }
        if std::mem::take(&mut self.tell_connected) {
            self.is_told_connected = true;
            let first = !std::mem::replace(&mut self.was_told_connected, true);
            return Some(Incoming::Connected { first });
        }
        None
    }
}

impl Queue {
    /// Returns how many messages were dropped.
    fn push(&mut self, topic: Topic, payload: Bytes, max_messages: usize, max_bytes: usize) -> u64 {
        self.bytes += payload.len() + MESSAGE_OVERHEAD;
        self.messages.push_back((topic, payload));
        let mut dropped = 0;
        while (self.bytes > max_bytes || self.messages.len() > max_messages) && self.pop().is_some()
        {
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<(Topic, Bytes)> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.1.len() + MESSAGE_OVERHEAD;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{NodeId, Token};
    use super::*;

    fn blocks() -> Topic {
        Topic::Blocks(Token::escape(b"c").unwrap())
    }

    fn taken(inbox: &Inbox) -> Vec<Incoming> {
        std::iter::from_fn(|| lock(&inbox.waiting).take()).collect()
    }

    fn payloads(inbox: &Inbox) -> Vec<Bytes> {
        let message = |incoming| match incoming {
            Incoming::Message { payload, .. } => payload,
            other => panic!("{other:?}"),
        };
        taken(inbox).into_iter().map(message).collect()
    }

    #[test]
    fn a_flood_of_blocks_drops_the_oldest_blocks_and_no_other_message() {
        let inbox = Inbox::new(InboxBounds {
            max_block_bytes: 2 * (1000 + MESSAGE_OVERHEAD),
            ..InboxBounds::default()
        });
        let node = Topic::Node(NodeId::new("n", 1).unwrap());
        inbox.push(node, "request".into());
        for block in 0..5_u8 {
            inbox.push(blocks(), vec![block; 1000].into());
        }
        inbox.push(blocks(), vec![9; 3000].into());
        inbox.push(blocks(), vec![7; 1000].into());
        let counters = inbox.counters();
        assert_eq!((counters.dropped_blocks, counters.dropped_others), (6, 0));
        assert_eq!(payloads(&inbox), [&b"request"[..], &[7; 1000]]);
    }

    #[test]
    fn other_messages_are_bounded_in_number_and_in_bytes() {
        let inbox = Inbox::new(InboxBounds {
            max_others: 3,
            max_other_bytes: 1000,
            ..InboxBounds::default()
        });
        for text in ["1", "2", "3", "4"] {
            inbox.push(Topic::Interest, text.into());
        }
        assert_eq!(payloads(&inbox), ["2", "3", "4"]);
        inbox.push(Topic::Interest, "5".into());
        inbox.push(Topic::Interest, vec![6; 1000 - MESSAGE_OVERHEAD].into());
        assert_eq!(payloads(&inbox), [vec![6; 1000 - MESSAGE_OVERHEAD]]);
        assert_eq!(inbox.counters().dropped_others, 2);
    }

    #[test]
    fn changes_of_the_connection_that_follow_each_other_become_one() {
        let inbox = Inbox::new(InboxBounds::default());
        inbox.disconnected();
        assert_eq!(taken(&inbox), []);
        inbox.connected();
        inbox.disconnected();
        inbox.connected();
        assert_eq!(taken(&inbox), [Incoming::Connected { first: true }]);
        inbox.disconnected();
        inbox.connected();
        inbox.disconnected();
        inbox.connected();
        let again = Incoming::Connected { first: false };
        assert_eq!(taken(&inbox), [Incoming::Disconnected, again]);
        inbox.disconnected();
        inbox.disconnected();
        assert_eq!(taken(&inbox), [Incoming::Disconnected]);
        assert_eq!(inbox.counters().reconnects, 3);
    }

    #[tokio::test]
    async fn a_task_that_waits_gets_the_message() {
        let inbox = Inbox::new(InboxBounds::default());
        let (incoming, ()) = tokio::join!(inbox.next(), async {
            inbox.push(Topic::Everyone, "x".into());
        });
        let payload = Bytes::from("x");
        let topic = Topic::Everyone;
        assert_eq!(incoming, Incoming::Message { topic, payload });
    }
}
