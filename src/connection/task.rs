//! The task of a connection: reads commands, writes frames and keeps the heartbeat.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::Socket;
use super::heartbeat::Heartbeat;
use super::phase::Phase;
use super::reader::{Inbound, Reader};
use super::token_bucket::TokenBucket;
use super::writer::{FlushOutcome, Writer};
use crate::channel::{Client, OffersUnderway, Subscription};
use crate::hub::{Engine, MessageOutcome};
use crate::own;
use crate::protocol::{self, ClientMessage};
use crate::reason::CloseReason;

/// The number of messages that a connection handles before it lets other tasks run.
const MAX_MESSAGES_IN_A_ROW: usize = 32;
/// The number of times that a connection refills its queue with what its subscriptions have pending
/// before it lets other tasks run.
const MAX_REFILLS_IN_A_ROW: usize = 4;

/// One client's connection, owned by its task. Dropping it unregisters the client, however the task
/// ends.
pub(super) struct Connection {
    pub(super) hub: Arc<Engine>,
    pub(super) client: Arc<Client>,
    /// The client's membership in the channel of all clients.
    pub(super) membership: Arc<Subscription>,
    pub(super) socket: Socket,
    reader: Reader,
    pub(super) writer: Writer,
    pub(super) heartbeat: Heartbeat,
    /// The frames that the peer may still send.
    frame_limit: TokenBucket,
    /// The offers of a channel that the client has unsubscribed from. Its next message waits until
    /// they are over.
    offers_underway: Option<OffersUnderway>,
    pub(super) phase: Phase,
    pub(super) deadline: Instant,
    ended: Option<CloseReason>,
}

/// Runs a connection to its end.
pub(crate) async fn run(hub: Arc<Engine>, client: Arc<Client>, socket: Socket) {
    let now = Instant::now();
    let config = hub.config();
    let mut connection = Connection {
        heartbeat: Heartbeat::new(now, config.ping_interval),
        frame_limit: TokenBucket::new(now, config.message_rate, config.message_burst()),
        reader: Reader::new(config),
        writer: Writer::default(),
        offers_underway: None,
        phase: Phase::Open,
        deadline: now,
        ended: None,
        membership: hub.register(&client),
        hub,
        client,
        socket,
    };
    connection.hub.notify_connected(&connection.client);
    connection.deadline = connection.next_beat();
    let mut timer = pin!(tokio::time::sleep_until(connection.deadline));
    let reason = poll_fn(|cx| connection.poll(cx, timer.as_mut())).await;
    connection.ended = Some(reason);
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without a reason the task was aborted with its runtime, or has panicked.
        let reason = self.ended.unwrap_or(if std::thread::panicking() {
            CloseReason::Internal
        } else {
            CloseReason::PeerGone
        });
        self.hub.unregister(&self.membership, reason);
    }
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<CloseReason> {
        let _own = own::begin();
        // First of all, so that whatever is pushed or asked after this line wakes the task.
        self.client.outbox.register(cx);
        if let (Phase::Open, Some(reason)) = (self.phase, self.client.outbox.close_asked()) {
            self.begin_close(reason);
        }
        loop {
            let before = self.phase;
            let ended = match self.phase {
                Phase::Open => self.poll_open(cx),
                Phase::Closing {
                    reason,
                    close_frame_queued,
                } => self.poll_closing(reason, close_frame_queued, cx),
                Phase::Lingering { reason, read_bytes } => {
                    self.poll_lingering(reason, read_bytes, cx)
                }
            };
            if let Poll::Ready(reason) = ended {
                return Poll::Ready(reason);
            }
            if self.phase != before {
                continue;
            }
            // A deadline that moves on does not reset the timer at each message: the timer fires
            // early instead, and is reset then. Only an earlier deadline resets it here.
            if timer.deadline() > self.deadline {
                timer.as_mut().reset(self.deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= self.deadline
                && let Some(reason) = self.handle_deadline()
            {
                return Poll::Ready(reason);
            }
            timer.as_mut().reset(self.deadline);
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        for handled in 0.. {
            if handled == MAX_MESSAGES_IN_A_ROW {
                cx.waker().wake_by_ref();
                break;
            }
            if let Some(offers) = &self.offers_underway
                && !offers.are_over()
            {
                // Another thread offers the client a block right now. This wait is no longer than
                // that takes.
                cx.waker().wake_by_ref();
                break;
            }
            self.offers_underway = None;
            let inbound = self
                .reader
                .poll_next(&mut self.socket, &mut self.writer, cx);
            let frames = self.reader.take_frames();
            if frames > 0
                && !matches!(inbound, Poll::Ready(Inbound::Close | Inbound::End(_)))
                && !self.frame_limit.take(frames, Instant::now())
            {
                self.begin_close(CloseReason::TooManyMessages);
                return Poll::Pending;
            }
            match inbound {
                Poll::Pending => break,
                Poll::Ready(Inbound::Control) => {}
                Poll::Ready(Inbound::Text(text)) => self.handle(ClientMessage::Text(&text)),
                Poll::Ready(Inbound::Binary(bytes)) => self.handle(ClientMessage::Binary(&bytes)),
                Poll::Ready(Inbound::Close) => self.flush_now(cx),
                Poll::Ready(Inbound::End(CloseReason::PeerGone)) => {
                    return Poll::Ready(CloseReason::PeerGone);
                }
                Poll::Ready(Inbound::End(reason)) => {
                    // A peer that closes was flushed before its close frame was answered, and
                    // nothing may follow the answer.
                    if reason != CloseReason::PeerClosed {
                        self.flush_now(cx);
                    }
                    self.begin_close(reason);
                }
            }
            if self.phase != Phase::Open {
                return Poll::Pending;
            }
        }
        if self.reader.take_received() {
            self.heartbeat.received(Instant::now());
        }
        let failed = self.poll_flush(cx);
        self.deadline = self.next_beat();
        failed.map(|()| CloseReason::PeerGone)
    }

    /// Writes what waits. Is ready only when the socket has failed.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_REFILLS_IN_A_ROW {
            match self
                .writer
                .poll_flush(&mut self.socket, &self.client, self.hub.shared(), cx)
            {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(FlushOutcome::MorePending)) => self.hub.resume(&self.client),
                Poll::Ready(Ok(FlushOutcome::Complete)) | Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(FlushOutcome::Yielded)) => break,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what the socket takes now, before the connection begins to close: the answers to what
    /// the peer sent before its close frame or its violation. It does not wait for a peer that does
    /// not read.
    fn flush_now(&mut self, cx: &mut Context<'_>) {
        // Unconstrained: the reads of this turn may have used up the task's budget in tokio, and
        // then a socket that can take more reports that it cannot.
        let flush = tokio::task::unconstrained(poll_fn(|cx| {
            self.writer
                .poll_flush(&mut self.socket, &self.client, self.hub.shared(), cx)
        }));
        // Ignored: a socket that has failed fails again when the close frame is written.
        let _ = pin!(flush).poll(cx);
    }

    fn handle(&mut self, message: ClientMessage<'_>) {
        match protocol::parse(message.as_bytes(), &mut Vec::new()) {
            Ok(command) => self.offers_underway = self.hub.command(&self.client, command),
            Err(ignored) => match self.hub.dispatch(&self.client, message) {
                MessageOutcome::Taken => {}
                MessageOutcome::NoCallback => {
                    tracing::trace!(
                        client = %self.client.id(),
                        reason = ignored.as_str(),
                        "ignored a message"
                    );
                    self.hub.totals().count_ignored();
                }
                MessageOutcome::Panicked => self.begin_close(CloseReason::Internal),
            },
        }
    }

    /// Returns when an open connection has to look at the time next.
    pub(super) fn next_beat(&self) -> Instant {
        let beat = self.heartbeat.next(self.hub.config().idle_timeout);
        self.write_deadline()
            .map_or(beat, |deadline| beat.min(deadline))
    }

    /// Returns the time at which the peer has taken nothing for too long. `None` while it takes
    /// what waits, or may take its time.
    pub(super) fn write_deadline(&self) -> Option<Instant> {
        Some(self.writer.blocked_since()? + self.hub.config().write_timeout?)
    }
}

#[cfg(all(test, not(outrace_loom)))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::Hub;
    use crate::channel::ClientKind;

    #[tokio::test]
    async fn what_was_said_before_a_close_is_answered_though_reading_it_has_used_up_the_turn() {
        let hub = Hub::builder()
            .on_message(|client, message| assert!(client.send_binary(message.as_bytes())))
            .build()
            .unwrap();
        // Around 128 reads of 512 bytes, which is the number that tokio lets a task have in a row.
        // With some of these lengths the budget is used up when the close frame has come.
        for length in (64_000_u16..65_500).step_by(250) {
            let message = vec![0xff; length.into()];
            // Masked with zeros.
            let mut said = vec![0x82, 0xfe];
            said.extend_from_slice(&length.to_be_bytes());
            said.extend_from_slice(&[0; 4]);
            said.extend_from_slice(&message);
            said.extend_from_slice(&[0x88, 0x80, 0, 0, 0, 0]);
            let (mut peer, server) = tokio::io::duplex(1 << 20);
            peer.write_all(&said).await.unwrap();
            peer.shutdown().await.unwrap();
            let engine = Arc::clone(hub.engine());
            let client =
                engine.make_client(crate::access::PeerInfo::default(), ClientKind::WebSocket);
            tokio::spawn(run(engine, client, Socket::from_stream(server)))
                .await
                .unwrap();
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard.len(), 4 + message.len() + 2, "{length}");
            assert!(heard.ends_with(&[0xff, 0x88, 0]));
        }
    }
}
