//! Stage 6 and the way in: one task owns one socket, reads its commands and writes its frames. The only place that names tungstenite.

mod accept;
mod addresses;
mod frames;
mod heartbeat;
mod rate;
mod reader;
mod socket;
mod writer;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::channel::{Client, OffersUnderway, Subscription};
use crate::encode::{close_frame, ping_frame};
use crate::hub::{Inner, Panicked};
use crate::protocol::{self, ClientMessage};
use crate::reason::CloseReason;

pub use accept::UpgradeBody;

#[cfg(feature = "server")]
pub(crate) use accept::Slot;
pub(crate) use accept::upgrade;
pub(crate) use addresses::Addresses;
pub(crate) use socket::Socket;

use heartbeat::{Beat, Heartbeat};
use rate::Rate;
use reader::{Inbound, Reader};
use writer::{Flushed, Writer};

/// Messages a connection handles before it lets others run.
const MESSAGES_IN_A_ROW: usize = 32;
/// Times a connection's queue is filled with what it is owed before it lets others run.
const REFILLS_IN_A_ROW: usize = 4;
/// What a lingering connection still reads, to see the peer's close, before it is cut off.
const MAX_LINGERING_BYTES: usize = 1024 * 1024;

/// Where a connection is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What has to go out goes out: what waits, where the reason says so, and the close frame.
    Closing {
        reason: CloseReason,
        framed: bool,
    },
    /// Our direction is ended; the peer's bytes are read and dropped, since closing a socket with unread bytes would
    /// make the kernel reset it and lose the close frame on its way.
    Lingering {
        reason: CloseReason,
        read: usize,
    },
}

/// One client's connection. Owned by its task; when that ends, however it ends, dropping it takes the client out of the hub.
struct Connection {
    hub: Arc<Inner>,
    client: Arc<Client>,
    /// Its place among all clients.
    membership: Arc<Subscription>,
    socket: Socket,
    reader: Reader,
    writer: Writer,
    heartbeat: Heartbeat,
    /// What the peer may still send.
    rate: Rate,
    /// What it has unsubscribed from and is still being offered: its next message waits for that.
    underway: Option<OffersUnderway>,
    phase: Phase,
    deadline: Instant,
    ended: Option<CloseReason>,
}

/// Runs a connection to its end.
pub(crate) async fn run(hub: Arc<Inner>, client: Arc<Client>, socket: Socket) {
    let now = Instant::now();
    let mut connection = Connection {
        heartbeat: Heartbeat::new(now, hub.config().ping_interval),
        rate: Rate::new(now, hub.config().message_rate, hub.config().message_burst()),
        reader: Reader::new(hub.config()),
        writer: Writer::default(),
        underway: None,
        phase: Phase::Open,
        deadline: now,
        ended: None,
        membership: hub.welcome(&client),
        hub,
        client,
        socket,
    };
    connection.hub.tell_connected(&connection.client);
    connection.deadline = connection.next_beat();
    let mut timer = pin!(tokio::time::sleep_until(connection.deadline));
    let reason = poll_fn(|cx| connection.poll(cx, timer.as_mut())).await;
    connection.ended = Some(reason);
}

impl Drop for Connection {
    fn drop(&mut self) {
        // No reason: the task was aborted with its runtime, or panicked.
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
        // First of all: what is pushed or asked after this line wakes the task.
        self.client.outbox.register(cx);
        if let (Phase::Open, Some(reason)) = (self.phase, self.client.outbox.close_asked()) {
            self.begin_close(reason);
        }
        loop {
            let before = self.phase;
            let ended = match self.phase {
                Phase::Open => self.poll_open(cx),
                Phase::Closing { reason, framed } => self.poll_closing(reason, framed, cx),
                Phase::Lingering { reason, read } => self.poll_lingering(reason, read, cx),
            };
            if let Poll::Ready(reason) = ended {
                return Poll::Ready(reason);
            }
            if self.phase != before {
                continue;
            }
            // The timer is set anew when it fires too early, not at each message: a beat that is put off costs nothing.
            if timer.deadline() > self.deadline {
                timer.as_mut().reset(self.deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // It may have been set before the deadline moved on: for a beat, and now the connection is closing.
            if Instant::now() >= self.deadline
                && let Some(reason) = self.time_is_up()
            {
                return Poll::Ready(reason);
            }
            timer.as_mut().reset(self.deadline);
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        for handled in 0.. {
            if handled == MESSAGES_IN_A_ROW {
                cx.waker().wake_by_ref();
                break;
            }
            if self
                .underway
                .as_ref()
                .is_some_and(|underway| !underway.are_over())
            {
                // Somebody else offers it a block at this very moment: no longer than that takes.
                cx.waker().wake_by_ref();
                break;
            }
            self.underway = None;
            let inbound = self
                .reader
                .poll_next(&mut self.socket, &mut self.writer, cx);
            let frames = self.reader.take_frames();
            if frames > 0
                && !matches!(inbound, Poll::Ready(Inbound::Close | Inbound::End(_)))
                && !self.rate.take(frames, Instant::now())
            {
                self.begin_close(CloseReason::TooManyMessages);
                return Poll::Pending;
            }
            match inbound {
                Poll::Pending => break,
                Poll::Ready(Inbound::Control) => {}
                Poll::Ready(Inbound::Text(text)) => self.handle(ClientMessage::Text(&text)),
                Poll::Ready(Inbound::Binary(bytes)) => self.handle(ClientMessage::Binary(&bytes)),
                Poll::Ready(Inbound::Close) => self.flush_at_once(cx),
                Poll::Ready(Inbound::End(CloseReason::PeerGone)) => {
                    return Poll::Ready(CloseReason::PeerGone);
                }
                Poll::Ready(Inbound::End(reason)) => {
                    // A peer that closes was flushed before its close frame was answered, and nothing may follow the answer.
                    if reason != CloseReason::PeerClosed {
                        self.flush_at_once(cx);
                    }
                    self.begin_close(reason);
                }
            }
            if self.phase != Phase::Open {
                return Poll::Pending;
            }
        }
        if self.reader.take_heard() {
            self.heartbeat.seen(Instant::now());
        }
        self.deadline = self.next_beat();
        self.poll_flush(cx).map(|_| CloseReason::PeerGone)
    }

    /// Ready only when the socket has failed.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..REFILLS_IN_A_ROW {
            match self
                .writer
                .poll_flush(&mut self.socket, &self.client, self.hub.core(), cx)
            {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(Flushed::Pending)) => self.hub.resume(&self.client),
                Poll::Ready(Ok(Flushed::All)) | Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Flushed::Some)) => break,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands the socket what it takes now, before the connection begins to end: the answers to what the peer said before its close frame or its
    /// mistake. Nothing waits for a peer that reads no more.
    fn flush_at_once(&mut self, cx: &mut Context<'_>) {
        // What was read in this turn may have used up the runtime's budget, on which a socket that takes more would say that it does not.
        let flush = tokio::task::unconstrained(poll_fn(|cx| {
            self.writer
                .poll_flush(&mut self.socket, &self.client, self.hub.core(), cx)
        }));
        // A socket that has failed says so again when the close frame is written.
        let _ = pin!(flush).poll(cx);
    }

    fn handle(&mut self, message: ClientMessage<'_>) {
        match protocol::parse(&mut message.as_bytes().to_vec()) {
            Ok(command) => self.underway = self.hub.command(&self.client, command),
            Err(ignored) => match self.hub.dispatch(&self.client, message) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::trace!(client = %self.client.id(), reason = ignored.as_str(), "ignored a message");
                    self.hub.core().totals.count_ignored();
                }
                Err(Panicked) => self.begin_close(CloseReason::Internal),
            },
        }
    }

    /// Takes the client out of its channels and begins to end the connection.
    fn begin_close(&mut self, reason: CloseReason) {
        self.hub.leave_all(&self.membership);
        let config = self.hub.config();
        let patience = if reason.flushes() {
            config.flush_timeout
        } else {
            config.close_timeout
        };
        if !reason.flushes() {
            self.writer.abandon();
            self.hub
                .core()
                .totals
                .count_discarded(self.client.outbox.discard() as u64);
        }
        self.phase = Phase::Closing {
            reason,
            framed: false,
        };
        self.deadline = Instant::now() + patience;
    }

    fn poll_closing(
        &mut self,
        reason: CloseReason,
        framed: bool,
        cx: &mut Context<'_>,
    ) -> Poll<CloseReason> {
        match self
            .writer
            .poll_flush(&mut self.socket, &self.client, self.hub.core(), cx)
        {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(reason),
            Poll::Ready(Ok(Flushed::Some)) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Nothing is owed to one who has left every channel.
            Poll::Ready(Ok(Flushed::All | Flushed::Pending)) => {}
        }
        if !framed {
            // Nothing may follow the close frame: a seal that began before this client left may still offer its block.
            self.writer.abandon();
            self.hub
                .core()
                .totals
                .count_discarded(self.client.outbox.discard() as u64);
            if let Some(code) = reason.code() {
                self.writer.push_control(&close_frame(code, reason.name()));
            }
            self.phase = Phase::Closing {
                reason,
                framed: true,
            };
            return Poll::Pending;
        }
        match self.socket.poll_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(reason),
            Poll::Ready(Ok(())) => {
                self.deadline = Instant::now() + self.hub.config().close_timeout;
                self.phase = Phase::Lingering { reason, read: 0 };
                Poll::Pending
            }
        }
    }

    fn poll_lingering(
        &mut self,
        reason: CloseReason,
        read: usize,
        cx: &mut Context<'_>,
    ) -> Poll<CloseReason> {
        let mut scrap = [0; 4096];
        match self.socket.poll_read(cx, &mut scrap) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(n)) if n > 0 && read + n <= MAX_LINGERING_BYTES => {
                self.phase = Phase::Lingering {
                    reason,
                    read: read + n,
                };
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(reason),
        }
    }

    fn next_beat(&self) -> Instant {
        self.heartbeat.next(self.hub.config().idle_timeout)
    }

    /// The deadline has passed. Answers the reason when that is the end.
    fn time_is_up(&mut self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closing { reason, .. } | Phase::Lingering { reason, .. } => Some(reason),
            Phase::Open => {
                let config = self.hub.config();
                let (interval, timeout): (Duration, Duration) =
                    (config.ping_interval, config.idle_timeout);
                match self.heartbeat.beat(Instant::now(), interval, timeout) {
                    Beat::Dead => self.begin_close(CloseReason::HeartbeatTimeout),
                    Beat::Ping => self.writer.push_control(&ping_frame(b"")),
                    Beat::Wait => {}
                }
                if self.phase == Phase::Open {
                    self.deadline = self.next_beat();
                }
                None
            }
        }
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
        // Around 128 reads of 512 bytes, as many as the runtime lets a task have in a row: with some of these lengths nothing is left of them when the
        // close frame has come.
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
            let inner = Arc::clone(hub.inner());
            let client =
                inner.make_client(crate::access::PeerInfo::default(), ClientKind::WebSocket);
            tokio::spawn(run(inner, client, Socket::from_stream(server)))
                .await
                .unwrap();
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard.len(), 4 + message.len() + 2, "{length}");
            assert!(heard.ends_with(&[0xff, 0x88, 0]));
        }
    }
}
