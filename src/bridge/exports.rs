//! What is published to a hub locally, on its way to the hub's bridge.

use std::sync::Arc;

use super::counters::{BridgeDrop, BridgeStats, Counters};
use crate::bounded_queue::BoundedQueue;
use crate::channel::Run;
use crate::encode::Timestamp;
use crate::message::{ChannelName, Message, MessageType, ProcessId};
use crate::unsent::{Pending, Unsent};

/// The most bytes that wait for the bridge's task.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// What a message takes beside its bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// The queue between the sealers of all channels and the bridge.
#[derive(Debug)]
pub(crate) struct Exports {
    queue: BoundedQueue<Published>,
    pub(super) counters: Counters,
    unsent: Arc<Unsent>,
}

/// Messages that were published to one channel, or to all clients, in their order.
#[derive(Debug)]
pub struct Published {
    channel: Option<ChannelName>,
    timestamp: Timestamp,
    runs: Vec<Run>,
    /// The runs that were taken whole, and the messages that were taken of the next one.
    taken_runs: usize,
    taken_messages: usize,
    pending: Pending,
}

impl Default for Exports {
    fn default() -> Self {
        Self {
            queue: BoundedQueue::new(MAX_WAITING_BYTES),
            counters: Counters::default(),
            unsent: Arc::default(),
        }
    }
}

impl Exports {
    /// Takes the messages of a block. Never waits for the bridge: the oldest messages that wait are
    /// dropped and counted instead.
    pub(crate) fn offer(
        &self,
        channel: Option<&ChannelName>,
        timestamp: Timestamp,
        runs: Vec<Run>,
    ) {
        let bytes = runs
            .iter()
            .map(|run| run.bytes() + run.messages() * MESSAGE_OVERHEAD)
            .sum();
        let published = Published {
            channel: channel.cloned(),
            timestamp,
            runs,
            taken_runs: 0,
            taken_messages: 0,
            pending: self.unsent.mark(),
        };
        self.queue.push(published, bytes, |oldest| {
            let messages = oldest.runs.iter().map(Run::messages).sum::<usize>() as u64;
            self.counters
                .count_dropped(BridgeDrop::ExportQueueFull, messages);
        });
    }

    pub(super) async fn next(&self) -> Published {
        self.queue.next().await
    }

    pub(super) fn try_next(&self) -> Option<Published> {
        self.queue.take()
    }

    /// Waits until everything is sent or dropped. Returns at once while the other side is gone.
    pub(crate) async fn sent(&self) {
        self.unsent.sent(|| self.counters.is_connected()).await;
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.counters.set_connected(connected);
        if !connected {
            self.unsent.wake();
        }
    }

    pub(crate) fn stats(&self) -> BridgeStats {
        self.counters.stats()
    }
}

impl Published {
    /// Returns the channel, or `None` for messages to all clients.
    pub fn channel(&self) -> Option<&ChannelName> {
        self.channel.as_ref()
    }

    /// Returns the timestamp that local subscribers see: RFC 3339 in UTC with milliseconds.
    pub fn timestamp(&self) -> &str {
        self.timestamp.as_str()
    }

    #[cfg(feature = "redis")]
    pub(super) fn sealed_at(&self) -> Timestamp {
        self.timestamp
    }

    /// Returns the mark that keeps a hub's shutdown waiting for these messages.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Calls `take` with the next messages, at most `max`. Returns whether there are more.
    ///
    /// Lines and statuses of a `process:` channel name its process.
    pub fn take(&mut self, max: usize, mut take: impl FnMut(Message)) -> bool {
        let process = self.channel.as_ref().and_then(ChannelName::process_id);
        let process = process.and_then(|id| ProcessId::parse(id).ok());
        let mut take = |message: Message| {
            let inherits = message.process_id().is_none()
                && matches!(
                    message.message_type(),
                    MessageType::ProcessOutput | MessageType::ProcessStatus
                );
            take(match &process {
                Some(id) if inherits => message.with_process(id.clone()),
                _ => message,
            });
        };
        let mut room = max;
        while room > 0
            && let Some(run) = self.runs.get(self.taken_runs)
        {
            let left = run.messages() - self.taken_messages;
            let count = left.min(room);
            let wanted = self.taken_messages..self.taken_messages + count;
            match run {
                Run::Line(line) => take(Message::output(line.clone())),
                Run::Lines(lines) => lines
                    .iter()
                    .skip(wanted.start)
                    .take(count)
                    .for_each(|line| take(Message::output(line.to_vec()))),
                Run::Message(message) => take((**message).clone()),
                Run::Pieces(pieces) => pieces[wanted].iter().cloned().for_each(&mut take),
            }
            room -= count;
            self.taken_messages += count;
            if count == left {
                self.taken_runs += 1;
                self.taken_messages = 0;
            }
        }
        self.taken_runs < self.runs.len()
    }
}
