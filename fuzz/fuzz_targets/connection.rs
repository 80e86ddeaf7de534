//! Bytes to a live connection, in memory. The server answers what a naive reader of RFC 6455
//! expects, and no client is left in the hub.
//!
//! The first byte chooses how the rest is used (see [`InputMode`]). The second byte chooses the
//! size of the pieces in which it arrives.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use outrace::internals::{converse, flush, parse};
use outrace::{ClientMessage, Hub};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

/// A larger message closes the connection with 1009.
const MAX_BYTES: usize = 2048;
/// The size of the input: several messages of the largest size.
const MAX_INPUT: usize = 20_000;
/// Any input is done long before this. A run that is not hangs.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How the input is used.
#[derive(Debug, Clone, Copy, PartialEq)]
enum InputMode {
    /// The input is frames.
    Raw,
    /// Frames are built from parts. Most of them are valid.
    Made,
    /// The input is an HTTP request and anything after it.
    Request,
    /// The input is frames after a valid upgrade request, perhaps in one piece with it.
    Upgraded,
}

/// A frame. Each of its parts may be invalid.
#[derive(Arbitrary, Debug)]
struct FrameParts<'a> {
    /// The first byte of the frame if `odd` is 0. Otherwise it chooses the opcode.
    first: u8,
    odd: u8,
    mask: [u8; 4],
    payload: Payload<'a>,
}

#[derive(Arbitrary, Debug)]
enum Payload<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Repeated(u8, u16),
    Ping,
    Subscribe(&'a str),
    Close(u16, &'a str),
}

/// What the server has to answer to the peer's bytes, and how the connection has to end.
#[derive(Debug, Default)]
struct Expected {
    /// The messages that are sent back: whether each is text, and its bytes.
    echoes: Vec<(bool, Vec<u8>)>,
    pings: Vec<Vec<u8>>,
    /// The number of commands that are answered.
    commands: usize,
    end: ExpectedEnd,
}

#[derive(Debug, Default, PartialEq)]
enum ExpectedEnd {
    /// The bytes end between two frames.
    #[default]
    Open,
    /// The bytes end within a frame.
    Within,
    /// The server has to send a close frame, with this code if any.
    Closed(Option<u16>),
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built"),
    );
}

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, pieces], rest)) = input.split_first_chunk() else {
        return;
    };
    let mode = [
        InputMode::Raw,
        InputMode::Made,
        InputMode::Request,
        InputMode::Upgraded,
    ][usize::from(mode % 4)];
    let narrow = pieces & 0x80 != 0;
    let bytes = match mode {
        InputMode::Made => {
            let mut parts = Unstructured::new(rest);
            let parts = std::iter::from_fn(|| {
                (!parts.is_empty()).then(|| FrameParts::arbitrary(&mut parts).ok())?
            });
            parts
                .take(200)
                .flat_map(|part| part.bytes())
                .take(MAX_INPUT)
                .collect()
        }
        _ => rest.to_vec(),
    };
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            tokio::time::timeout(
                TIMEOUT,
                play(mode, narrow, usize::from(pieces & 0x7f), bytes),
            )
            .await
            .expect("the connection ends in time");
        });
    });
});

async fn play(mode: InputMode, narrow: bool, piece: usize, mut bytes: Vec<u8>) {
    // The queue holds everything that is sent back, so that nothing is skipped.
    let hub = Hub::builder()
        .queue(1 << 20)
        .queue_bytes(1 << 30)
        .max_message(MAX_BYTES)
        // These limits have their own tests. Here everything legal has to be answered.
        .max_fragments(1 << 30)
        .message_rate(1_000_000_000)
        .on_message(|client, message| {
            let sent = match message {
                ClientMessage::Text(text) => client.send_text(text),
                ClientMessage::Binary(bytes) => client.send_binary(bytes),
                _ => false,
            };
            assert!(sent, "the queue holds everything");
        })
        .build()
        .expect("the settings are valid");
    let mut expected = Expected::default();
    if mode != InputMode::Request {
        expected = Expected::of(&bytes);
        if expected.end == ExpectedEnd::Open {
            bytes.extend_from_slice(&frame(0x88, Some([1, 2, 3, 4]), &1000_u16.to_be_bytes()));
            expected.end = ExpectedEnd::Closed(Some(1000));
        }
    }
    if mode == InputMode::Upgraded {
        bytes.splice(
            0..0,
            *b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
    }
    let (client, server) = tokio::io::duplex(if narrow { 61 } else { 1 << 20 });
    let served = match mode {
        InputMode::Raw | InputMode::Made => {
            let hub = hub.clone();
            tokio::spawn(async move { converse(&hub, server).await })
        }
        InputMode::Request | InputMode::Upgraded => tokio::spawn(serve_http(hub.clone(), server)),
    };
    let (mut input, mut output) = tokio::io::split(client);
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        // An error of the connection still leaves the bytes before it.
        let _ = input.read_to_end(&mut said).await;
        said
    });
    // Each piece is a turn of the runtime, so there are a few hundred at most.
    let piece = if piece == 0 {
        bytes.len().max(1)
    } else {
        piece.max(bytes.len() / 300)
    };
    for chunk in bytes.chunks(piece) {
        // The server may have closed the connection already.
        if output.write_all(chunk).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = output.shutdown().await;
    let said = said.await.expect("no panic");
    served.await.expect("no panic");
    // A connection that has closed its direction still waits for the peer to close the other.
    while hub.stats().connected > hub.stats().closed.values().sum() {
        tokio::task::yield_now().await;
    }
    flush(&hub);
    check_hub(&hub);
    match mode {
        InputMode::Request => check_answer(&said),
        InputMode::Upgraded => {
            let text = String::from_utf8_lossy(&said);
            assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
            let end = said
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("the end of the header")
                + 4;
            expected.check(&said[end..], narrow);
        }
        InputMode::Raw | InputMode::Made => expected.check(&said, narrow),
    }
}

async fn serve_http(hub: Hub, stream: DuplexStream) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let hub = hub.clone();
        async move { Ok::<_, Infallible>(hub.upgrade(request).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // Input that is not HTTP is an error here. It was answered already.
    let _ = http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Checks that no client is left and that every message is counted.
fn check_hub(hub: &Hub) {
    let stats = hub.stats();
    assert_eq!(
        (
            stats.clients,
            stats.channels,
            stats.subscribers,
            stats.queued
        ),
        (0, 0, 0, 0),
        "{stats:?}"
    );
    assert_eq!(
        stats.offered,
        stats.written + stats.skipped + stats.discarded,
        "{stats:?}"
    );
    assert_eq!(
        stats.connected,
        stats.closed.values().sum::<u64>(),
        "{stats:?}"
    );
    assert_eq!(
        stats.closed.get("internal error"),
        None,
        "no callback panicked"
    );
    assert_eq!((stats.skipped, stats.ignored), (0, 0));
}

/// Checks that an answer before an upgrade is HTTP with one of the expected statuses.
fn check_answer(said: &[u8]) {
    let Some(status) = said
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
    else {
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(said));
        return;
    };
    const EXPECTED: [&[u8]; 8] = [
        b"101", b"400", b"403", b"405", b"414", b"426", b"431", b"501",
    ];
    assert!(
        EXPECTED.contains(&status),
        "{}",
        String::from_utf8_lossy(said)
    );
}

impl Expected {
    /// Reads the peer's bytes frame by frame, by section 5 of the RFC.
    fn of(mut bytes: &[u8]) -> Self {
        let mut expected = Self::default();
        // A fragmented message that is not complete: whether it is text, and its bytes so far.
        let mut begun: Option<(bool, Vec<u8>)> = None;
        expected.end = loop {
            if bytes.is_empty() {
                break ExpectedEnd::Open;
            }
            let Some((first, masked, header, len)) = head(bytes) else {
                break ExpectedEnd::Within;
            };
            let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
            if !matches!(opcode, 0..=2 | 8..=10) {
                break ExpectedEnd::Closed(Some(1002));
            }
            if len > MAX_BYTES as u64 {
                break ExpectedEnd::Closed(Some(1009));
            }
            let Some(payload) = bytes.get(header..header + len as usize) else {
                break ExpectedEnd::Within;
            };
            let mask: [u8; 4] = if masked {
                bytes[header - 4..header].try_into().expect("four")
            } else {
                [0; 4]
            };
            let payload: Vec<u8> = payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(a, b)| a ^ b)
                .collect();
            bytes = &bytes[header + len as usize..];
            if !masked || first & 0x70 != 0 || (opcode >= 8 && (!last || payload.len() > 125)) {
                break ExpectedEnd::Closed(Some(1002));
            }
            match opcode {
                8 => break ExpectedEnd::Closed(answer_to_close(&payload)),
                9 => expected.pings.push(payload),
                10 => {}
                _ => {
                    match (&mut begun, opcode) {
                        (None, 1 | 2) => begun = Some((opcode == 1, payload)),
                        (Some((_, message)), 0) => message.extend_from_slice(&payload),
                        _ => break ExpectedEnd::Closed(Some(1002)),
                    }
                    let (is_text, message) = begun.as_ref().expect("begun above");
                    if message.len() > MAX_BYTES {
                        break ExpectedEnd::Closed(Some(1009));
                    }
                    let error = std::str::from_utf8(message).err();
                    if *is_text && error.is_some_and(|error| last || error.error_len().is_some()) {
                        break ExpectedEnd::Closed(Some(1007));
                    }
                    if last {
                        let (is_text, message) = begun.take().expect("begun above");
                        expected.message(is_text, message);
                    }
                }
            }
        };
        expected
    }

    /// Expects the answer to a command, or the echo of any other message.
    fn message(&mut self, is_text: bool, message: Vec<u8>) {
        match parse(&message, &mut Vec::new()) {
            Ok(_) => self.commands += 1,
            Err(_) => self.echoes.push((is_text, message)),
        }
    }

    /// Compares with the bytes that the server sent.
    fn check(&self, mut said: &[u8], narrow: bool) {
        let mut echoes = self.echoes.iter();
        let mut pings = self.pings.iter();
        let mut answers = 0;
        let mut closed = None;
        while let Some((first, masked, header, len)) = head(said) {
            assert_eq!(closed, None, "nothing follows the close frame");
            assert!(
                !masked && first & 0x70 == 0 && first & 0x80 != 0,
                "a server's frame: {first:#x}"
            );
            let Some(payload) = said.get(header..header + len as usize) else {
                break;
            };
            said = &said[header + len as usize..];
            match first & 0x0f {
                10 => {
                    // A pong that finds no room in a narrow pipe is not sent.
                    let known = pings.by_ref();
                    let found = if narrow {
                        known.any(|ping| ping == payload)
                    } else {
                        known.next().is_some_and(|p| p == payload)
                    };
                    assert!(found, "a pong for no ping: {payload:?}");
                }
                8 => closed = Some(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
                opcode @ (1 | 2) => {
                    if echoes
                        .clone()
                        .next()
                        .is_some_and(|(text, bytes)| *text == (opcode == 1) && bytes == payload)
                    {
                        echoes.next();
                        continue;
                    }
                    let text = std::str::from_utf8(payload).expect("a message of the hub is text");
                    let kinds = ["pong", "error", "subscribed", "replay", "replayed", "gap"];
                    let known = kinds
                        .iter()
                        .any(|kind| text.starts_with(&format!(r#"{{"type":"{kind}","#)));
                    assert!(
                        opcode == 1 && known,
                        "neither an echo nor an answer: {text:?}, of {self:?}"
                    );
                    answers += 1;
                }
                opcode => panic!("a frame with opcode {opcode}"),
            }
        }
        // A subscription may be answered by its confirmation and by the two ends of a replay.
        assert!(
            answers <= 3 * self.commands,
            "{answers} answers to {self:?}"
        );
        match &self.end {
            ExpectedEnd::Closed(code) => {
                let (closed, expected) = (
                    closed.unwrap_or_else(|| panic!("no close frame: {self:?}")),
                    *code,
                );
                let unsettled = matches!(expected, Some(1002 | 1004 | 1012..=1014));
                assert!(
                    closed == expected || (unsettled && closed == Some(1002)),
                    "{closed:?} for {self:?}"
                );
                if !narrow {
                    assert_eq!(echoes.next(), None, "everything before the end is answered");
                }
            }
            ExpectedEnd::Open | ExpectedEnd::Within => assert_eq!(
                closed, None,
                "the peer left without a close frame: {self:?}"
            ),
        }
    }
}

/// Returns the code of the answer to a close frame (sections 5.5.1 and 7.4).
fn answer_to_close(payload: &[u8]) -> Option<u16> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return (!payload.is_empty()).then_some(1002);
    };
    if std::str::from_utf8(reason).is_err() {
        return Some(1007);
    }
    match u16::from_be_bytes(*code) {
        code @ (1000..=1004 | 1007..=1014 | 3000..=4999) => Some(code),
        _ => Some(1002),
    }
}

/// Parses a frame's header: its first byte, whether the frame is masked, and the lengths of the
/// header and of the payload. Returns `None` if the header is incomplete.
fn head(bytes: &[u8]) -> Option<(u8, bool, usize, u64)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (more, len) = match second & 0x7f {
        126 => (2, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (8, u64::from_be_bytes(*rest.first_chunk()?)),
        len => (0, u64::from(len)),
    };
    let masked = second & 0x80 != 0;
    let header = 2 + more + if masked { 4 } else { 0 };
    (bytes.len() >= header).then_some((first, masked, header, len))
}

/// Returns a frame with this first byte, masked if there is a mask.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(bit | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(bit | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

impl FrameParts<'_> {
    /// Returns the frame.
    fn bytes(&self) -> Vec<u8> {
        let opcode = [0, 1, 2, 9, 10, 1, 0, 2][usize::from(self.first & 7)];
        let (opcode, payload) = match &self.payload {
            Payload::Text(text) => (opcode, text.as_bytes().to_vec()),
            Payload::Bytes(bytes) => (opcode, bytes.to_vec()),
            Payload::Repeated(byte, times) => (opcode, vec![*byte; usize::from(*times)]),
            Payload::Ping => (1, br#"{"type":"ping"}"#.to_vec()),
            Payload::Subscribe(channel) => (
                1,
                serde_json::json!({"type": "subscribe", "channel": channel})
                    .to_string()
                    .into_bytes(),
            ),
            Payload::Close(code, reason) => (8, [&code.to_be_bytes(), reason.as_bytes()].concat()),
        };
        match self.odd {
            0 => frame(self.first, Some(self.mask), &payload),
            1 => frame(0x80 | opcode, None, &payload),
            2..100 if opcode < 8 => frame(opcode, Some(self.mask), &payload),
            _ => frame(0x80 | opcode, Some(self.mask), &payload),
        }
    }
}
