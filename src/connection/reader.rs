//! The receiving half: tungstenite keeps the protocol (masking, fragments, UTF-8, close), we keep its buffers small.

use std::io::{self, Read, Write};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, error::ProtocolError};

use super::frames::FrameCount;
use super::socket::Socket;
use super::writer::Writer;
use crate::config::Config;
use crate::reason::CloseReason;

/// Clients send a command now and then; a larger buffer would only be memory held for each of them.
const READ_BUFFER: usize = 512;

/// What came in.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The peer has begun to close: the next look answers it, with tungstenite's close frame and [`Inbound::End`].
    Close,
    /// A control frame; tungstenite has answered it.
    Control,
    /// The reading is over.
    End(CloseReason),
}

/// Reads one connection's messages.
#[derive(Debug)]
pub(crate) struct Reader {
    context: WebSocketContext,
    frames: FrameCount,
    /// Something came since this was asked last: any byte is a sign of life, not only whole messages.
    heard: bool,
}

impl Reader {
    pub(crate) fn new(config: &Config) -> Self {
        let bounds = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(config.max_message))
            .max_frame_size(Some(config.max_message));
        Self {
            context: WebSocketContext::new(Role::Server, Some(bounds)),
            frames: FrameCount::new(u32::try_from(config.max_fragments).unwrap_or(u32::MAX)),
            heard: false,
        }
    }

    /// The next message. What the protocol answers (pong, close) goes to `writer`.
    pub(crate) fn poll_next(
        &mut self,
        socket: &mut Socket,
        writer: &mut Writer,
        cx: &mut Context<'_>,
    ) -> Poll<Inbound> {
        let Self {
            context,
            frames,
            heard,
        } = self;
        let read = context.read(&mut Duplex {
            socket,
            writer,
            cx,
            heard,
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
}

impl Reader {
    /// Whether anything came from the peer since the last call.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// How many frames have come since the last call, of whichever kind.
    pub(crate) fn take_frames(&mut self) -> u32 {
        self.frames.take()
    }
}

/// RFC 6455 sections 7.1.7 and 7.4.1: which failure closes with which code.
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

/// The socket as tungstenite sees it: reading never blocks, writing goes to the writer as whole frames.
struct Duplex<'a, 'cx> {
    socket: &'a mut Socket,
    writer: &'a mut Writer,
    cx: &'a mut Context<'cx>,
    heard: &'a mut bool,
    frames: &'a mut FrameCount,
}

impl Read for Duplex<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.frames.is_exceeded() {
            // Ends the reading of a message that would never end.
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.socket.poll_read(self.cx, buffer) {
            Poll::Ready(Ok(n)) => {
                *self.heard |= n > 0;
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
