//! Clients join, leave and vanish while several threads publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use outrace::{Hub, Lines};
use outrace_testkit::socket::{CLOSE, FIN, masked};
use outrace_testkit::{Server, Socket, join, labelled, until};
use serde_json::json;

const CHANNELS: [&str; 3] = ["process:a", "process:b", "news"];

/// Four threads that publish at full speed until told to stop.
struct Storm {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Vec<usize>>>,
}

impl Storm {
    /// Starts the threads. Each publishes its own numbered lines to every channel.
    fn begin(hub: &Hub) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..4)
            .map(|number| {
                let (hub, stop) = (hub.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    let handle = hub.publisher(CHANNELS[0]).unwrap();
                    let mut sent = vec![0_usize; CHANNELS.len()];
                    while !stop.load(Ordering::Relaxed) {
                        handle.send_line(format!("{number}:{}", sent[0]));
                        sent[0] += 1;
                        hub.send_process_output("b", format!("{number}:{}", sent[1]))
                            .unwrap();
                        sent[1] += 1;
                        let run: Lines = (0..5)
                            .map(|n| format!("{number}:{}", sent[2] + n))
                            .collect();
                        let message = outrace::Message::output(format!("{number}:{}", sent[2]));
                        if sent[2].is_multiple_of(2) {
                            hub.publisher(CHANNELS[2]).unwrap().send_lines(run);
                            sent[2] += 5;
                        } else {
                            hub.send_to_channel(CHANNELS[2], message).unwrap();
                            sent[2] += 1;
                        }
                        if sent[0].is_multiple_of(64) {
                            hub.send_event("tick", &sent[0]).unwrap();
                        }
                    }
                    sent
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// Stops the threads, and returns the number of lines that each channel was sent.
    fn end(self) -> Vec<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = vec![0; CHANNELS.len()];
        for thread in self.threads {
            for (sum, sent) in sum.iter_mut().zip(join("a publisher", thread)) {
                *sum += sent;
            }
        }
        sum
    }
}

/// A small random generator with a seed, so that a failing run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn clients_that_come_and_go_during_a_flood_leave_no_subscription_behind() {
    let connected = Arc::new(AtomicUsize::new(0));
    let disconnected = Arc::new(AtomicUsize::new(0));
    let (up, down) = (Arc::clone(&connected), Arc::clone(&disconnected));
    let server = Server::with(
        Hub::builder()
            .queue(512)
            .on_connect(move |_| _ = up.fetch_add(1, Ordering::SeqCst))
            .on_disconnect(move |client, _| {
                assert_eq!(client.subscriptions().len(), 0, "it has left every channel");
                down.fetch_add(1, Ordering::SeqCst);
            }),
    );
    let storm = Storm::begin(&server.hub);
    let address = server.address;
    let visitors: Vec<_> = (0..6)
        .map(|visitor| {
            thread::spawn(move || {
                let mut dice = Dice(0x9e37_79b9 + visitor);
                for _ in 0..25 {
                    let mut socket = Socket::connect(address);
                    for _ in 0..dice.roll(12) {
                        let channel = CHANNELS[dice.roll(3) as usize];
                        let kind = if dice.roll(3) == 0 {
                            "unsubscribe"
                        } else {
                            "subscribe"
                        };
                        socket.send_json(json!({"type": kind, "channel": channel}));
                    }
                    if dice.roll(2) == 0 {
                        for _ in 0..dice.roll(20) {
                            // A full queue at the wrong moment may have disconnected the client.
                            // That is no failure.
                            if !matches!(socket.try_frame(), Ok(Some(_))) {
                                break;
                            }
                            if server_may_be_silent(&mut dice) {
                                break;
                            }
                        }
                    }
                    match dice.roll(4) {
                        0 => socket.reset(),
                        1 => drop(socket),
                        2 => {
                            let close = masked(FIN | CLOSE, &[0x03, 0xe8]);
                            let _ = std::io::Write::write_all(&mut socket.stream(), &close);
                            let _ = socket.drain();
                        }
                        _ => {
                            let _ = socket.stream().shutdown(std::net::Shutdown::Write);
                            let _ = socket.drain();
                        }
                    }
                }
            })
        })
        .collect();
    for visitor in visitors {
        join("a visitor", visitor);
    }
    storm.end();
    until("everybody is gone", || {
        let stats = server.hub.stats();
        stats.clients == 0 && stats.connected == stats.closed.values().sum::<u64>()
    });
    let stats = server.hub.stats();
    assert_eq!(stats.connected, 6 * 25);
    assert_eq!(
        (
            connected.load(Ordering::SeqCst),
            disconnected.load(Ordering::SeqCst)
        ),
        (150, 150)
    );
    assert_eq!(
        (
            stats.channels,
            stats.subscribers,
            server.hub.channel_count()
        ),
        (0, 0, 0)
    );
    assert_eq!(
        (server.hub.clients().count(), server.hub.channels().count()),
        (0, 0)
    );
    for channel in CHANNELS {
        assert_eq!(server.hub.channel_subscriber_count(channel), 0);
        assert_eq!(server.hub.subscribers(channel).count(), 0);
        assert_eq!(
            server
                .hub
                .send_to_channel(channel, outrace::Message::output("x")),
            Ok(0)
        );
    }
    server.settle();
    // The hub still delivers.
    let mut socket = server.subscriber(CHANNELS[0]);
    assert_eq!(server.hub.send_process_output("a", "again"), Ok(1));
    assert_eq!(socket.json()["data"], "again");
}

/// Decides whether a client stops reading early.
fn server_may_be_silent(dice: &mut Dice) -> bool {
    dice.roll(8) == 0
}

#[test]
fn a_client_that_stays_gets_each_message_once_or_has_it_counted_while_others_come_and_go() {
    let server = Server::with(Hub::builder().queue(2048));
    let stop = Arc::new(AtomicBool::new(false));
    let residents: Vec<_> = CHANNELS
        .iter()
        .map(|channel| {
            let mut socket = server.subscriber(channel);
            let client = server.client(&socket);
            let channel = *channel;
            let thread = thread::spawn(move || {
                let mut received = 0;
                let mut next = [0; 4];
                loop {
                    let message = socket.json();
                    if message["type"] == "event" {
                        if message["data"]["event"] == "end" {
                            return received;
                        }
                        continue;
                    }
                    assert_eq!(message["channel"], channel);
                    let (publisher, n) = labelled(&message).unwrap();
                    assert!(n >= next[publisher], "in order, and none twice");
                    next[publisher] = n + 1;
                    received += 1;
                }
            });
            (client, thread)
        })
        .collect();
    let address = server.address;
    let visitors: Vec<_> = (0..3)
        .map(|visitor| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut dice = Dice(77 + visitor);
                while !stop.load(Ordering::Relaxed) {
                    let mut socket = Socket::connect(address);
                    for channel in CHANNELS {
                        socket.send_json(json!({"type": "subscribe", "channel": channel}));
                        if dice.roll(2) == 0 {
                            socket.send_json(json!({"type": "unsubscribe", "channel": channel}));
                        }
                    }
                    match dice.roll(3) {
                        0 => _ = socket.ping(),
                        1 => socket.reset(),
                        _ => drop(socket),
                    }
                }
            })
        })
        .collect();
    // No messages to all clients here: such a message may disconnect a resident.
    let sent: Vec<_> = (0..CHANNELS.len())
        .map(|_| Arc::new(AtomicU64::new(0)))
        .collect();
    let publishers: Vec<_> = (0..4)
        .map(|number| {
            let (hub, sent) = (server.hub.clone(), sent.clone());
            thread::spawn(move || {
                for n in 0..4000 {
                    for (channel, sent) in CHANNELS.iter().zip(&sent) {
                        assert!(
                            hub.send_to_channel(
                                channel,
                                outrace::Message::output(format!("{number}:{n}"))
                            )
                            .unwrap()
                                > 0
                        );
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        join("a publisher", publisher);
    }
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        join("a visitor", visitor);
    }
    until("only the residents are left", || {
        server.hub.client_count() == CHANNELS.len()
    });
    // The pong counts beside the published lines. Nothing is left in the channel or the queue.
    for ((client, _), sent) in residents.iter().zip(&sent) {
        until("every message is written or counted as skipped", || {
            client.written() + client.skipped() == sent.load(Ordering::Relaxed) + 1
        });
    }
    server.settle();
    assert_eq!(server.hub.send_event("end", &()).unwrap(), CHANNELS.len());
    for ((client, thread), sent) in residents.into_iter().zip(sent) {
        let received: u64 = join("a resident", thread);
        assert_eq!(received + client.skipped(), sent.load(Ordering::Relaxed));
    }
}

#[test]
fn a_thousand_joins_and_leaves_of_one_channel_keep_every_subscriber() {
    let server = Server::new();
    let mut sockets: Vec<Socket> = Vec::new();
    let mut dice = Dice(4711);
    for round in 0..400 {
        if sockets.is_empty() || dice.roll(3) > 0 {
            sockets.push(server.subscriber("c"));
        } else {
            let mut leaver = sockets.swap_remove(dice.roll(sockets.len() as u64) as usize);
            leaver.send_text(r#"{"type":"unsubscribe","channel":"c"}"#);
            leaver.ping();
        }
        assert_eq!(
            server.hub.channel_subscriber_count("c"),
            sockets.len(),
            "round {round}"
        );
    }
    assert!(sockets.len() > 64, "more than one shard: {}", sockets.len());
    assert_eq!(
        server
            .hub
            .send_to_channel("c", outrace::Message::output("0:1")),
        Ok(sockets.len())
    );
    for socket in &mut sockets {
        assert_eq!(labelled(&socket.json()), Some((0, 1)));
        assert_eq!(socket.ping(), [""; 0]);
    }
}
