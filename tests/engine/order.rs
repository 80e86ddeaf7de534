//! Each channel has one total order, which keeps the order of each publisher.

use std::sync::{Arc, Barrier};
use std::thread;

use outrace::{Hub, Lines, Message};
use outrace_testkit::{Server, Socket, join, labelled};
use serde_json::json;

const PUBLISHERS: usize = 8;

/// Starts all publishers at the same moment, each with its number.
fn at_once(publish: impl Fn(usize) + Clone + Send + 'static) -> Vec<thread::JoinHandle<()>> {
    let start = Arc::new(Barrier::new(PUBLISHERS));
    (0..PUBLISHERS)
        .map(|publisher| {
            let (publish, start) = (publish.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                publish(publisher);
            })
        })
        .collect()
}

/// The lines that each subscriber has read. The subscribers stay subscribed while this exists.
struct Read {
    lines: Vec<Vec<(usize, usize)>>,
    _sockets: Vec<Socket>,
}

/// Starts the publishers, and lets several subscribers read `messages` lines each.
fn watched(
    server: &Server,
    channel: &str,
    messages: usize,
    publish: impl Fn(usize) + Clone + Send + 'static,
) -> Read {
    let readers: Vec<_> = (0..5)
        .map(|_| {
            let mut socket = server.subscriber(channel);
            thread::spawn(move || {
                let read = (0..messages)
                    .map(|_| labelled(&socket.json()).unwrap())
                    .collect::<Vec<_>>();
                assert_eq!(socket.ping(), [""; 0], "nothing more, so nothing twice");
                (read, socket)
            })
        })
        .collect();
    for publisher in at_once(publish) {
        join("a publisher", publisher);
    }
    let (lines, _sockets) = readers
        .into_iter()
        .map(|reader| join("a reader", reader))
        .unzip();
    Read { lines, _sockets }
}

#[track_caller]
fn is_one_order_with_nothing_missing(read: &Read, each: usize) {
    let read = &read.lines;
    for other in &read[1..] {
        assert!(*other == read[0], "all subscribers see one order");
    }
    for publisher in 0..PUBLISHERS {
        let own = read[0]
            .iter()
            .filter(|(p, _)| *p == publisher)
            .map(|(_, n)| *n);
        assert!(
            own.eq(0..each),
            "publisher {publisher} keeps its order, nothing is lost or there twice"
        );
    }
}

#[test]
fn subscribers_see_one_order_under_eight_publishers() {
    let server = Server::with(Hub::builder().queue(1 << 14));
    let publisher = server.hub.publisher("process:p").unwrap();
    let hub = server.hub.clone();
    // Lines published by handle, by name and as messages share one order.
    let read = watched(&server, "process:p", PUBLISHERS * 600, move |number| {
        for n in 0..600 {
            let line = format!("{number}:{n}");
            let subscribers = match n % 3 {
                0 => publisher.send_line(line),
                1 => hub.send_process_output("p", line).unwrap(),
                _ => hub
                    .send_to_channel("process:p", Message::output(line))
                    .unwrap(),
            };
            assert_eq!(subscribers, 5);
        }
    });
    is_one_order_with_nothing_missing(&read, 600);
    server.settle();
    assert_eq!(server.hub.stats().skipped, 0);
    assert_eq!(
        server.hub.channels().next().unwrap().published,
        PUBLISHERS as u64 * 600
    );
}

#[test]
fn subscribers_see_one_order_however_often_the_hub_flushes() {
    for micros in [0, 200, 5_000] {
        let interval = std::time::Duration::from_micros(micros);
        let server = Server::with(Hub::builder().queue(1 << 13).max_flush_interval(interval));
        let publisher = server.hub.publisher("c").unwrap();
        let read = watched(&server, "c", PUBLISHERS * 250, move |number| {
            for n in 0..250 {
                publisher.send_line(format!("{number}:{n}"));
            }
        });
        is_one_order_with_nothing_missing(&read, 250);
    }
}

#[test]
fn the_lines_of_a_run_stay_together() {
    const RUNS: usize = 40;
    const LINES: usize = 20;
    let server = Server::with(Hub::builder().queue(1 << 14));
    let publisher = server.hub.publisher("process:p").unwrap();
    let read = watched(
        &server,
        "process:p",
        PUBLISHERS * RUNS * LINES,
        move |number| {
            for run in 0..RUNS {
                let lines: Lines = (0..LINES)
                    .map(|n| format!("{number}:{}", run * LINES + n))
                    .collect();
                publisher.send_lines(lines);
            }
        },
    );
    is_one_order_with_nothing_missing(&read, RUNS * LINES);
    for run in read.lines[0].chunks(LINES) {
        let (publisher, first) = run[0];
        assert!(
            run.iter()
                .copied()
                .eq((first..first + LINES).map(|n| (publisher, n))),
            "{run:?}"
        );
    }
}

#[test]
fn messages_to_all_have_one_order_too() {
    let server = Server::with(Hub::builder().queue(1 << 13));
    let hub = server.hub.clone();
    let read = watched(&server, "c", PUBLISHERS * 200, move |number| {
        for n in 0..200 {
            assert_eq!(hub.broadcast(Message::output(format!("{number}:{n}"))), 5);
        }
    });
    is_one_order_with_nothing_missing(&read, 200);
}

#[test]
fn a_subscriber_gets_every_message_after_its_first() {
    let server = Server::with(Hub::builder().queue(1 << 16));
    let publisher = server.hub.publisher("c").unwrap();
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let flood = {
        let sent = Arc::clone(&sent);
        thread::spawn(move || {
            for n in 0..40_000 {
                publisher.send_line(format!("0:{n}"));
                sent.store(n + 1, std::sync::atomic::Ordering::SeqCst);
            }
        })
    };
    for _ in 0..10 {
        let mut socket = server.connect();
        let before = sent.load(std::sync::atomic::Ordering::SeqCst);
        socket.send_text(r#"{"type":"subscribe","channel":"c"}"#);
        let mut early = socket.ping();
        let after = sent.load(std::sync::atomic::Ordering::SeqCst);
        // The client is unsubscribed at the second pong. The lines until then must have no hole.
        socket.send_text(r#"{"type":"unsubscribe","channel":"c"}"#);
        early.extend(socket.ping());
        let read: Vec<usize> = early
            .iter()
            .map(|text| labelled(&serde_json::from_str(text).unwrap()).unwrap().1)
            .collect();
        if let Some(&first) = read.first() {
            assert!(
                read.iter().copied().eq(first..first + read.len()),
                "no hole, nothing twice"
            );
            // One more line may have been published and not counted yet.
            assert!(
                first >= before && first <= after + 1,
                "{before} <= {first} <= {after} + 1"
            );
        }
    }
    join("the flood", flood);
}

#[test]
fn nothing_of_a_channel_comes_after_the_pong_that_follows_its_unsubscribe() {
    const TURNS: usize = 20;
    let plain = json!({"type": "subscribe", "channel": "c"});
    // The first subscriber that wants batches pays for their encoding: the longest seal there is.
    let batch = json!({"type": "subscribe", "channel": "c", "options": {"batch": true}});
    for subscribe in [plain, batch] {
        let server = Server::with(Hub::builder().queue(400));
        let publisher = server.hub.publisher("c").unwrap();
        let turn = Arc::new(Barrier::new(2));
        let publishing = {
            let turn = Arc::clone(&turn);
            thread::spawn(move || {
                // The run is large enough to be sealed by this call, and slow to encode, so that
                // the unsubscribe arrives during the seal.
                let line = "\"\u{1}".repeat(500);
                for _ in 0..TURNS {
                    turn.wait();
                    publisher.send_lines((0..200).map(|_| &line).collect());
                    turn.wait();
                }
            })
        };
        let mut socket = server.connect();
        for _ in 0..TURNS {
            socket.send_json(subscribe.clone());
            socket.ping();
            turn.wait();
            socket.send_text(r#"{"type":"unsubscribe","channel":"c"}"#);
            socket.ping();
            turn.wait();
            assert_eq!(
                socket.ping().len(),
                0,
                "messages after the pong: {subscribe}"
            );
        }
        join("the publisher", publishing);
    }
}
