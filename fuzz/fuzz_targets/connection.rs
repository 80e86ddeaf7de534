//! Bytes to a live connection, in memory: what a naive reading of RFC 6455 expects is what comes back, and nobody is left behind.
//!
//! The first byte chooses how the rest is taken (see [`Way`]), the second in what pieces it arrives.
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

/// Inbound messages over this close with 1009.
const MAX_BYTES: usize = 2048;
/// Some messages of the largest size.
const MAX_INPUT: usize = 20_000;
/// Longer than anything here takes: it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the input is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Frames as they are.
    Raw,
    /// Frames made of parts, most of them sound.
    Made,
    /// A request, and whatever follows it.
    Request,
    /// Frames behind a sound request, in one piece with it or not.
    Upgraded,
}

/// One frame that may be wrong in any of its parts.
#[derive(Arbitrary, Debug)]
struct Part<'a> {
    /// The low half is the opcode; the high half counts only if `odd` is 0.
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

/// What the peer said, and what has to become of the connection.
#[derive(Debug, Default)]
struct Reading {
    /// Messages to be sent back: whether it is a text, and its bytes.
    echoes: Vec<(bool, Vec<u8>)>,
    pings: Vec<Vec<u8>>,
    /// Commands that are answered.
    answered: usize,
    end: End,
}

#[derive(Debug, Default, PartialEq)]
enum End {
    /// Between two frames.
    #[default]
    Open,
    /// Within a frame.
    Within,
    /// The close frame that has to come: its code, if it has one.
    Closed(Option<u16>),
}

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

fuzz_target!(|input: &[u8]| {
    let Some((&[way, pieces], rest)) = input.split_first_chunk() else {
        return;
    };
    let way = [Way::Raw, Way::Made, Way::Request, Way::Upgraded][usize::from(way % 4)];
    let narrow = pieces & 0x80 != 0;
    let bytes = match way {
        Way::Made => {
            let mut parts = Unstructured::new(rest);
            let parts = std::iter::from_fn(|| {
                (!parts.is_empty()).then(|| Part::arbitrary(&mut parts).ok())?
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
                PATIENCE,
                play(way, narrow, usize::from(pieces & 0x7f), bytes),
            )
            .await
            .expect("it ends");
        });
    });
});

async fn play(way: Way, narrow: bool, piece: usize, mut bytes: Vec<u8>) {
    // Room for whatever there is to send back: nothing is skipped.
    let hub = Hub::builder()
        .queue(1 << 20)
        .queue_bytes(1 << 30)
        .max_message(MAX_BYTES)
        // Their bounds have tests of their own; here all that is legal is to be answered.
        .max_fragments(1 << 30)
        .message_rate(1_000_000_000)
        .on_message(|client, message| {
            let sent = match message {
                ClientMessage::Text(text) => client.send_text(text),
                ClientMessage::Binary(bytes) => client.send_binary(bytes),
            };
            assert!(sent, "there is room");
        })
        .build()
        .expect("sound settings");
    let mut reading = Reading::default();
    if way != Way::Request {
        reading = Reading::of(&bytes);
        if reading.end == End::Open {
            bytes.extend_from_slice(&frame(0x88, Some([1, 2, 3, 4]), &1000_u16.to_be_bytes()));
            reading.end = End::Closed(Some(1000));
        }
    }
    if way == Way::Upgraded {
        bytes.splice(
            0..0,
            *b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
    }
    let (client, server) = tokio::io::duplex(if narrow { 61 } else { 1 << 20 });
    let served = match way {
        Way::Raw | Way::Made => {
            let hub = hub.clone();
            tokio::spawn(async move { converse(&hub, server).await })
        }
        Way::Request | Way::Upgraded => tokio::spawn(serve_http(hub.clone(), server)),
    };
    let (mut input, mut output) = tokio::io::split(client);
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        // What came before an end that is no orderly one is kept.
        let _ = input.read_to_end(&mut said).await;
        said
    });
    // Some hundreds of pieces at most: each is a turn of the runtime.
    let piece = if piece == 0 {
        bytes.len().max(1)
    } else {
        piece.max(bytes.len() / 300)
    };
    for chunk in bytes.chunks(piece) {
        // The server may have ended the connection already.
        if output.write_all(chunk).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = output.shutdown().await;
    let said = said.await.expect("no panic");
    served.await.expect("no panic");
    // A connection that has ended its direction still waits for the peer's end.
    while hub.stats().connected > hub.stats().closed.values().sum() {
        tokio::task::yield_now().await;
    }
    flush(&hub);
    check_hub(&hub);
    match way {
        Way::Request => check_answer(&said),
        Way::Upgraded => {
            let text = String::from_utf8_lossy(&said);
            assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
            let end = said
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("the end of the header")
                + 4;
            reading.check(&said[end..], narrow);
        }
        Way::Raw | Way::Made => reading.check(&said, narrow),
    }
}

async fn serve_http(hub: Hub, stream: DuplexStream) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let hub = hub.clone();
        async move { Ok::<_, Infallible>(hub.upgrade(request).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // What is no HTTP is an error here, and has been answered.
    let _ = http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Nobody is left behind, and all that was sent or not is accounted for.
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
        "no callback has panicked"
    );
    assert_eq!((stats.skipped, stats.ignored), (0, 0));
}

/// What is said before an upgrade is HTTP.
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

impl Reading {
    /// Section 5 of the RFC, read frame by frame.
    fn of(mut bytes: &[u8]) -> Self {
        let mut reading = Self::default();
        // A message whose last frame has not come: whether it is a text, and what there is of it.
        let mut begun: Option<(bool, Vec<u8>)> = None;
        reading.end = loop {
            if bytes.is_empty() {
                break End::Open;
            }
            let Some((first, masked, header, len)) = head(bytes) else {
                break End::Within;
            };
            let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
            if !matches!(opcode, 0..=2 | 8..=10) {
                break End::Closed(Some(1002));
            }
            if len > MAX_BYTES as u64 {
                break End::Closed(Some(1009));
            }
            let Some(payload) = bytes.get(header..header + len as usize) else {
                break End::Within;
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
                break End::Closed(Some(1002));
            }
            match opcode {
                8 => break End::Closed(answer_to_close(&payload)),
                9 => reading.pings.push(payload),
                10 => {}
                _ => {
                    match (&mut begun, opcode) {
                        (None, 1 | 2) => begun = Some((opcode == 1, payload)),
                        (Some((_, message)), 0) => message.extend_from_slice(&payload),
                        _ => break End::Closed(Some(1002)),
                    }
                    let (is_text, message) = begun.as_ref().expect("begun above");
                    if message.len() > MAX_BYTES {
                        break End::Closed(Some(1009));
                    }
                    let error = std::str::from_utf8(message).err();
                    if *is_text && error.is_some_and(|error| last || error.error_len().is_some()) {
                        break End::Closed(Some(1007));
                    }
                    if last {
                        let (is_text, message) = begun.take().expect("begun above");
                        reading.message(is_text, message);
                    }
                }
            }
        };
        reading
    }

    fn message(&mut self, is_text: bool, message: Vec<u8>) {
        match parse(&mut message.clone()) {
            Ok(_) => self.answered += 1,
            Err(_) => self.echoes.push((is_text, message)),
        }
    }

    /// Compares with what the server has said.
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
                    // One that finds no room is not sent.
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
                    let text = std::str::from_utf8(payload).expect("a text, of the hub's own");
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
        // A subscription may be answered twice: that it is there, and with a replay.
        assert!(
            answers <= 3 * self.answered,
            "{answers} answers to {self:?}"
        );
        match &self.end {
            End::Closed(code) => {
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
                    assert_eq!(
                        echoes.next(),
                        None,
                        "all that was said before the end is answered"
                    );
                }
            }
            End::Open | End::Within => assert_eq!(closed, None, "the peer has gone: {self:?}"),
        }
    }
}

/// The code that answers a close frame (sections 5.5.1 and 7.4).
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

/// A frame's first byte, whether it is masked, the length of its header and that of its payload; `None` when the header is not all there.
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

impl Part<'_> {
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
