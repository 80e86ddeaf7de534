//! A WebSocket client (RFC 6455) on a blocking socket, without a library between the test and the
//! frames.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::TIMEOUT;

/// The opcode of a continuation frame.
pub const CONTINUATION: u8 = 0x0;
/// The opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// The opcode of a binary frame.
pub const BINARY: u8 = 0x2;
/// The opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// The opcode of a ping.
pub const PING: u8 = 0x9;
/// The opcode of a pong.
pub const PONG: u8 = 0xa;
/// The bit of a first byte that ends a message.
pub const FIN: u8 = 0x80;
const MASK: [u8; 4] = [0x12, 0x9a, 0x5c, 0xf3];

/// A received frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The opcode.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Parses the frame at the beginning of `bytes`, and returns it with its length on the wire.
    /// Returns `None` if it is not complete.
    ///
    /// Panics unless the frame is a whole message, unmasked, and without reserved bits.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        assert_eq!(
            first & 0xf0,
            FIN,
            "every frame is a whole message: {first:#x}"
        );
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (header, len) = match second & 0x7f {
            126 => {
                let len = u16::from_be_bytes(*rest.first_chunk()?) as usize;
                assert!(len >= 126, "the shortest length encoding");
                (4, len)
            }
            127 => {
                let len = u64::from_be_bytes(*rest.first_chunk()?) as usize;
                assert!(len >= 0x1_0000, "the shortest length encoding");
                (10, len)
            }
            len => (2, len as usize),
        };
        let payload = bytes.get(header..header + len)?.to_vec();
        Some((
            Self {
                opcode: first & 0x0f,
                payload,
            },
            header + len,
        ))
    }

    /// Returns the text of a text frame.
    pub fn text(&self) -> &str {
        assert_eq!(self.opcode, TEXT, "{self:?}");
        std::str::from_utf8(&self.payload).expect("a text frame is UTF-8")
    }

    /// Returns the code and the reason of a close frame.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        let (code, reason) = self.payload.split_at(2);
        (
            u16::from_be_bytes([code[0], code[1]]),
            std::str::from_utf8(reason).unwrap(),
        )
    }
}

/// A client that blocks.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

/// The texts up to the end of a stream, and the code and reason of the close frame if one came.
pub type Drained = (Vec<String>, Option<(u16, String)>);

/// Returns a masked frame, as a client sends it.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..126 => frame.push(0x80 | n as u8),
        n @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// Returns the request of a handshake with further headers, each ended by CRLF.
pub fn handshake(more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

impl Socket {
    /// Connects and shakes hands.
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, "")
    }

    /// Connects and shakes hands with further headers, each ended by CRLF.
    pub fn connect_with(address: SocketAddr, more: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), Some(more))
    }

    /// Connects with small kernel buffers: the server soon notices when the client stops reading.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        connect(&socket, &address).unwrap();
        Self::over(TcpStream::from(socket), Some(""))
    }

    /// Takes a stream. `more` are further headers of a handshake, `None` if that has been done.
    pub fn over(stream: TcpStream, more: Option<&str>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        let mut socket = Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        };
        let Some(more) = more else { return socket };
        socket.send_bytes(handshake(more).as_bytes());
        let answer = socket.answer();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // The key and its answer are those of RFC 6455 section 1.3.
        let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert!(
            answer
                .to_ascii_lowercase()
                .contains(&accept.to_ascii_lowercase()),
            "{answer}"
        );
        socket
    }

    /// Returns the header of the server's answer to the handshake.
    fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.unread().windows(4).position(|w| w == b"\r\n\r\n") {
                let answer = String::from_utf8(self.unread()[..end + 4].to_vec()).unwrap();
                self.start += end + 4;
                return answer;
            }
            assert!(
                self.fill().unwrap() > 0,
                "the server hung up during the handshake"
            );
        }
    }

    /// Returns the client's address.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Returns the TCP stream.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sets how long a read may take. It is [`TIMEOUT`] at first.
    pub fn set_read_timeout(&self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).unwrap();
    }

    /// Sends bytes that need not be frames.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a frame that is a whole message, or the end of one.
    pub fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.send_bytes(&masked(FIN | opcode, payload));
    }

    /// Sends a frame that is not the last of its message.
    pub fn send_part(&mut self, opcode: u8, payload: &[u8]) {
        self.send_bytes(&masked(opcode, payload));
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.send_frame(TEXT, text.as_bytes());
    }

    /// Sends a JSON message.
    pub fn send_json(&mut self, message: Value) {
        self.send_text(&message.to_string());
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 && self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let mut chunk = [0; 16 * 1024];
        let n = loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Returns the next frame, or `None` when the stream ends between two frames.
    ///
    /// # Errors
    ///
    /// The stream was reset, or nothing came in time.
    pub fn try_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, len)) = Frame::parse(self.unread()) {
                self.start += len;
                return Ok(Some(frame));
            }
            if self.fill()? == 0 {
                assert!(self.unread().is_empty(), "the stream ends within a frame");
                return Ok(None);
            }
        }
    }

    /// Returns the next frame.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.try_frame()
            .expect("a frame comes in time")
            .expect("the connection is open")
    }

    /// Returns the next message, which must be text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.frame().text().to_owned()
    }

    /// Returns the next message, which must be one JSON value.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sends a ping and returns the texts before its pong. All that the server has sent until then
    /// is among them.
    #[track_caller]
    pub fn ping(&mut self) -> Vec<String> {
        self.send_text(r#"{"type":"ping"}"#);
        let mut before = Vec::new();
        loop {
            let text = self.text();
            if text.starts_with(r#"{"type":"pong""#) {
                return before;
            }
            before.push(text);
        }
    }

    /// Subscribes without options. The subscription is active when this returns.
    #[track_caller]
    pub fn subscribe(&mut self, channel: &str) {
        self.send_json(serde_json::json!({"type": "subscribe", "channel": channel}));
        let answers = self.ping();
        assert!(
            answers
                .iter()
                .all(|answer| !answer.starts_with(r#"{"type":"error""#)),
            "{answers:?}"
        );
    }

    /// Reads to the end of the stream, and answers a close frame.
    ///
    /// # Errors
    ///
    /// The stream was reset, or nothing came in time.
    pub fn drain(&mut self) -> io::Result<Drained> {
        let mut texts = Vec::new();
        let mut closed = None;
        while let Some(frame) = self.try_frame()? {
            assert_eq!(closed, None, "{frame:?} came after the close frame");
            match frame.opcode {
                TEXT => texts.push(frame.text().to_owned()),
                CLOSE => {
                    let (code, reason) = frame.close();
                    closed = Some((code, reason.to_owned()));
                    let _ = self
                        .stream
                        .write_all(&masked(FIN | CLOSE, &frame.payload[..2]));
                }
                _ => {}
            }
        }
        Ok((texts, closed))
    }

    /// Reads to the end of the stream and returns the close code. Panics at a reset, and at an end
    /// without a close frame.
    #[track_caller]
    pub fn close_code(&mut self) -> u16 {
        let (_, closed) = self.drain().expect("no reset");
        closed.expect("a close frame").0
    }

    /// Ends the connection with a reset, as a machine that crashes does.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}
