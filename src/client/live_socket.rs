//! One open WebSocket: reads frames, sends requests, and detects a silent server.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::SinkExt;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::endpoint::ClientSocket;
use super::event::DisconnectReason;
use super::tls::is_not_tls;

/// The close code of a close frame without one (RFC 6455, section 7.1.5).
const NO_STATUS_RECEIVED: u16 = 1005;

/// The largest text of a refusal that is shown.
const MAX_SHOWN_BYTES: usize = 300;

/// An open connection, and the text frame that is being read from it.
pub(super) struct LiveSocket {
    socket: ClientSocket,
    /// The frame that is being read. A server may join several messages with newlines.
    frame: Utf8Bytes,
    /// The number of bytes of `frame` that were read.
    read_bytes: usize,
    last_heard: Instant,
    /// Whether anything but a close frame was received.
    is_good: bool,
    /// Whether a ping was sent since the last frame.
    is_pinged: bool,
    /// Whether the socket may hold messages that were not flushed.
    is_unflushed: bool,
    idle_timeout: Duration,
    idle_check: Pin<Box<Sleep>>,
}

impl LiveSocket {
    pub(super) fn new(socket: ClientSocket, idle_timeout: Duration) -> Self {
        Self {
            socket,
            frame: Utf8Bytes::default(),
            read_bytes: 0,
            last_heard: Instant::now(),
            is_good: false,
            is_pinged: false,
            is_unflushed: false,
            idle_timeout,
            idle_check: Box::pin(sleep(ping_after(idle_timeout))),
        }
    }

    /// Returns whether the server sent anything but a close frame.
    pub(super) fn is_good(&self) -> bool {
        self.is_good
    }

    /// Gives the requests to the socket, as many as it takes. The rest is sent by a later call. An
    /// error is not returned here: the next read of the socket returns it.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, unsent: &mut VecDeque<String>) {
        while !unsent.is_empty()
            && let Poll::Ready(Ok(())) = self.socket.poll_ready_unpin(cx)
            && let Some(text) = unsent.pop_front()
        {
            self.is_unflushed = self.socket.start_send_unpin(Message::text(text)).is_ok();
        }
        if self.is_unflushed {
            self.is_unflushed = self.socket.poll_flush_unpin(cx).is_pending();
        }
    }

    /// Returns the next message of the current frame.
    pub(super) fn next_message(&mut self) -> Option<&str> {
        let bytes = self.frame.as_bytes();
        // A JSON string holds no raw newline and a server writes compact JSON, so that a newline
        // can only separate messages.
        while self.read_bytes < bytes.len() {
            let start = self.read_bytes;
            let end =
                memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |found| start + found);
            self.read_bytes = end + 1;
            if start < end {
                return Some(&self.frame[start..end]);
            }
        }
        None
    }

    /// Reads until a text frame is there, and makes it the current frame.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), DisconnectReason>> {
        loop {
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return self.poll_silence(cx).map(Err),
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(DisconnectReason::ConnectionLost(describe(error))));
                }
                Poll::Ready(None) => {
                    let cause = "it ended without a close frame".to_owned();
                    return Poll::Ready(Err(DisconnectReason::ConnectionLost(cause)));
                }
            };
            self.last_heard = Instant::now();
            self.is_pinged = false;
            self.is_good |= !message.is_close();
            match message {
                Message::Text(text) => {
                    self.frame = text;
                    self.read_bytes = 0;
                    return Poll::Ready(Ok(()));
                }
                Message::Close(frame) => {
                    // The next read sends the close frame that answers the server's.
                    let _ = Pin::new(&mut self.socket).poll_next(cx);
                    return Poll::Ready(Err(closed(frame)));
                }
                _ => {}
            }
        }
    }

    /// Is ready when the server was silent for the idle timeout. Pings the server before that.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<DisconnectReason> {
        loop {
            ready!(self.idle_check.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.last_heard + self.idle_timeout {
                return Poll::Ready(DisconnectReason::IdleTimeout);
            }
            if !self.is_pinged && now >= self.last_heard + ping_after(self.idle_timeout) {
                self.is_pinged = true;
                let ping = Message::Ping(Default::default());
                // A socket that takes no ping now stays silent, or fails when it is read.
                if let Poll::Ready(Ok(())) = self.socket.poll_ready_unpin(cx)
                    && self.socket.start_send_unpin(ping).is_ok()
                {
                    let _ = self.socket.poll_flush_unpin(cx);
                }
            }
            let next = if self.is_pinged {
                self.idle_timeout
            } else {
                ping_after(self.idle_timeout)
            };
            self.idle_check.as_mut().reset(self.last_heard + next);
        }
    }
}

/// The silence after which the server is pinged.
fn ping_after(idle_timeout: Duration) -> Duration {
    idle_timeout * 2 / 5
}

fn closed(frame: Option<CloseFrame>) -> DisconnectReason {
    match frame {
        Some(frame) => DisconnectReason::Closed {
            code: frame.code.into(),
            reason: frame.reason.to_string(),
        },
        None => DisconnectReason::Closed {
            code: NO_STATUS_RECEIVED,
            reason: String::new(),
        },
    }
}

/// Describes an error of the connection to a person, in one line.
fn describe_io(error: &io::Error) -> String {
    if is_not_tls(error) {
        return "the answer is not TLS; a server without TLS is reached with ws://".to_owned();
    }
    error.to_string()
}

/// Describes an error to a person, in one line. A refused upgrade shows the server's status and, if
/// its text is a short line, that.
pub(super) fn describe(error: Error) -> String {
    match error {
        Error::Io(error) => describe_io(&error),
        Error::Protocol(ProtocolError::HttparseError(_)) => {
            "the answer is not HTTP; a server with TLS is reached with wss://".to_owned()
        }
        Error::Http(response) => {
            let text = response
                .body()
                .as_deref()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            let status = response.status();
            match text.trim() {
                "" => format!("the server answers {status}"),
                // A page, or text that goes on for lines.
                text if text.len() > MAX_SHOWN_BYTES || text.contains(['<', '\n']) => {
                    format!("the server answers {status}")
                }
                text => format!("the server answers {status} {text}"),
            }
        }
        error => error.to_string(),
    }
}
