//! The task of a publisher: sends what waits, in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::account::Account;
use super::action::{Outgoing, body};
use super::exchange::{Exchange, Outcome};
use crate::client::backoff::Backoff;
use crate::client::endpoint::Endpoint;

/// The most messages of one request.
const MAX_BATCH: usize = 1000;
/// The most bytes of one request with more than one message. A server of this crate takes 4 MiB.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Owns the queue and the connection.
pub(super) struct Task {
    exchange: Exchange,
    waiting: UnboundedReceiver<Outgoing>,
    account: Arc<Account>,
    backoff: Backoff,
    /// The first message of the next request, which had no room in the one before.
    next: Option<Outgoing>,
    /// Messages taken from the queue that have no outcome yet.
    in_hand: u64,
    /// Those among them whose request is on its way.
    in_flight: u64,
}

impl Task {
    pub(super) fn new(
        endpoint: Endpoint,
        waiting: UnboundedReceiver<Outgoing>,
        account: Arc<Account>,
        backoff: Backoff,
    ) -> Self {
        Self {
            exchange: Exchange::new(endpoint),
            waiting,
            account,
            backoff,
            next: None,
            in_hand: 0,
            in_flight: 0,
        }
    }

    /// Sends until all handles are gone and nothing waits, the linger after the last handle is
    /// over, or the server does not accept the credentials.
    pub(super) async fn run(mut self, gone: oneshot::Receiver<Infallible>, linger: Duration) {
        let lingered = async {
            let _ = gone.await;
            sleep(linger).await;
        };
        tokio::select! {
            () = self.send_all() => {}
            () = lingered => {}
        }
    }

    async fn send_all(&mut self) {
        loop {
            let batch = self.next_batch().await;
            if batch.is_empty() || !self.send(batch).await {
                return;
            }
        }
    }

    /// Waits for messages. Returns none when all handles are gone and nothing waits.
    async fn next_batch(&mut self) -> Vec<Outgoing> {
        let first = match self.next.take() {
            Some(first) => first,
            None => match self.waiting.recv().await {
                Some(first) => {
                    self.in_hand += 1;
                    first
                }
                None => return Vec::new(),
            },
        };
        let mut bytes = first.action.len();
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH
            && let Ok(outgoing) = self.waiting.try_recv()
        {
            self.in_hand += 1;
            bytes += outgoing.action.len() + 1;
            if bytes > MAX_BATCH_BYTES {
                self.next = Some(outgoing);
                break;
            }
            batch.push(outgoing);
        }
        batch
    }

    /// Sends messages until each has an outcome. Returns false when the publisher ends.
    async fn send(&mut self, batch: Vec<Outgoing>) -> bool {
        let mut batches = vec![batch];
        while let Some(mut batch) = batches.pop() {
            let messages = batch.len() as u64;
            self.in_flight = messages;
            let outcome = self.exchange.post(body(&batch)).await;
            self.in_flight = 0;
            match outcome {
                Outcome::Published => {
                    self.backoff.reset();
                    self.in_hand -= messages;
                    self.account.publish(messages);
                }
                Outcome::Unknown(error) => {
                    self.in_hand -= messages;
                    self.account.lose_sight(messages, error);
                    sleep(self.backoff.next_delay()).await;
                }
                Outcome::Unsent(error) => {
                    self.account.note_error(error);
                    batches.push(batch);
                    sleep(self.backoff.next_delay()).await;
                }
                Outcome::Unauthorized(error) => {
                    self.account.close(&error);
                    self.account.note_error(error);
                    return false;
                }
                // One bad message refuses the whole request: the others are sent without it.
                Outcome::Rejected(_) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    batches.push(second);
                    batches.push(batch);
                }
                Outcome::Rejected(error) => {
                    self.in_hand -= messages;
                    self.account.reject(messages, error);
                }
            }
        }
        true
    }
}

impl Drop for Task {
    /// Counts what was not sent: the task has ended, or its runtime has.
    fn drop(&mut self) {
        self.waiting.close();
        let mut unsent = self.in_hand - self.in_flight;
        while self.waiting.try_recv().is_ok() {
            unsent += 1;
        }
        self.account.close("its runtime has ended");
        self.account.discard(unsent);
        if self.in_flight > 0 {
            let error = "the publisher ended before the server answered";
            self.account.lose_sight(self.in_flight, error.to_owned());
        }
    }
}
