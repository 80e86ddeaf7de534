//! Hostile peers on raw sockets. Each attack ends as the wire contract says, and meanwhile another
//! client of the hub gets every message.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use outrace::server::ServeOptions;
use outrace::{Hub, HubBuilder};
use outrace_testkit::socket::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, handshake, masked};
use outrace_testkit::{Server, Socket, TIMEOUT, http, join, labelled, until};

const FIN: u8 = 0x80;

/// A hub under attack, with a client that must not miss a message.
struct Siege {
    server: Server,
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<usize>,
    witness: JoinHandle<usize>,
}

impl Siege {
    fn begin() -> Self {
        Self::of(Server::with(Self::hub()))
    }

    fn hub() -> HubBuilder {
        // The hub's own pings would disturb the comparison.
        Hub::builder()
            .queue(100_000)
            .ping_interval(Duration::from_secs(3600))
            .idle_timeout(Duration::from_secs(7200))
    }

    fn of(server: Server) -> Self {
        let mut socket = server.subscriber("process:witness");
        let stop = Arc::new(AtomicBool::new(false));
        let publisher = {
            let (handle, stop) = (
                server.hub.publisher("process:witness").unwrap(),
                Arc::clone(&stop),
            );
            thread::spawn(move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) || sent == 0 {
                    assert_eq!(
                        handle.send_line(format!("0:{sent}")),
                        1,
                        "the witness is there"
                    );
                    sent += 1;
                    thread::sleep(Duration::from_millis(1));
                }
                handle.send_line("the end");
                sent
            })
        };
        let witness = thread::spawn(move || {
            for expected in 0.. {
                let message = socket.json();
                if message["data"] == "the end" {
                    return expected;
                }
                assert_eq!(labelled(&message), Some((0, expected)), "{message}");
            }
            unreachable!("the numbers do not end")
        });
        Self {
            server,
            stop,
            publisher,
            witness,
        }
    }

    /// Asserts that the witness has missed nothing, that no other client is left, and that every
    /// message is accounted for.
    fn end(self) -> Server {
        until("only the witness is left", || {
            self.server.hub.client_count() == 1
        });
        self.stop.store(true, Ordering::Relaxed);
        let sent = join("the publisher", self.publisher);
        assert_eq!(join("the witness", self.witness), sent);
        self.server.settle();
        assert_eq!(self.server.hub.stats().closed.get("internal error"), None);
        self.server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Sends bytes in place of a handshake and ends its direction. Returns the response up to the
    /// end.
    fn knock(&self, said: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close before all bytes are sent.
        let _ = stream.write_all(said);
        let _ = stream.shutdown(Shutdown::Write);
        to_the_end(&mut stream)
    }

    /// Connects, sends bytes, and asserts that a close frame with this code ends the connection.
    fn expect_close(&self, what: &str, said: &[u8], code: u16) {
        let mut socket = self.server.connect();
        socket.send_bytes(said);
        let (_, closed) = socket
            .drain()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            closed.unwrap_or_else(|| panic!("{what}: no close frame")).0,
            code,
            "{what}"
        );
    }
}

/// Reads until the stream ends, orderly or not.
fn to_the_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            panic!("it goes on: {error}")
        }
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// Writes the same bytes again and again until the server closes. Returns the number of bytes.
fn until_refused(stream: &mut TcpStream, piece: &[u8]) -> usize {
    let mut written = 0;
    while stream.write_all(piece).is_ok() {
        written += piece.len();
        assert!(written < 1 << 30, "it takes a gigabyte");
    }
    written
}

#[test]
fn half_handshakes_end_with_their_peer_or_with_their_time() {
    let options = ServeOptions::new().header_timeout(Duration::from_millis(400));
    let hub = Siege::hub().build().unwrap();
    let router = hub.router();
    let siege = Siege::of(Server::with_router(hub, router, options));
    let request = handshake("");
    let mut left = Vec::new();
    for cut in (0..request.len()).step_by(5) {
        let mut open = siege.connect();
        open.write_all(&request.as_bytes()[..cut]).unwrap();
        left.push(open);
        // One peer ends its direction, another is reset.
        let answer = siege.knock(&request.as_bytes()[..cut]);
        assert!(!answer.contains(" 101 "), "{answer}");
        let reset = siege.connect();
        (&reset).write_all(&request.as_bytes()[..cut]).unwrap();
        rustix::net::sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
    }
    for mut open in left {
        assert!(!to_the_end(&mut open).contains(" 101 "));
    }
    let server = siege.end();
    server.connect().ping();
}

#[test]
fn headers_without_end_are_cut_off_and_what_is_no_http_is_refused() {
    let siege = Siege::begin();
    for (begin, piece) in [
        ("GET /ws HTTP/1.1\r\nHost: h\r\n", "X-More: and more\r\n"),
        ("GET /ws HTTP/1.1\r\nHost: h\r\n", "X: y\r\n"),
        ("GET /ws HTTP/1.1\r\nHost: h\r\nX-Long: ", "and longer "),
        ("GET /ws HTTP/1.1\r\nHost: h\r\nX-", "Name-"),
        ("GET /ws?", "and=so&"),
        ("GET /ws HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: ", "AAAA"),
        ("", "G"),
        ("", "\r\n"),
        ("", "\0\0\0\0"),
        ("\x16\x03\x01", "\x02\0\x01\0"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\x04\0\0\0\0\0"),
    ] {
        let mut stream = siege.connect();
        stream.write_all(begin.as_bytes()).unwrap();
        let written = until_refused(&mut stream, piece.repeat(100).as_bytes());
        // The kernel takes some bytes before it reports the end.
        assert!(written < 64 << 20, "{written} bytes of {piece:?}");
        let answer = to_the_end(&mut stream);
        assert!(
            !answer.contains(" 101 ") && !answer.contains(" 200 "),
            "{answer}"
        );
    }
    for said in [
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "GET /ws HTTP/0.9\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: h\nUpgrade\r\n\r\n",
        "POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /api/actions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "GET /\u{fffd} HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let answer = siege.knock(said.as_bytes());
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.0 4"),
            "{said:?}: {answer}"
        );
    }
    siege.end();
}

/// Returns the header of a frame that claims a length, without the payload.
fn claims(first: u8, length: u64) -> Vec<u8> {
    [
        &[first, FIN | 127][..],
        &length.to_be_bytes(),
        &[1, 2, 3, 4],
        b"little",
    ]
    .concat()
}

#[test]
fn a_frame_that_breaks_a_rule_is_answered_with_the_code_for_it_and_nothing_more() {
    let siege = Siege::begin();
    for opcode in [TEXT, BINARY, CONTINUATION] {
        for length in [
            64 * 1024 + 1,
            1 << 31,
            1 << 32,
            1 << 62,
            i64::MAX as u64,
            1 << 63,
            u64::MAX,
        ] {
            siege.expect_close(
                &format!("{length} bytes"),
                &claims(FIN | opcode, length),
                1009,
            );
        }
    }
    let violations = |what: &str, said: &[u8]| siege.expect_close(what, said, 1002);
    for bits in [0x10, 0x20, 0x40, 0x30, 0x50, 0x60, 0x70] {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            violations("reserved bits", &masked(FIN | bits | opcode, b"{}"));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        violations("a reserved opcode", &masked(FIN | opcode, b"{}"));
        violations("a part with a reserved opcode", &masked(opcode, b""));
    }
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        violations(
            "an unmasked frame",
            &[&[FIN | opcode, 2][..], b"{}"].concat(),
        );
    }
    for opcode in [CLOSE, PING, PONG] {
        violations(
            "an oversize control frame",
            &masked(FIN | opcode, &[0; 126]),
        );
        violations(
            "a much too large control frame",
            &masked(FIN | opcode, &[0; 60_000]),
        );
        violations(
            "a control frame in parts",
            &[masked(opcode, b""), masked(FIN | CONTINUATION, b"")].concat(),
        );
    }
    violations(
        "a continuation of nothing",
        &masked(FIN | CONTINUATION, b"{}"),
    );
    violations(
        "a part that continues nothing",
        &masked(CONTINUATION, b"{}"),
    );
    violations(
        "a message within another",
        &[masked(TEXT, b"{"), masked(FIN | TEXT, b"}")].concat(),
    );
    violations(
        "a binary one within a text",
        &[masked(TEXT, b"{"), masked(BINARY, b"}")].concat(),
    );
    violations(
        "another request",
        format!("{}{}", handshake(""), handshake("")).as_bytes(),
    );
    siege.end();
}

#[test]
fn a_close_frame_is_answered_with_a_valid_code_and_frames_after_it_are_ignored() {
    let siege = Siege::begin();
    let close = |payload: &[u8]| masked(FIN | CLOSE, payload);
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2000, 2999, 5000, 65_535_u16,
    ] {
        siege.expect_close(&format!("code {code}"), &close(&code.to_be_bytes()), 1002);
    }
    for code in [
        1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999_u16,
    ] {
        let reason = [&code.to_be_bytes()[..], &[b'r'; 123]].concat();
        siege.expect_close(&format!("code {code}"), &close(&reason), code);
    }
    siege.expect_close("half a code", &close(&[3]), 1002);
    siege.expect_close("a reason that is no text", &close(b"\x03\xe8\xff"), 1007);
    siege.expect_close(
        "a reason that is cut",
        &close(b"\x03\xe8\xf0\x9f\xa6"),
        1007,
    );
    // Frames after the close frame are not acted upon, however many there are.
    let subscribe = masked(FIN | TEXT, br#"{"type":"subscribe","channel":"late"}"#);
    let more = [
        subscribe,
        masked(FIN | PING, b"late"),
        close(&1000_u16.to_be_bytes()),
    ]
    .concat();
    let mut socket = siege.server.connect();
    socket.send_bytes(&[close(&1000_u16.to_be_bytes()), more.repeat(2000)].concat());
    let (texts, closed) = socket.drain().unwrap();
    assert_eq!((texts.len(), closed.unwrap().0), (0, 1000));
    assert_eq!(siege.server.hub.channel_subscriber_count("late"), 0);
    siege.end();
}

#[test]
fn invalid_utf8_is_found_wherever_it_is_cut_and_valid_text_passes_wherever_it_is() {
    let siege = Siege::begin();
    // An overlong form, a surrogate, a code point beyond the last one, a stray continuation byte,
    // and a missing one.
    let bad: [&[u8]; 6] = [
        b"a\xc0\xafz",
        b"a\xed\xa0\x80z",
        b"a\xf4\x90\x80\x80z",
        b"a\x80z",
        b"a\xe2\x82z",
        b"a\xff\xfez",
    ];
    for text in bad {
        for cut in 0..=text.len() {
            let parts = [
                masked(TEXT, &text[..cut]),
                masked(FIN | CONTINUATION, &text[cut..]),
            ];
            siege.expect_close(&format!("{text:x?} cut at {cut}"), &parts.concat(), 1007);
        }
    }
    siege.expect_close(
        "a text that ends within a character",
        &masked(FIN | TEXT, b"a\xe2\x82"),
        1007,
    );
    // A binary message may have the same bytes, and is no command.
    let mut socket = siege.server.connect();
    for bytes in bad {
        socket.send_frame(BINARY, bytes);
    }
    assert!(socket.ping().is_empty());
    // The text has characters of one to four bytes. It is cut at each byte, with a ping in each
    // cut, and then sent byte by byte.
    let ping = "{\"type\":\"ping\",\"data\":\"aé€🦀\"}".as_bytes();
    let start = ping.len() - 12;
    for cut in start..ping.len() {
        socket.send_part(TEXT, &ping[..cut]);
        socket.send_frame(PING, b"between");
        socket.send_frame(CONTINUATION, &ping[cut..]);
        assert_eq!(socket.frame().payload, b"between");
        assert_eq!(socket.json()["type"], "pong");
    }
    drop(socket);
    let mut socket = siege.server.connect();
    for (at, byte) in ping.iter().enumerate() {
        let last = if at + 1 == ping.len() { FIN } else { 0 };
        socket.send_bytes(&masked(
            last | if at == 0 { TEXT } else { CONTINUATION },
            &[*byte],
        ));
    }
    assert_eq!(socket.json()["type"], "pong");
    drop(socket);
    siege.end();
}

#[test]
fn a_message_without_end_is_closed_and_so_is_one_that_is_too_long_in_all() {
    // Empty fragments add no length, so their number is bounded, with the default rate and without
    // a rate.
    for rate in [100, 1_000_000_000] {
        let siege = Siege::of(Server::with(Siege::hub().message_rate(rate)));
        for (opcode, piece) in [
            (TEXT, &b""[..]),
            (BINARY, b""),
            (TEXT, b"x"),
            (BINARY, &[0; 1000]),
        ] {
            let mut socket = siege.server.connect();
            let flood = {
                let mut stream = socket.stream().try_clone().unwrap();
                let (begin, more) = (
                    masked(opcode, piece),
                    masked(CONTINUATION, piece).repeat(50),
                );
                thread::spawn(move || {
                    let _ = stream.write_all(&begin);
                    until_refused(&mut stream, &more)
                })
            };
            let code = socket.frame().close().0;
            assert!(
                code == if piece.len() < 1000 { 1008 } else { 1009 }
                    || (code == 1008 && rate == 100),
                "{code}"
            );
            drop(socket);
            assert!(join("the flood", flood) < 64 << 20);
        }
        siege.end();
    }
}

#[test]
fn a_flood_of_pings_is_closed_or_answered_as_far_as_its_sender_reads() {
    let siege = Siege::begin();
    let mut flooder = siege.server.connect();
    let mut stream = flooder.stream().try_clone().unwrap();
    let flood = thread::spawn(move || {
        until_refused(&mut stream, &masked(FIN | PING, &[7; 125]).repeat(100))
    });
    loop {
        let frame = flooder.frame();
        if frame.opcode == CLOSE {
            assert_eq!(frame.close().0, 1008);
            break;
        }
        assert_eq!((frame.opcode, frame.payload), (PONG, vec![7; 125]));
    }
    drop(flooder);
    join("the flood", flood);
    siege.end();
    // Without a bound on the rate, pongs that the peer does not read are not kept either.
    let siege = Siege::of(Server::with(Siege::hub().message_rate(1_000_000_000)));
    let mut deaf = Socket::connect_narrow(siege.server.address);
    let client = siege.server.client(&deaf);
    for _ in 0..2000 {
        deaf.send_bytes(&masked(FIN | PING, &[7; 125]).repeat(50));
    }
    assert_eq!(client.queued(), 0, "no message");
    deaf.send_text(r#"{"type":"ping"}"#);
    let mut pongs = 0;
    while deaf.frame().opcode == PONG {
        pongs += 1;
    }
    assert!(
        (1..100_000).contains(&pongs),
        "{pongs} of 100,000 were kept"
    );
    drop(deaf);
    siege.end();
}

#[test]
fn deep_nesting_is_ignored_and_counted_and_the_connection_stays() {
    let siege = Siege::begin();
    let mut socket = siege.server.connect();
    let deep = "[".repeat(32_000);
    let messages = [
        deep.clone(),
        deep.clone() + &"]".repeat(32_000),
        r#"{"a":"#.repeat(10_000),
        format!(r#"{{"type":"subscribe","channel":"c","options":{deep}"#),
        format!(r#"{{"type":"ping","data":{}{}}}"#, deep, "]".repeat(32_000)),
    ];
    for message in &messages {
        socket.send_text(message);
    }
    assert!(socket.ping().is_empty());
    assert_eq!(siege.server.hub.stats().ignored, messages.len() as u64);
    assert_eq!(http::act(siege.server.address, &deep).status, 400);
    drop(socket);
    siege.end();
}

#[test]
fn a_peer_that_sends_byte_by_byte_is_served_like_any_other() {
    let siege = Siege::begin();
    let mut stream = siege.connect();
    let ping = masked(FIN | TEXT, br#"{"type":"ping"}"#);
    // The handshake is sent byte by byte too, with the first frame right after it.
    for byte in [handshake("").as_bytes(), &ping].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut said = Vec::new();
    let mut chunk = [0; 1024];
    while !String::from_utf8_lossy(&said).contains(r#"{"type":"pong""#) {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..n]);
    }
    drop(stream);
    siege.end();
}

#[test]
fn a_handshake_that_drips_has_the_same_timeout_as_any_other() {
    let options = ServeOptions::new().header_timeout(Duration::from_millis(300));
    let hub = Siege::hub().build().unwrap();
    let router = hub.router();
    let siege = Siege::of(Server::with_router(hub, router, options));
    let mut stream = siege.connect();
    // The header would take a minute. Only the server ends this.
    let endless = format!("GET /ws HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(6000));
    let mut dripped = 0;
    for byte in endless.bytes() {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        dripped += 1;
        thread::sleep(Duration::from_millis(10));
    }
    assert!(dripped < endless.len(), "it has taken all of it");
    assert!(!to_the_end(&mut stream).contains(" 101 "));
    siege.end();
}

#[test]
fn bytes_that_come_with_the_handshake_are_read_first_wherever_they_are_cut() {
    let siege = Siege::begin();
    let subscribe = masked(FIN | TEXT, br#"{"type":"subscribe","channel":"early"}"#);
    let ping = masked(FIN | TEXT, br#"{"type":"ping"}"#);
    let said = [handshake("").as_bytes(), &subscribe, &ping].concat();
    for cut in (handshake("").len() - 3..said.len()).step_by(7) {
        let mut stream = siege.connect();
        stream.write_all(&said[..cut]).unwrap();
        let mut heard = Vec::new();
        let mut chunk = [0; 1024];
        let mut rest = Some(&said[cut..]);
        while !String::from_utf8_lossy(&heard).contains(r#"{"type":"pong""#) {
            // A complete handshake is answered before the rest is sent. Otherwise the rest follows
            // at once.
            if (cut < handshake("").len() || !heard.is_empty())
                && let Some(rest) = rest.take()
            {
                stream.write_all(rest).unwrap();
            }
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&chunk[..n]);
        }
        assert_eq!(siege.server.hub.channel_subscriber_count("early"), 1);
        drop(stream);
        until("it has left", || {
            siege.server.hub.channel_subscriber_count("early") == 0
        });
    }
    siege.end();
}
