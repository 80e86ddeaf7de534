//! The bounds of a server over real sockets. Each refusal is named and counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use outrace::server::ServeOptions;
use outrace::{Hub, PeerAddress};
use outrace_testkit::socket::{CLOSE, CONTINUATION, PING, PONG, TEXT, handshake, masked};
use outrace_testkit::{Server, Socket, TIMEOUT, eventually, http, serve_in_memory, until};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Requests a stream and leaves it open.
fn open_stream(address: SocketAddr, path: &str, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(outrace_testkit::TIMEOUT))
        .unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n").as_bytes())
        .unwrap();
    stream
}

/// Serves a hub behind a proxy that names the peer in a header.
fn behind_proxy(hub: &Hub) -> Server {
    let trusting = axum::middleware::map_request(async |mut request: axum::extract::Request| {
        let told = request
            .headers()
            .get("x-peer")
            .and_then(|peer| peer.to_str().ok()?.parse().ok());
        if let Some(peer) = told {
            request
                .extensions_mut()
                .insert(PeerAddress(SocketAddr::new(peer, 4711)));
        }
        request
    });
    Server::with_router(
        hub.clone(),
        hub.router().layer(trusting),
        Default::default(),
    )
}

#[test]
fn clients_and_streams_have_the_address_they_came_from_or_the_one_a_proxy_tells() {
    let hub = Hub::new();
    let server = behind_proxy(&hub);
    let socket = server.connect();
    assert_eq!(
        server.client(&socket).address(),
        Some(socket.local_address())
    );
    let stream = open_stream(server.address, "/api/channels/c/stream", "");
    until("the stream's client is there", || {
        hub.clients()
            .any(|client| client.address() == stream.local_addr().ok())
    });
    let _told = open_stream(
        server.address,
        "/api/channels/c/stream",
        "X-Peer: 2001:db8::7\r\n",
    );
    let _told = Socket::connect_with(server.address, "X-Peer: 192.0.2.7\r\n");
    for address in ["[2001:db8::7]:4711", "192.0.2.7:4711"] {
        let address = Some(address.parse().unwrap());
        until("the client has the address that the proxy told", || {
            hub.clients().any(|client| client.address() == address)
        });
    }
}

fn refused(hub: &Hub, reason: &str) -> u64 {
    hub.stats().refused.get(reason).copied().unwrap_or(0)
}

fn closed(hub: &Hub, reason: &str) -> u64 {
    hub.stats().closed.get(reason).copied().unwrap_or(0)
}

/// Sends a handshake and returns the response.
fn knock(address: SocketAddr, more: &str) -> http::Response {
    http::exchange(address, handshake(more).as_bytes())
}

/// Serves a hub with these bounds on requests.
fn bounded(options: ServeOptions) -> Server {
    let hub = Hub::new();
    Server::with_router(hub.clone(), hub.router(), options)
}

#[test]
fn connections_and_streams_are_bounded_for_each_address() {
    let hub = Hub::builder()
        .max_connections_per_address(2)
        .build()
        .unwrap();
    let server = behind_proxy(&hub);
    let peer = "X-Peer: 192.0.2.1\r\n";
    let socket = Socket::connect_with(server.address, peer);
    let stream = open_stream(server.address, "/api/channels/c/stream", peer);
    until("both are there", || hub.client_count() == 2);
    knock(server.address, peer).assert_refusal(
        429,
        "Your address has as many connections to this server as it may.",
    );
    let request = format!("GET /api/channels/c/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{peer}\r\n");
    assert_eq!(
        http::exchange(server.address, request.as_bytes()).status,
        429
    );
    assert_eq!(refused(&hub, "address limit"), 2);
    // Other addresses have places of their own, and loopback is not counted.
    let _other = Socket::connect_with(server.address, "X-Peer: 192.0.2.2\r\n");
    let _own: Vec<Socket> = (0..4).map(|_| server.connect()).collect();
    // A place is free again however its connection ends.
    socket.reset();
    until("its place is free", || hub.client_count() == 6);
    let socket = let_in(server.address, peer);
    assert_eq!(knock(server.address, peer).status, 429);
    drop(stream);
    until("the stream is gone", || {
        // A write reveals that the peer is gone.
        hub.send_to_channel("c", outrace::Message::output("are you there?"))
            .unwrap();
        hub.client_count() == 6
    });
    let mut second = Socket::over(let_in(server.address, peer), None);
    second.send_frame(CLOSE, &[0x03, 0xe8]);
    assert_eq!(second.close_code(), 1000);
    let _third = let_in(server.address, peer);
    assert_eq!(knock(server.address, peer).status, 429);
    drop(socket);
    let _fourth = let_in(server.address, peer);
}

/// Connects as soon as there is a place. A place is free a moment after its client has left.
fn let_in(address: SocketAddr, more: &str) -> TcpStream {
    let mut admitted = None;
    until("there is a place", || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(handshake(more).as_bytes()).unwrap();
        if http::read_response(&mut stream).status == 101 {
            admitted = Some(stream);
        }
        admitted.is_some()
    });
    admitted.unwrap()
}

#[test]
fn a_place_is_given_back_when_a_callback_panics() {
    let hub = Hub::builder()
        .max_connections_per_address(1)
        .max_connections(1)
        .on_connect(|client| {
            assert!(
                client.address().unwrap().port() != 4711,
                "the test's own panic"
            )
        })
        .build()
        .unwrap();
    let server = behind_proxy(&hub);
    for n in 1..=3 {
        let _panicking = let_in(server.address, "X-Peer: 192.0.2.1\r\n");
        until("it has ended", || closed(&hub, "internal error") == n);
    }
    let_in(server.address, "");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_whose_response_is_not_read_times_out_and_frees_its_place() {
    let hub = Hub::builder()
        .max_connections(1)
        .handshake_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    // The duplex stream holds less than the response. A kernel's buffer would have to be filled
    // first.
    let (mut peer, connection) = serve_in_memory(&hub, 64);
    peer.write_all(handshake("").as_bytes()).await.unwrap();
    let begun = tokio::time::Instant::now();
    eventually(|| refused(&hub, "handshake timeout") > 0).await;
    // The test looks once a millisecond.
    assert!(matches!(begun.elapsed().as_millis(), 50..=51));
    assert!(!connection.is_finished());
    assert_eq!(hub.stats().connected, 0);
    let (mut next, _connection) = serve_in_memory(&hub, 4096);
    next.write_all(handshake("").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    next.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
}

#[test]
fn a_header_over_the_bound_is_answered_431_and_counted() {
    let server = bounded(ServeOptions::new().header_bytes(8 * 1024));
    let more = format!("X-Long: {}\r\n", "x".repeat(7000));
    assert_eq!(knock(server.address, &more).status, 101);
    let answer = knock(server.address, &more.replace("Long", "Longer").repeat(2));
    assert_eq!(answer.status, 431);
    until("it is counted", || {
        refused(&server.hub, "header too big") == 1
    });
    // A header without end is cut off too.
    let mut endless = TcpStream::connect(server.address).unwrap();
    endless.set_read_timeout(Some(TIMEOUT)).unwrap();
    endless.write_all(b"GET / HTTP/1.1\r\nX-Endless: ").unwrap();
    let flood = thread::spawn({
        let mut endless = endless.try_clone().unwrap();
        move || while endless.write_all(&[b'x'; 1024]).is_ok() {}
    });
    assert_eq!(http::read_response(&mut endless).status, 431);
    drop(endless);
    outrace_testkit::join("the flood", flood);
    until("it is counted", || {
        refused(&server.hub, "header too big") == 2
    });
}

#[test]
fn a_header_that_does_not_come_times_out_and_is_counted() {
    let server = bounded(ServeOptions::new().header_timeout(Duration::from_millis(200)));
    let mut silent = TcpStream::connect(server.address).unwrap();
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(&handshake("").as_bytes()[..50]).unwrap();
    for stream in [&mut silent, &mut half] {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(
            stream.read(&mut [0; 100]).unwrap(),
            0,
            "closed without an answer"
        );
    }
    until("both are counted", || {
        refused(&server.hub, "header timeout") == 2
    });
    // A connection that has served a request and is idle is closed by the same clock. That is no
    // refusal.
    let mut idle = TcpStream::connect(server.address).unwrap();
    idle.set_read_timeout(Some(TIMEOUT)).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(http::read_response(&mut idle).status, 200);
    assert_eq!(idle.read(&mut [0; 100]).unwrap(), 0);
    assert_eq!(refused(&server.hub, "header timeout"), 2);
}

#[test]
fn half_open_requests_are_bounded_and_neither_clients_nor_streams_are_among_them() {
    let server = bounded(ServeOptions::new().max_requests(3));
    // Many more than three clients and streams connect: they are no requests any more.
    let mut sockets: Vec<Socket> = (0..6).map(|_| server.subscriber("c")).collect();
    let _streams: Vec<TcpStream> = (0..6)
        .map(|n| {
            let stream = open_stream(server.address, "/api/channels/c/stream", "");
            until("the stream is there", || {
                server.hub.channel_subscriber_count("c") == 7 + n
            });
            stream
        })
        .collect();
    assert_eq!(http::get(server.address, "/healthz").status, 200);
    let half: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(b"GET /").unwrap();
            stream
        })
        .collect();
    let mut waiting = TcpStream::connect(server.address).unwrap();
    waiting.set_read_timeout(Some(TIMEOUT)).unwrap();
    waiting
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    until("accepting pauses", || {
        server
            .hub
            .stats()
            .paused
            .get("request limit")
            .is_some_and(|&pauses| pauses > 0)
    });
    // The clients that are connected still get messages.
    for (n, socket) in sockets.iter_mut().enumerate() {
        server
            .hub
            .send_to_channel("c", outrace::Message::output(format!("0:{n}")))
            .unwrap();
        while !socket.text().contains(&format!("0:{n}")) {}
    }
    drop(half);
    assert_eq!(
        http::read_response(&mut waiting).status,
        200,
        "it was let in when others had ended"
    );
}

#[test]
fn a_body_over_the_bound_is_refused_in_plain_text_whether_its_length_is_announced_or_not() {
    let hub = Hub::builder()
        .max_body(2000)
        .body_timeout(TIMEOUT)
        .build()
        .unwrap();
    let server = Server::start(hub.clone());
    let action = |n: usize| {
        format!(
            r#"{{"action":"ws.send_error","message":"{}"}}"#,
            "x".repeat(n - 39)
        )
    };
    assert_eq!(action(2000).len(), 2000);
    assert_eq!(http::act(server.address, &action(2000)).status, 200);
    http::act(server.address, &action(2001))
        .assert_refusal(413, "The body of a request may have 2000 bytes.");
    let chunk = format!("{:x}\r\n{}\r\n", 1500, "x".repeat(1500));
    let chunked = format!(
        "POST /api/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}"
    );
    http::exchange(server.address, chunked.as_bytes())
        .assert_refusal(413, "The body of a request may have 2000 bytes.");
    // The announced length is enough for a refusal, without waiting for the body.
    let announced = "POST /api/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2001\r\n\r\n";
    http::exchange(server.address, announced.as_bytes())
        .assert_refusal(413, "The body of a request may have 2000 bytes.");
    assert_eq!(refused(&hub, "body too big"), 3);
}

#[test]
fn a_body_that_does_not_come_times_out() {
    let hub = Hub::builder()
        .max_body(2000)
        .body_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let server = Server::start(hub.clone());
    let half = "POST /api/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    http::exchange(server.address, half.as_bytes())
        .assert_refusal(408, "The body did not come in time.");
    assert_eq!(refused(&hub, "body timeout"), 1);
}

#[test]
fn nesting_is_harmless_in_commands_and_in_actions() {
    let server = Server::new();
    let mut socket = server.connect();
    for deep in [
        "[".repeat(32_000),
        r#"{"a":"#.repeat(10_000),
        "[".repeat(32_000) + &"]".repeat(32_000),
    ] {
        socket.send_text(&deep);
        assert_eq!(socket.ping(), [""; 0]);
    }
    assert_eq!(server.hub.stats().ignored, 3);
    for deep in ["[".repeat(1 << 20), r#"{"a":"#.repeat(200_000)] {
        assert_eq!(http::act(server.address, &deep).status, 400);
        let data = format!(r#"{{"action":"ws.broadcast","type":"x","data":{deep}}}"#);
        assert_eq!(http::act(server.address, &data).status, 400);
    }
    assert_eq!(
        socket.ping(),
        [""; 0],
        "nothing was published, and nothing has ended"
    );
}

#[test]
fn an_inbound_message_has_as_many_bytes_as_was_configured() {
    let server = Server::with(Hub::builder().max_message(2000));
    let ping = |n: usize| format!(r#"{{"type":"ping"{}}}"#, " ".repeat(n - 15));
    let mut socket = server.connect();
    socket.send_text(&ping(2000));
    assert!(socket.text().starts_with(r#"{"type":"pong""#));
    // The length counts for the message, not for a fragment.
    socket.send_part(TEXT, &ping(2001).as_bytes()[..1000]);
    socket.send_frame(CONTINUATION, &ping(2001).as_bytes()[1000..]);
    assert_eq!(socket.close_code(), 1009);
    let mut socket = server.connect();
    socket.send_text(&ping(2001));
    assert_eq!(socket.close_code(), 1009);
    drop(socket);
    until("both are counted", || {
        closed(&server.hub, "message too big") == 2
    });
}

#[test]
fn the_fragments_of_a_message_are_bounded_and_one_without_end_is_closed_with_1008() {
    let server = Server::with(Hub::builder().max_fragments(8));
    let mut socket = server.connect();
    // Eight fragments are allowed, and pings between them do not count. The count starts again with
    // each message.
    for _ in 0..2 {
        let message = br#"{"type":"ping"}"#;
        socket.send_part(TEXT, &message[..1]);
        for part in 1..7 {
            socket.send_frame(PING, b"");
            assert_eq!(socket.frame().opcode, PONG);
            socket.send_part(CONTINUATION, &message[part..part + 1]);
        }
        socket.send_frame(CONTINUATION, &message[7..]);
        assert!(socket.text().starts_with(r#"{"type":"pong""#));
    }
    // Empty fragments add up to no bytes and never complete a message.
    socket.send_part(TEXT, b"");
    for _ in 0..8 {
        socket.send_part(CONTINUATION, b"");
    }
    let (_, close) = socket.drain().unwrap();
    assert_eq!(close, Some((1008, "too many fragments".to_owned())));
    drop(socket);
    until("it is counted", || {
        closed(&server.hub, "too many fragments") == 1
    });
}

#[test]
fn a_client_over_its_rate_is_closed_with_1008_and_others_are_not() {
    let flood_of = |frame: Vec<u8>| {
        let server = Server::with(Hub::builder().message_rate(1).message_burst(50));
        let mut calm = server.subscriber("c");
        let mut socket = server.subscriber("c");
        let flood = thread::spawn({
            let mut stream = socket.stream().try_clone().unwrap();
            // The thread writes until the server closes. What the server does not read ends in an
            // error.
            move || while stream.write_all(&frame.repeat(100)).is_ok() {}
        });
        let code = loop {
            let frame = socket.frame();
            if frame.opcode == CLOSE {
                let (code, reason) = frame.close();
                break (code, reason.to_owned());
            }
        };
        assert_eq!(code, (1008, "too many messages".to_owned()));
        drop(socket);
        outrace_testkit::join("the flood", flood);
        until("it is counted", || {
            closed(&server.hub, "too many messages") == 1
        });
        assert_eq!(
            server
                .hub
                .send_to_channel("c", outrace::Message::output("0:1")),
            Ok(1)
        );
        assert_eq!(calm.ping().len(), 1);
    };
    flood_of(masked(0x80 | TEXT, br#"{"type":"ping"}"#));
    flood_of(masked(0x80 | TEXT, b"no command"));
    flood_of(masked(0x80 | PING, b"x"));
    flood_of(masked(0x80 | PONG, b""));
}

#[test]
fn a_client_may_subscribe_to_all_it_may_at_once_and_again() {
    let server = Server::new();
    let mut socket = server.connect();
    let all: Vec<u8> = (0..1024)
        .flat_map(|n| {
            masked(
                0x80 | TEXT,
                format!(r#"{{"type":"subscribe","channel":"c{n}"}}"#).as_bytes(),
            )
        })
        .collect();
    for _ in 0..2 {
        socket.send_bytes(&all[..all.len() - 1]);
        socket.send_bytes(&all[all.len() - 1..]);
    }
    until("all are subscribed", || server.hub.channel_count() == 1024);
    drop(socket);
    // A client with more allowed subscriptions may also send more commands at once.
    let server = Server::with(Hub::builder().max_subscriptions(3000));
    let mut socket = server.connect();
    for n in 0..3000 {
        socket.send_json(json!({"type": "subscribe", "channel": format!("c{n}")}));
    }
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(server.hub.channel_count(), 3000);
}

#[test]
fn one_channel_too_many_is_refused_until_another_ends() {
    let hub = Hub::builder()
        .max_channels(2)
        .history(10)
        .history_bytes(10_000)
        .history_age(Duration::from_secs(1))
        .build()
        .unwrap();
    let server = Server::start(hub.clone());
    let mut socket = server.subscriber("a");
    let mut other = server.subscriber("a");
    assert_eq!(
        hub.send_to_channel("b", outrace::Message::output("kept")),
        Ok(0)
    );
    // A third channel is neither kept, nor subscribed to, nor streamed.
    assert_eq!(
        hub.send_to_channel("third", outrace::Message::output("not kept")),
        Ok(0)
    );
    assert_eq!(refused(&hub, "channel limit"), 1);
    assert_eq!(
        hub.channels()
            .map(|channel| channel.channel.to_string())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    socket.send_json(json!({"type": "subscribe", "channel": "third"}));
    let answers = socket.ping();
    assert!(
        answers.len() == 1 && answers[0].contains(r#""data":"channel limit exceeded""#),
        "{answers:?}"
    );
    let answer = http::get(server.address, "/api/channels/third/stream");
    answer.assert_refusal(503, "channel limit exceeded");
    assert_eq!(refused(&hub, "channel limit"), 3);
    // Existing channels take further subscribers. A publisher's channel is the application's own
    // and not bounded.
    other.subscribe("b");
    let publisher = hub.publisher("handle").unwrap();
    socket.subscribe("handle");
    assert_eq!(publisher.send_line("0:1"), 1);
    assert_eq!(socket.ping().len(), 1);
    drop(publisher);
    drop((socket, other));
    until(
        "the channels are gone with their last subscriber and their history",
        || hub.stats().history_bytes == 0 && hub.channels().len() == 0,
    );
    let mut socket = server.connect();
    socket.subscribe("third");
    socket.subscribe("fourth");
    socket.send_json(json!({"type": "subscribe", "channel": "fifth"}));
    assert_eq!(socket.ping().len(), 1);
}

#[test]
fn the_seventeenth_waiting_range_is_refused_with_an_error() {
    let hub = Hub::builder()
        .history(100_000)
        .history_bytes(100 << 20)
        .queue(100)
        .queue_bytes(64 * 1024)
        .build()
        .unwrap();
    let server = Server::start(hub.clone());
    let epoch = {
        let publisher = hub.publisher("c").unwrap();
        for n in 0..2000 {
            publisher.send_line(format!("0:{n} {}", "x".repeat(1000)));
        }
        let mut first = server.subscriber("c");
        first.ping();
        hub.channels().next().unwrap().epoch
    };
    let mut socket = server.narrow_subscriber("d");
    socket.send_json(json!({"type": "subscribe", "channel": "c", "options": {"gaps": true}}));
    // Each range is far larger than the queue and the kernel take, so they wait while the client
    // does not read.
    for _ in 0..20 {
        let range = json!({"epoch": epoch, "from": 1, "to": 2000});
        socket.send_json(json!({"type": "subscribe", "channel": "c", "options": {"range": range}}));
    }
    until("four of twenty are refused", || {
        refused(&hub, "range limit") == 4
    });
    let (mut errors, mut replays) = (0, 0);
    while errors < 4 || replays < 16 {
        let text = socket.text();
        errors += usize::from(text.contains(r#""data":"range limit exceeded""#));
        replays += usize::from(text.starts_with(r#"{"type":"replayed""#));
    }
    assert_eq!((errors, replays), (4, 16));
}

#[test]
fn the_system_probes_a_silent_stream() {
    let server = Server::new();
    let stream = open_stream(server.address, "/api/channels/c/stream", "");
    until("it is there", || server.hub.client_count() == 1);
    // Linux shows the timer of a socket's kernel side. Timer 2 is that of keep-alive.
    let (local, peer) = (server.address.port(), stream.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let row = table
        .lines()
        .find(|row| {
            row.contains(&format!(":{local:04X} ")) && row.contains(&format!(":{peer:04X} ")) && {
                row.split_whitespace()
                    .nth(1)
                    .unwrap()
                    .ends_with(&format!(":{local:04X}"))
            }
        })
        .unwrap();
    assert_eq!(
        row.split_whitespace().nth(5).unwrap().split(':').next(),
        Some("02"),
        "{row}"
    );
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_accepted() {
    let default = ServeOptions::new;
    for (options, setting) in [
        (default().header_bytes(8191), "header_bytes"),
        (default().header_bytes(usize::MAX), "header_bytes"),
        (default().header_timeout(Duration::ZERO), "header_timeout"),
        (default().header_timeout(Duration::MAX), "header_timeout"),
        (default().request_timeout(Duration::ZERO), "request_timeout"),
        (default().max_requests(0), "max_requests"),
        (default().max_requests(usize::MAX), "max_requests"),
    ] {
        assert!(
            options
                .check()
                .unwrap_err()
                .to_string()
                .starts_with(setting)
        );
        let hub = Hub::new();
        let mut server = Server::with_router(hub.clone(), hub.router(), options);
        assert_eq!(
            server.join().unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
    }
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_cut_off_after_the_timeout() {
    let server = Server::with(
        Hub::builder()
            .close_timeout(Duration::from_millis(200))
            .flush_timeout(TIMEOUT),
    );
    let mut socket = server.connect();
    // Reserved bits violate the protocol.
    socket.send_bytes(&masked(0xf1, b""));
    assert_eq!(socket.frame().close().0, 1002);
    // The peer neither answers nor closes. Without a bound it would stay for ever.
    until("it is cut off", || {
        closed(&server.hub, "protocol violation") == 1
    });
    // A peer that keeps sending is cut off too.
    let mut talking = server.connect();
    let flood = thread::spawn({
        let mut stream = talking.stream().try_clone().unwrap();
        move || {
            let _ = stream.write_all(&masked(0xf1, b""));
            while stream.write_all(&[0; 1000]).is_ok() {}
        }
    });
    until("it is cut off too", || {
        closed(&server.hub, "protocol violation") == 2
    });
    assert_eq!(talking.frame().close().0, 1002);
    outrace_testkit::join("the flood", flood);
}

#[test]
fn a_peer_that_never_reads_costs_its_queue_and_nothing_more() {
    const QUEUE: u64 = 64 * 1024;
    let server = Server::with(Hub::builder().queue(1 << 20).queue_bytes(QUEUE as usize));
    let stalled = server.narrow_subscriber("process:p");
    let client = server.client(&stalled);
    let line = format!("0:0 {}", "x".repeat(1000));
    let mut published = 0;
    // The flood is many times what the queue and the kernel take.
    while client.skipped() < 20_000 {
        server.hub.send_process_output("p", &line).unwrap();
        published += 1;
        let stats = server.hub.stats();
        assert!(stats.queued_bytes <= 2 * QUEUE + 4096, "{stats:?}");
    }
    // The one more message is the pong of the subscription.
    until("all is accounted for", || {
        client.written() + client.skipped() + client.queued() as u64 == published + 1
    });
}

#[test]
fn a_request_whose_answer_is_not_read_is_cut_off_and_its_place_is_free_and_a_stream_is_not() {
    let server = bounded(
        ServeOptions::new()
            .max_requests(1)
            .header_timeout(Duration::from_millis(100))
            .request_timeout(Duration::from_millis(300)),
    );
    let mut stream = open_stream(server.address, "/api/channels/c/stream", "");
    until("the stream is there", || server.hub.client_count() == 1);
    let unread = TcpStream::connect(server.address).unwrap();
    let flood = thread::spawn({
        let mut unread = unread.try_clone().unwrap();
        let requests = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        // The thread writes until the server cuts it off. The responses soon fill all buffers on
        // the way.
        move || while unread.write_all(requests.as_bytes()).is_ok() {}
    });
    until("it is cut off", || {
        refused(&server.hub, "request timeout") == 1
    });
    outrace_testkit::join("the flood", flood);
    assert_eq!(
        http::get(server.address, "/healthz").status,
        200,
        "the only place there is was given back"
    );
    // The stream has been open for longer than the request could be.
    server
        .hub
        .send_to_channel("c", outrace::Message::output("still here"))
        .unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("still here") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the stream has ended");
        read.extend_from_slice(&chunk[..n]);
    }
    drop(unread);
}
