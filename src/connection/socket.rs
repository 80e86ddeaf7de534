//! The byte stream of a connection: a TCP socket if the server hands over one, otherwise any
//! stream.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream that a connection can run over.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ByteStream for T {}

enum Io {
    /// Called directly, without the wrappers and buffers of the upgrade.
    Tcp(TcpStream),
    Other(Pin<Box<dyn ByteStream>>),
}

/// A stream, and the bytes that the HTTP server had read from it before the upgrade.
pub(crate) struct Socket {
    io: Io,
    read_ahead: Bytes,
}

impl Socket {
    /// Takes over an upgraded HTTP connection.
    pub(crate) fn from_upgraded(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => Self::from_tcp(parts.io.into_inner(), parts.read_buf),
            Err(upgraded) => Self::from_stream(TokioIo::new(upgraded)),
        }
    }

    fn from_tcp(tcp: TcpStream, read_ahead: Bytes) -> Self {
        // Writes are coalesced already. A socket that refuses the option still works.
        let _ = tcp.set_nodelay(true);
        // Copied, because the original keeps the HTTP server's whole read buffer alive.
        Self {
            io: Io::Tcp(tcp),
            read_ahead: Bytes::copy_from_slice(&read_ahead),
        }
    }

    /// Takes over a connection that a caller has accepted.
    pub(crate) fn from_io(io: impl ByteStream + 'static) -> Self {
        let mut io = Some(io);
        let tcp = (&mut io as &mut dyn Any).downcast_mut::<Option<TcpStream>>();
        match tcp.and_then(Option::take) {
            Some(tcp) => Self::from_tcp(tcp, Bytes::new()),
            None => Self::from_stream(io.expect("only a TCP stream was taken")),
        }
    }

    /// Wraps any stream.
    pub(crate) fn from_stream(stream: impl ByteStream + 'static) -> Self {
        Self {
            io: Io::Other(Box::pin(stream)),
            read_ahead: Bytes::new(),
        }
    }

    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match &self.io {
            Io::Tcp(tcp) => tcp.peer_addr().ok(),
            Io::Other(_) => None,
        }
    }

    fn io(&mut self) -> Pin<&mut dyn ByteStream> {
        match &mut self.io {
            Io::Tcp(tcp) => {
                let tcp: Pin<&mut TcpStream> = Pin::new(tcp);
                tcp
            }
            Io::Other(stream) => stream.as_mut(),
        }
    }

    /// Reads the bytes that have arrived. Returns 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.read_ahead.is_empty() {
            let n = self.read_ahead.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.read_ahead[..n]);
            self.read_ahead.advance(n);
            if self.read_ahead.is_empty() {
                self.read_ahead = Bytes::new();
            }
            return Poll::Ready(Ok(n));
        }
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.io().poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            // For a single slice a plain write is cheaper than a vectored one.
            Io::Tcp(tcp) => match slices {
                [slice] => Pin::new(tcp).poll_write(cx, slice),
                slices => Pin::new(tcp).poll_write_vectored(cx, slices),
            },
            Io::Other(stream) => {
                let written = ready!(stream.as_mut().poll_write_vectored(cx, slices))?;
                // A stream with a buffer of its own, such as TLS, sends only when flushed. If it
                // cannot send now, the next write or the shutdown flushes it.
                let _ = stream.as_mut().poll_flush(cx)?;
                Poll::Ready(Ok(written))
            }
        }
    }

    /// Sends what the stream has buffered, then shuts our direction down.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("peer", &self.peer_address())
            .finish_non_exhaustive()
    }
}
