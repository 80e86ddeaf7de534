//! The receiving half of a connection. tungstenite checks the protocol: masks, fragments, UTF-8 and
//! the closing handshake. This file keeps its buffers small.

use std::io::{self, Read, Write};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, error::ProtocolError};

use super::frames::FrameCounter;
use super::socket::Socket;
use super::writer::Writer;
use crate::config::Config;
use crate::reason::CloseReason;

/// The size of the read buffer. Clients rarely send, so a larger buffer would only take memory for
/// each of them.
const READ_BUFFER_BYTES: usize = 512;

/// Something that was received, or the end.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The peer has begun the closing handshake. The next poll writes tungstenite's close frame and
    /// returns [`Inbound::End`].
    Close,
    /// A ping or a pong. tungstenite has answered the ping.
    Control,
    /// Nothing more will be read.
    End(CloseReason),
}

/// Receives the messages of one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    context: WebSocketContext,
    frames: FrameCounter,
    /// Whether any byte has come since the last call of `take_received`. A part of a message is a
    /// sign of life too.
    received: bool,
}

impl Reader {
    pub(crate) fn new(config: &Config) -> Self {
        let bounds = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(config.max_message))
            .max_frame_size(Some(config.max_message));
        Self {
            context: WebSocketContext::new(Role::Server, Some(bounds)),
            frames: FrameCounter::new(u32::try_from(config.max_fragments).unwrap_or(u32::MAX)),
            received: false,
        }
    }

    /// Returns the next message. The protocol's answers (pong, close) are queued in `writer`.
    pub(crate) fn poll_next(
        &mut self,
        socket: &mut Socket,
        writer: &mut Writer,
        cx: &mut Context<'_>,
    ) -> Poll<Inbound> {
        let Self {
            context,
            frames,
            received,
        } = self;
        let read = context.read(&mut Duplex {
            socket,
            writer,
            cx,
            received,
            frames,
        });
        if self.frames.is_exceeded() {
            return Poll::Ready(Inbound::End(CloseReason::TooManyFragments));
        }
        let inbound = match read {
            Ok(Message::Text(text)) => Inbound::Text(text),
            Ok(Message::Binary(binary)) => Inbound::Binary(binary),
            Ok(Message::Close(_)) => Inbound::Close,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Inbound::Control,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Poll::Pending;
            }
            Err(error) => Inbound::End(reason(&error)),
        };
        Poll::Ready(inbound)
    }

    /// Returns whether anything has come from the peer since the last call.
    pub(crate) fn take_received(&mut self) -> bool {
        std::mem::take(&mut self.received)
    }

    /// Returns how many frames of any kind have come since the last call.
    pub(crate) fn take_frames(&mut self) -> u32 {
        self.frames.take()
    }
}

/// Returns the reason that an error ends the connection for (RFC 6455 sections 7.1.7 and 7.4.1).
fn reason(error: &Error) -> CloseReason {
    match error {
        Error::ConnectionClosed => CloseReason::PeerClosed,
        Error::Capacity(_) => CloseReason::MessageTooBig,
        Error::Utf8(_) => CloseReason::InvalidUtf8,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseReason::PeerGone,
        Error::Protocol(_) => CloseReason::ProtocolViolation,
        _ => CloseReason::PeerGone,
    }
}

/// The socket as tungstenite sees it. A read never blocks, and a write queues a whole frame in the
/// writer.
struct Duplex<'a, 'cx> {
    socket: &'a mut Socket,
    writer: &'a mut Writer,
    cx: &'a mut Context<'cx>,
    received: &'a mut bool,
    frames: &'a mut FrameCounter,
}

impl Read for Duplex<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.frames.is_exceeded() {
            // Otherwise tungstenite would go on reading a message that may never end.
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.socket.poll_read(self.cx, buffer) {
            Poll::Ready(Ok(n)) => {
                *self.received |= n > 0;
                self.frames.read(&buffer[..n]);
                Ok(n)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Duplex<'_, '_> {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.writer.push_control(frame);
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
