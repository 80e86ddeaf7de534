//! A connection for peers that misbehave.

use crate::wire::frame::{CLOSE, ParsedFrame, parse_frame};
use crate::wire::target::Target;
use crate::wire::upgrade::upgrade_request;
use memchr::memmem;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest time that a server may take for any response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest response head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The reason why a peer could not do its part, or what is wrong with the response.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("could not connect to {addr}: {error}")]
    Connect {
        addr: SocketAddr,
        error: std::io::Error,
    },
    #[error("the upgrade was answered with {0:?}")]
    Upgrade(String),
    #[error("could not send: {0}")]
    Send(std::io::Error),
    #[error("could not read: {0}")]
    Read(std::io::Error),
    #[error("could not reset a connection: {0}")]
    Reset(rustix::io::Errno),
    #[error("the head of the response has no end")]
    EndlessHead,
    #[error("the server closed the connection before it had responded")]
    ClosedBeforeResponse,
    #[error("the server ended a stream")]
    StreamEnded,
    #[error("nothing came for {} s", TIMEOUT.as_secs())]
    Silent,
    #[error("the server sent {0}")]
    InvalidFrame(&'static str),
    #[error("a close frame without a code came")]
    CloseWithoutCode,
    #[error("no close frame came within {} s", TIMEOUT.as_secs())]
    NoClose,
    #[error("the stream ended without a close frame")]
    EndWithoutClose,
}

pub(super) struct Peer {
    stream: TcpStream,
    /// The received bytes that were not processed yet.
    waiting: Vec<u8>,
}

impl Peer {
    pub(super) fn connect(target: &Target) -> Result<Peer, PeerError> {
        let stream = TcpStream::connect_timeout(&target.addr, TIMEOUT)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(stream)
            })
            .map_err(|error| PeerError::Connect {
                addr: target.addr,
                error,
            })?;
        Ok(Peer {
            stream,
            waiting: Vec::new(),
        })
    }

    /// Connects and upgrades to a WebSocket.
    pub(super) fn upgraded(target: &Target) -> Result<Peer, PeerError> {
        let mut peer = Peer::connect(target)?;
        peer.send(upgrade_request(&target.host, &target.path, &target.headers).as_bytes())?;
        let head = peer.read_head()?;
        if head.starts_with("HTTP/1.1 101") {
            return Ok(peer);
        }
        let line = head.lines().next().unwrap_or_default();
        Err(PeerError::Upgrade(line.to_owned()))
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        self.stream.write_all(bytes).map_err(PeerError::Send)
    }

    /// Reads the head of the response.
    pub(super) fn read_head(&mut self) -> Result<String, PeerError> {
        loop {
            if let Some(end) = memmem::find(&self.waiting, b"\r\n\r\n") {
                let rest = self.waiting.split_off(end + 4);
                let head = std::mem::replace(&mut self.waiting, rest);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.waiting.len() > MAX_HEAD_BYTES {
                return Err(PeerError::EndlessHead);
            }
            if self.read_more()? == 0 {
                return Err(PeerError::ClosedBeforeResponse);
            }
        }
    }

    /// Reads for at most `time`, or until `max_bytes` have arrived since the head.
    ///
    /// Returns the number of bytes that have arrived.
    pub(super) fn read_for(
        &mut self,
        max_bytes: usize,
        time: Duration,
    ) -> Result<usize, PeerError> {
        let until = Instant::now() + time;
        let mut seen = self.waiting.len();
        self.waiting.clear();
        while seen < max_bytes {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // The timeout is not zero, which would mean no timeout.
            self.stream
                .set_read_timeout(Some(left))
                .map_err(PeerError::Read)?;
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(PeerError::StreamEnded),
                Ok(n) => seen += n,
                Err(e) if is_timeout(&e) || e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(PeerError::Read(e)),
            }
        }
        Ok(seen)
    }

    /// Reads up to the close frame and returns its code. Frames before it are ignored.
    pub(super) fn read_close_code(&mut self) -> Result<u16, PeerError> {
        let until = Instant::now() + TIMEOUT;
        loop {
            let mut at = 0;
            loop {
                match parse_frame(&self.waiting[at..]) {
                    ParsedFrame::Frame(frame) if frame.opcode == CLOSE => {
                        return frame
                            .payload
                            .first_chunk()
                            .map(|code| u16::from_be_bytes(*code))
                            .ok_or(PeerError::CloseWithoutCode);
                    }
                    ParsedFrame::Frame(frame) => at += frame.len,
                    ParsedFrame::Partial(_) => break,
                    ParsedFrame::Invalid(why) => return Err(PeerError::InvalidFrame(why)),
                }
            }
            self.waiting.drain(..at);
            if Instant::now() > until {
                return Err(PeerError::NoClose);
            }
            if self.read_more()? == 0 {
                return Err(PeerError::EndWithoutClose);
            }
        }
    }

    /// Ends the connection with a reset, as a crashing machine does.
    pub(super) fn reset(self) -> Result<(), PeerError> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .map_err(PeerError::Reset)
    }

    /// Reads more bytes and returns their number.
    fn read_more(&mut self) -> Result<usize, PeerError> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.waiting.extend_from_slice(&buffer[..n]);
                Ok(n)
            }
            Err(e) if is_timeout(&e) => Err(PeerError::Silent),
            Err(e) => Err(PeerError::Read(e)),
        }
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
