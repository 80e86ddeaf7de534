//! The beginning, the heartbeat and the end of connections, with the callbacks of the application.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use outrace::{CloseReason, Hub, Message, MessageType};
use outrace_testkit::socket::{CLOSE, PING, PONG, handshake};
use outrace_testkit::{Server, Socket, http, join, labelled, until};
use serde_json::json;

const MS: Duration = Duration::from_millis(1);

#[test]
fn shutdown_sends_what_waits_then_1001_and_refuses_newcomers() {
    let mut server = Server::with(Hub::builder().queue(5000));
    let sockets: Vec<Socket> = (0..5).map(|_| server.subscriber("process:p")).collect();
    for n in 0..3000 {
        server
            .hub
            .send_process_output("p", format!("0:{n}"))
            .unwrap();
    }
    server.stop();
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            thread::spawn(move || {
                let (texts, closed) = socket.drain().unwrap();
                assert_eq!(closed, Some((1001, "server shutting down".to_owned())));
                let numbers = texts
                    .iter()
                    .map(|text| labelled(&serde_json::from_str(text).unwrap()).unwrap().1);
                assert!(numbers.eq(0..3000), "all that was published is there");
            })
        })
        .collect();
    for reader in readers {
        join("a reader", reader);
    }
    server.join().unwrap();
    assert!(server.hub.is_stopping());
    assert_eq!(
        (server.hub.client_count(), server.hub.channel_count()),
        (0, 0)
    );
    assert_eq!(
        server.hub.stats().closed.get("server shutting down"),
        Some(&5)
    );
    assert!(
        TcpStream::connect(server.address).is_err(),
        "nobody listens any more"
    );
    assert_eq!(server.hub.send_process_output("p", "late"), Ok(0));
}

#[test]
fn shutdown_does_not_wait_forever_for_a_client_that_does_not_read() {
    let mut server = Server::with(
        Hub::builder()
            .queue(5000)
            .close_timeout(100 * MS)
            .flush_timeout(300 * MS),
    );
    let stalled = server.narrow_subscriber("process:p");
    let client = server.client(&stalled);
    while client.skipped() == 0 {
        server
            .hub
            .send_process_output("p", "x".repeat(4000))
            .unwrap();
    }
    let idle = server.subscriber("process:q");
    let begun = Instant::now();
    server.stop();
    server.join().unwrap();
    assert!(begun.elapsed() < 5000 * MS, "{:?}", begun.elapsed());
    assert_eq!(server.hub.client_count(), 0);
    server.settle();
    assert!(server.hub.stats().discarded > 0);
    drop((idle, stalled));
}

#[test]
fn nothing_comes_after_the_close_frame_however_much_is_published() {
    for _ in 0..5 {
        let mut server = Server::with(
            Hub::builder()
                .queue(64)
                .close_timeout(500 * MS)
                .flush_timeout(500 * MS),
        );
        let sockets: Vec<Socket> = (0..8).map(|_| server.subscriber("process:p")).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let storm: Vec<_> = (0..3)
            .map(|_| {
                let (hub, stop) = (server.hub.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        hub.send_process_output("p", "x").unwrap();
                        hub.broadcast(Message::new(MessageType::Event));
                    }
                })
            })
            .collect();
        let readers: Vec<_> = sockets
            .into_iter()
            // `drain` asserts that the close frame is the last frame.
            .map(|mut socket| {
                thread::spawn(move || socket.drain().unwrap().1.expect("a close frame").0)
            })
            .collect();
        server.stop();
        for reader in readers {
            assert!(matches!(join("a reader", reader), 1001 | 1013));
        }
        stop.store(true, Ordering::Relaxed);
        for thread in storm {
            join("a publisher", thread);
        }
        server.join().unwrap();
        server.settle();
    }
}

#[test]
fn shutdown_ends_a_request_that_never_arrives_and_a_handshake_half_done() {
    let mut server = Server::new();
    let mut half = TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut half, &handshake("").as_bytes()[..40]).unwrap();
    let keep_alive = http::get(server.address, "/healthz");
    assert_eq!(keep_alive.status, 200);
    server.stop();
    server.join().unwrap();
}

#[test]
fn a_peers_ping_is_answered_with_its_payload() {
    let server = Server::new();
    let mut socket = server.subscriber("a");
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        socket.send_frame(PING, payload);
        let frame = socket.frame();
        assert_eq!((frame.opcode, &*frame.payload), (PONG, payload));
    }
    // An unsolicited pong has no effect.
    socket.send_frame(PONG, b"unasked");
    assert_eq!(socket.ping(), [""; 0]);
}

#[test]
fn pings_amid_a_flood_are_answered_between_messages() {
    let server = Server::with(Hub::builder().queue(1 << 15));
    let mut socket = server.subscriber("process:p");
    let publisher = server.hub.publisher("process:p").unwrap();
    let flood = thread::spawn(move || {
        for n in 0..5000 {
            publisher.send_line(format!("0:{n} {}", "x".repeat(300)));
        }
    });
    let (mut next, mut pongs) = (0, 0);
    while next < 5000 || pongs < 5 {
        if next % 1000 == 0 && pongs < 5 {
            socket.send_frame(PING, &[pongs]);
        }
        let frame = socket.frame();
        if frame.opcode == PONG {
            pongs += 1;
        } else {
            let message: serde_json::Value = serde_json::from_str(frame.text()).unwrap();
            assert_eq!(labelled(&message), Some((0, next)));
            next += 1;
        }
    }
    join("the flood", flood);
}

#[test]
fn a_client_closed_by_the_application_gets_what_waits_and_1008() {
    let (tell, told) = mpsc::channel();
    let server = Server::with(Hub::builder().on_disconnect(move |_, reason| _ = tell.send(reason)));
    let mut socket = server.subscriber("process:p");
    let mut other = server.subscriber("process:p");
    for n in 0..100 {
        server
            .hub
            .send_process_output("p", format!("0:{n}"))
            .unwrap();
    }
    let client = server.client(&socket);
    until("what was published waits for it or is written", || {
        client.written() + client.queued() as u64 == 101
    });
    client.close();
    client.close();
    let (texts, closed) = socket.drain().unwrap();
    assert_eq!(closed.unwrap().0, 1008);
    assert_eq!(texts.len(), 100);
    assert_eq!(
        told.recv_timeout(outrace_testkit::TIMEOUT),
        Ok(CloseReason::Kicked)
    );
    assert_eq!(other.ping().len(), 100);
    assert_eq!(server.hub.client_count(), 1);
    assert_eq!(
        (
            client.written(),
            client.queued(),
            client.subscriptions().len()
        ),
        (101, 0, 0)
    );
}

#[test]
fn callbacks_report_each_client_and_the_reason_of_its_end() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (up, down) = (Arc::clone(&seen), Arc::clone(&seen));
    let server = Server::with(
        Hub::builder()
            .on_connect(move |client| {
                up.lock()
                    .unwrap()
                    .push(format!("{} connected", client.id()))
            })
            .on_disconnect(move |client, reason| {
                down.lock()
                    .unwrap()
                    .push(format!("{} {reason}", client.id()))
            }),
    );
    let wait_for = |n: usize| until("the callback is called", || seen.lock().unwrap().len() == n);
    let mut closing = server.connect();
    wait_for(1);
    closing.send_frame(CLOSE, &[0x03, 0xe8]);
    assert_eq!(closing.close_code(), 1000);
    wait_for(2);
    let vanishing = server.subscriber("a");
    vanishing.reset();
    wait_for(4);
    let mut violating = server.connect();
    violating.send_frame(0x3, b"");
    assert_eq!(violating.close_code(), 1002);
    drop(violating);
    wait_for(6);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "1 connected",
            "1 peer closed",
            "2 connected",
            "2 peer gone",
            "3 connected",
            "3 protocol violation"
        ]
    );
}

#[test]
fn a_panic_in_a_callback_ends_at_most_its_own_connection() {
    let connects = Arc::new(AtomicUsize::new(0));
    let disconnects = Arc::new(AtomicUsize::new(0));
    let (up, down) = (Arc::clone(&connects), Arc::clone(&disconnects));
    let server = Server::with(
        Hub::builder()
            .on_upgrade(|uri, _| {
                assert_ne!(uri.query(), Some("panic"), "on_upgrade panics");
                outrace::Admission::Admit
            })
            .on_connect(move |_| {
                assert_ne!(up.fetch_add(1, Ordering::SeqCst), 1, "on_connect panics")
            })
            .on_subscribe(|_, channel| {
                assert_ne!(channel.as_str(), "panic", "on_subscribe panics");
                true
            })
            .on_disconnect(move |_, reason| {
                down.fetch_add(1, Ordering::SeqCst);
                assert_ne!(reason, CloseReason::PeerClosed, "on_disconnect panics");
            }),
    );
    let mut first = server.subscriber("a");
    // `on_connect` panics: this connection ends, and is counted.
    let mut second = Socket::connect(server.address);
    assert_eq!(second.close_code(), 1011);
    drop(second);
    until("its end is counted", || {
        server.hub.stats().closed.get("internal error") == Some(&1)
    });
    assert_eq!(server.hub.client_count(), 1);
    // `on_upgrade` panics: the handshake is refused.
    let request = handshake("").replace("/ws", "/ws?panic");
    assert_eq!(
        http::exchange(server.address, request.as_bytes()).status,
        403
    );
    // `on_subscribe` panics: the subscription is refused, and the connection stays.
    first.send_json(json!({"type": "subscribe", "channel": "panic"}));
    let answers = first.ping();
    assert!(
        answers.len() == 1 && answers[0].contains("Subscribe: subscription unauthorised"),
        "{answers:?}"
    );
    // `on_disconnect` panics: nothing else is lost.
    let mut third = server.subscriber("a");
    third.send_frame(CLOSE, &[0x03, 0xe8]);
    assert_eq!(third.close_code(), 1000);
    until("it is gone", || {
        disconnects.load(Ordering::SeqCst) == 2 && server.hub.client_count() == 1
    });
    assert_eq!(
        server.hub.send_to_channel("a", Message::output("0:1")),
        Ok(1)
    );
    assert_eq!(labelled(&first.json()), Some((0, 1)));
    assert_eq!(connects.load(Ordering::SeqCst), 3);
    let mut server = server;
    server.stop();
    first.close_code();
    server.join().unwrap();
    assert_eq!(disconnects.load(Ordering::SeqCst), 3);
}

#[test]
fn a_hub_outlives_its_runtime_and_delivers_in_the_next() {
    let hub = Hub::new();
    let mut first = Server::start(hub.clone());
    let mut socket = first.subscriber("process:p");
    hub.send_process_output("p", "0:1").unwrap();
    assert_eq!(labelled(&socket.json()), Some((0, 1)));
    let publisher = hub.publisher("process:p").unwrap();
    // The flush clock runs in this runtime, and messages wait for it when the runtime ends.
    let storm_hub = hub.clone();
    let storm = thread::spawn(move || {
        for n in 0..2000 {
            storm_hub
                .send_process_output("p", format!("0:{n}"))
                .unwrap();
        }
    });
    first.drop_runtime();
    join("the publisher", storm);
    until("its clients are gone", || {
        hub.client_count() == 0 && hub.channel_count() == 0
    });
    assert_eq!(publisher.send_line("nobody"), 0);
    for round in 0..3 {
        let mut next = Server::start(hub.clone());
        let mut sockets = [next.subscriber("process:p"), next.subscriber("process:p")];
        for n in 0..200 {
            assert_eq!(publisher.send_line(format!("{round}:{n}")), 2);
            for socket in &mut sockets {
                assert_eq!(labelled(&socket.json()), Some((round, n)));
            }
        }
        next.drop_runtime();
        until("its clients are gone", || hub.client_count() == 0);
    }
    let stats = hub.stats();
    assert_eq!(
        stats.offered,
        stats.written + stats.skipped + stats.discarded
    );
}

#[test]
fn two_runtimes_at_once_serve_one_hub() {
    let hub = Hub::new();
    let (mut first, second) = (Server::start(hub.clone()), Server::start(hub.clone()));
    let (mut a, mut b) = (first.subscriber("c"), second.subscriber("c"));
    for n in 0..100 {
        assert_eq!(
            hub.send_to_channel("c", Message::output(format!("0:{n}"))),
            Ok(2)
        );
        assert_eq!(
            (labelled(&a.json()), labelled(&b.json())),
            (Some((0, n)), Some((0, n)))
        );
    }
    // The runtime of the flush clock ends. The other runtime's client still gets every message at
    // once.
    first.drop_runtime();
    until("its client is gone", || hub.client_count() == 1);
    for n in 0..100 {
        assert_eq!(
            hub.send_to_channel("c", Message::output(format!("1:{n}"))),
            Ok(1)
        );
        assert_eq!(labelled(&b.json()), Some((1, n)));
    }
}
