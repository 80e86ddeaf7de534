//! The byte stream under a connection: a TCP socket where we know it, else whatever the server gave us.

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

/// Anything a connection can run over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Io {
    /// Without a virtual call, and without the upgrade's own wrappers and buffers.
    Tcp(TcpStream),
    Other(Box<dyn Stream>),
}

/// A stream, and what was read from it before it became ours.
pub(crate) struct Socket {
    io: Io,
    early: Bytes,
}

impl Socket {
    /// Takes over an upgraded HTTP connection.
    pub(crate) fn from_upgraded(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => Self::from_tcp(parts.io.into_inner(), parts.read_buf),
            Err(upgraded) => Self::from_stream(TokioIo::new(upgraded)),
        }
    }

    fn from_tcp(tcp: TcpStream, early: Bytes) -> Self {
        // What is written is already coalesced; a socket that refuses the option still works.
        let _ = tcp.set_nodelay(true);
        // A copy: the original would hold the HTTP server's whole read buffer.
        Self {
            io: Io::Tcp(tcp),
            early: Bytes::copy_from_slice(&early),
        }
    }

    /// Takes any stream.
    pub(crate) fn from_stream(stream: impl Stream + 'static) -> Self {
        Self {
            io: Io::Other(Box::new(stream)),
            early: Bytes::new(),
        }
    }

    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match &self.io {
            Io::Tcp(tcp) => tcp.peer_addr().ok(),
            Io::Other(_) => None,
        }
    }

    fn io(&mut self) -> Pin<&mut dyn Stream> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp),
            Io::Other(stream) => Pin::new(stream),
        }
    }

    /// Reads what is there; 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let n = self.early.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.early[..n]);
            self.early.advance(n);
            if self.early.is_empty() {
                self.early = Bytes::new();
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
            // A plain write spares the kernel reading a list of one.
            Io::Tcp(tcp) => match slices {
                [slice] => Pin::new(tcp).poll_write(cx, slice),
                slices => Pin::new(tcp).poll_write_vectored(cx, slices),
            },
            Io::Other(stream) => {
                let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))?;
                // A stream with a buffer of its own (TLS) sends only when flushed; when it can't now, the next write or the shutdown does.
                let _ = Pin::new(stream).poll_flush(cx)?;
                Poll::Ready(Ok(written))
            }
        }
    }

    /// Sends what the stream buffers itself, then ends our direction.
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
