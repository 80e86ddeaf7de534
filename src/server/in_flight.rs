//! The account of a connection that is neither a WebSocket nor a stream: its permit, and the time
//! of its current request.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use crate::channel::Client;
use crate::reason::CloseReason;
use crate::sync::lock;

/// A connection on which a plain request may be in flight. Clones share one account.
///
/// It counts against [`ServeOptions::max_requests`](super::ServeOptions::max_requests) until it
/// ends or becomes a WebSocket or a stream.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<Mutex<RequestAccount>>);

#[derive(Debug)]
struct RequestAccount {
    /// `None` after the connection has become a WebSocket or a stream, or has waited.
    permit: Option<OwnedSemaphorePermit>,
    phase: RequestPhase,
    /// When the header of the latest request was complete.
    begun: Option<Instant>,
    /// `None` unless the connection has become a stream.
    stream: Option<StreamAccount>,
}

/// What a stream has given to its connection.
#[derive(Debug)]
struct StreamAccount {
    client: Arc<Client>,
    /// When the connection got the bytes that it still writes. `None` while it writes none.
    given_at: Option<Instant>,
}

/// What a connection does with its latest request.
#[derive(Debug, Clone, Copy)]
enum RequestPhase {
    Underway,
    Waiting,
    Stream,
}

impl InFlight {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(RequestAccount {
            permit: Some(permit),
            phase: RequestPhase::Underway,
            begun: None,
            stream: None,
        })))
    }

    /// Marks the arrival of a request's header.
    pub(super) fn begin(&self) {
        self.account().begun = Some(Instant::now());
    }

    /// Whether the header of any request has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.account().begun.is_some()
    }

    /// Returns the permit: the request has become a stream, which has a limit of its own and no
    /// timeout.
    pub(super) fn leave(&self) {
        let mut account = self.account();
        account.permit = None;
        account.phase = RequestPhase::Stream;
    }

    /// Returns the permit while the request waits for an event of the hub, which has a limit of
    /// its own. The time of the request stands still.
    pub(super) fn wait(&self) {
        let mut account = self.account();
        account.permit = None;
        account.phase = RequestPhase::Waiting;
    }

    /// Begins the time of the request anew after a wait, for its response.
    pub(super) fn resume(&self) {
        let mut account = self.account();
        account.phase = RequestPhase::Underway;
        account.begun = Some(Instant::now());
    }

    /// Says that the connection carries the stream of this client.
    pub(super) fn carries(&self, client: &Arc<Client>) {
        self.account().stream = Some(StreamAccount {
            client: Arc::clone(client),
            given_at: None,
        });
    }

    /// Notes that the stream has given the connection something to write, or that the connection
    /// has written everything.
    pub(super) fn note_writing(&self, writes: bool) {
        if let Some(stream) = &mut self.account().stream {
            stream.given_at = writes.then(Instant::now);
        }
    }

    /// Completes when the peer of a stream has not taken what waits for it for longer than
    /// `timeout`; never without a timeout.
    ///
    /// The connection polls a stream for more as long as it can buffer more, so what it still
    /// writes is what the socket does not take.
    pub(super) async fn stalled(&self, timeout: Option<Duration>) {
        let Some(timeout) = timeout else {
            return std::future::pending().await;
        };
        loop {
            let given = {
                let account = self.account();
                let stream = account.stream.as_ref();
                stream.and_then(|stream| Some((stream.given_at?, Arc::clone(&stream.client))))
            };
            match given {
                Some((at, client)) if at.elapsed() >= timeout => {
                    client.outbox.ask_to_close(CloseReason::WriteTimeout);
                    return;
                }
                Some((at, _)) => sleep_until(at + timeout).await,
                // Whatever is given meanwhile is not overdue before this has passed.
                None => sleep(timeout).await,
            }
        }
    }

    /// Completes when a request has taken longer than `timeout`; never for a stream.
    ///
    /// A peer that does not send its request, or does not read the response, would otherwise hold
    /// its permit forever.
    pub(super) async fn overdue(&self, timeout: Duration) {
        loop {
            let (phase, begun) = {
                let account = self.account();
                (account.phase, account.begun)
            };
            match (phase, begun) {
                (RequestPhase::Stream, _) => std::future::pending().await,
                // The first header has a timeout of its own. After a wait the time begins anew.
                (RequestPhase::Waiting, _) | (_, None) => sleep(timeout).await,
                (_, Some(begun)) if begun.elapsed() >= timeout => return,
                (_, Some(begun)) => sleep_until(begun + timeout).await,
            }
        }
    }

    fn account(&self) -> MutexGuard<'_, RequestAccount> {
        lock(&self.0)
    }
}
