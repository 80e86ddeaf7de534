//! What waits to be handed to the broker: two bounded queues, and the task that empties them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::broker::{Broker, Topic};
use super::counters::Counters;
use crate::sync::lock;

/// The bytes of blocks beyond which no further block is taken. The engine holds what comes
/// meanwhile, and drops the oldest of it beyond a bound of its own.
const MAX_BLOCK_BYTES: usize = 1024 * 1024;
/// The bytes of other messages beyond which answers wait.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of other messages. What does not fit is dropped: every one of them is said
/// again, or asked for again.
const MAX_CONTROL_BYTES: usize = 16 * 1024 * 1024;

/// The queues to the broker.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queues: Mutex<Queues>,
    /// Something waits to be sent. For the one sender.
    has_message: Notify,
    /// A message was sent. For everyone who waits for room.
    was_sent: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    control: Queue,
    blocks: Queue,
    /// The messages in both queues, and the one that is being handed to the broker.
    unsent: usize,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Outbound>,
    bytes: usize,
}

#[derive(Debug)]
struct Outbound {
    topic: Topic,
    payload: Bytes,
    /// The number of messages of a channel in it.
    messages: u64,
}

impl Queue {
    fn push(&mut self, outbound: Outbound) {
        self.bytes += outbound.payload.len();
        self.messages.push_back(outbound);
    }

    fn pop(&mut self) -> Option<Outbound> {
        let outbound = self.messages.pop_front()?;
        self.bytes -= outbound.payload.len();
        Some(outbound)
    }
}

impl Outgoing {
    /// Queues a message that is no block.
    pub(super) fn send(&self, topic: Topic, payload: Bytes) {
        let mut queues = lock(&self.queues);
        if queues.control.bytes + payload.len() > MAX_CONTROL_BYTES {
            return;
        }
        queues.unsent += 1;
        queues.control.push(Outbound {
            topic,
            payload,
            messages: 0,
        });
        drop(queues);
        self.has_message.notify_one();
    }

    /// Queues a block of this many messages, or a partial line.
    pub(super) fn send_block(&self, topic: Topic, payload: Bytes, messages: u64) {
        let mut queues = lock(&self.queues);
        queues.unsent += 1;
        queues.blocks.push(Outbound {
            topic,
            payload,
            messages,
        });
        drop(queues);
        self.has_message.notify_one();
    }

    /// Waits until another block may be queued.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(super) async fn has_block_room(&self) {
        self.until(|queues| queues.blocks.bytes < MAX_BLOCK_BYTES)
            .await;
    }

    /// Waits until a part of an answer may be queued.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(super) async fn has_answer_room(&self) {
        self.until(|queues| queues.control.bytes < MAX_ANSWER_BYTES)
            .await;
    }

    /// Waits until everything was handed to the broker.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and nothing else.
    pub(super) async fn is_empty(&self) {
        self.until(|queues| queues.unsent == 0).await;
    }

    async fn until(&self, holds: impl Fn(&Queues) -> bool) {
        loop {
            // Created before the look, so that a message sent in between is noticed.
            let was_sent = self.was_sent.notified();
            if holds(&lock(&self.queues)) {
                return;
            }
            was_sent.await;
        }
    }

    /// Hands what waits to the broker. Never ends.
    pub(super) async fn run(&self, broker: &Arc<dyn Broker>, counters: &Counters) {
        loop {
            self.has_message.notified().await;
            while let Some(outbound) = self.pop() {
                let Outbound {
                    topic,
                    payload,
                    messages,
                } = outbound;
                let sent = broker.publish(&topic, payload).await;
                match sent {
                    Ok(()) => counters.exported.add(messages),
                    Err(error) => {
                        counters.skipped.add(u64::from(messages > 0));
                        tracing::debug!(?topic, %error, "not sent");
                    }
                }
                lock(&self.queues).unsent -= 1;
                self.was_sent.notify_waiters();
            }
        }
    }

    /// Takes the next message. Blocks wait for everything else, which is little.
    fn pop(&self) -> Option<Outbound> {
        let mut queues = lock(&self.queues);
        let control = queues.control.pop();
        control.or_else(|| queues.blocks.pop())
    }
}
