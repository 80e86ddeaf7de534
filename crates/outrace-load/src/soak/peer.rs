//! A connection of one's own making, for peers that do not behave.

use crate::client::upgrade_request;
use crate::frame::{self, CLOSE, Cut};
use crate::target::Target;
use memchr::memmem;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a server may take for anything it owes such a peer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most bytes of a head.
const MAX_HEAD: usize = 16 * 1024;

pub(super) struct Peer {
    stream: TcpStream,
    /// What came and was not looked at.
    waiting: Vec<u8>,
}

impl Peer {
    pub(super) fn connect(target: &Target) -> Result<Peer, String> {
        let stream = TcpStream::connect_timeout(&target.addr, PATIENCE)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(stream)
            })
            .map_err(|e| format!("could not connect to {}: {e}", target.addr))?;
        Ok(Peer {
            stream,
            waiting: Vec::new(),
        })
    }

    /// Connects, and becomes a WebSocket.
    pub(super) fn upgraded(target: &Target) -> Result<Peer, String> {
        let mut peer = Peer::connect(target)?;
        peer.send(upgrade_request(&target.host, &target.path, &target.headers).as_bytes())?;
        let head = peer.head()?;
        if head.starts_with("HTTP/1.1 101") {
            return Ok(peer);
        }
        Err(format!(
            "the upgrade was answered with {:?}",
            head.lines().next().unwrap_or_default()
        ))
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream
            .write_all(bytes)
            .map_err(|e| format!("could not send: {e}"))
    }

    /// The head of the answer.
    pub(super) fn head(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = memmem::find(&self.waiting, b"\r\n\r\n") {
                let rest = self.waiting.split_off(end + 4);
                let head = std::mem::replace(&mut self.waiting, rest);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.waiting.len() > MAX_HEAD {
                return Err("the answer's head has no end".to_owned());
            }
            if self.more()? == 0 {
                return Err("the server closed before it had answered".to_owned());
            }
        }
    }

    /// Reads for at most so long, or until so many bytes have come since the head; how many have.
    pub(super) fn read_for(&mut self, bytes: usize, time: Duration) -> Result<usize, String> {
        let until = Instant::now() + time;
        let mut seen = self.waiting.len();
        self.waiting.clear();
        while seen < bytes {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Never zero, which would mean for ever.
            self.stream
                .set_read_timeout(Some(left))
                .map_err(|e| format!("could not read: {e}"))?;
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the server ended a stream".to_owned()),
                Ok(n) => seen += n,
                Err(e) if is_timeout(&e) || e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("a stream failed: {e}")),
            }
        }
        Ok(seen)
    }

    /// Reads up to the close frame, whatever comes before it: its code.
    pub(super) fn close_code(&mut self) -> Result<u16, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut at = 0;
            loop {
                match frame::cut(&self.waiting[at..]) {
                    Cut::Frame(frame) if frame.opcode == CLOSE => {
                        return frame
                            .payload
                            .first_chunk()
                            .map(|code| u16::from_be_bytes(*code))
                            .ok_or_else(|| "a close frame without a code came".to_owned());
                    }
                    Cut::Frame(frame) => at += frame.len,
                    Cut::Partial(_) => break,
                    Cut::Broken(why) => return Err(format!("the server sent {why}")),
                }
            }
            self.waiting.drain(..at);
            if Instant::now() > until {
                return Err(format!(
                    "no close frame came within {} s",
                    PATIENCE.as_secs()
                ));
            }
            if self.more()? == 0 {
                return Err("the stream ended without a close frame".to_owned());
            }
        }
    }

    /// Ends the connection with a reset, as a machine that crashes.
    pub(super) fn reset(self) -> Result<(), String> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .map_err(|e| format!("could not reset a connection: {e}"))
    }

    fn more(&mut self) -> Result<usize, String> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.waiting.extend_from_slice(&buffer[..n]);
                Ok(n)
            }
            Err(e) if is_timeout(&e) => Err(format!("nothing came for {} s", PATIENCE.as_secs())),
            Err(e) => Err(format!("could not read: {e}")),
        }
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
