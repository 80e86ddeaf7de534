//! A client that does not keep up is skipped, and the counters account for every message.

use std::sync::Arc;
use std::thread;

use outrace::{Client, Hub, Lines, Message, MessageType};
use outrace_testkit::{Server, Socket, join, labelled, until};
use serde_json::json;

/// The size of the reserve: messages of a status, an error or a pong beyond the queue.
const RESERVE: usize = 16;

fn line(publisher: usize, n: usize, length: usize) -> String {
    let label = format!("{publisher}:{n} ");
    let rest = length.saturating_sub(label.len());
    label + &"x".repeat(rest)
}

/// Publishes numbered lines of 1 KiB until the hub has skipped `skipped` of them for a client.
/// Returns the number of lines.
fn flood_until_skipped(hub: &Hub, client: &Client, skipped: u64) -> usize {
    let publisher = hub.publisher("process:p").unwrap();
    for n in 0.. {
        if client.skipped() >= skipped {
            return n;
        }
        publisher.send_line(line(0, n, 1024));
    }
    unreachable!()
}

/// Returns the numbers of the lines among `texts`.
fn numbers(texts: &[String]) -> Vec<usize> {
    texts
        .iter()
        .filter_map(|text| Some(labelled(&serde_json::from_str(text).unwrap())?.1))
        .collect()
}

fn reader(mut socket: Socket) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut texts = Vec::new();
        loop {
            let text = socket.text();
            if text.contains("the end") {
                return texts;
            }
            texts.push(text);
        }
    })
}

#[test]
fn a_client_that_does_not_read_is_skipped_stays_and_gets_the_next_when_it_reads_again() {
    let server = Server::with(Hub::builder().queue(32));
    let mut slow = server.narrow_subscriber("process:p");
    let slow_client = server.client(&slow);
    for round in 1..=3 {
        let before = slow_client.skipped();
        let published = flood_until_skipped(&server.hub, &slow_client, before + 100);
        assert!(slow_client.queued() <= 32, "{} wait", slow_client.queued());
        assert_eq!(server.hub.client_count(), 1, "it stays");
        // The slow client reads again.
        let received = numbers(&slow.ping());
        until("all is written or skipped", || slow_client.queued() == 0);
        server.hub.send_process_output("p", "the next").unwrap();
        let mut rest = Vec::new();
        loop {
            let text = slow.text();
            if text.contains("the next") {
                break;
            }
            rest.push(text);
        }
        let received = [received, numbers(&rest)].concat();
        assert!(
            received.is_sorted_by(|a, b| a < b),
            "round {round}: in order, none twice"
        );
        assert_eq!(
            received[0], 0,
            "what was published while it had room is there"
        );
        let skipped = (slow_client.skipped() - before) as usize;
        assert_eq!(
            received.len() + skipped,
            published,
            "round {round}: received or counted"
        );
    }
}

#[test]
fn a_client_that_does_not_read_does_not_affect_the_others() {
    let server = Server::with(Hub::builder().queue(64));
    let slow = server.narrow_subscriber("process:p");
    let slow_client = server.client(&slow);
    let mut fast: Vec<Socket> = (0..3).map(|_| server.subscriber("process:p")).collect();
    let publisher = server.hub.publisher("process:p").unwrap();
    let mut n = 0;
    let fast_clients: Vec<_> = fast.iter().map(|socket| server.client(socket)).collect();
    // A message that was read may still occupy its place in the queue for a moment. The pong of the
    // subscription is the first.
    let fast_are_through = || {
        until("the fast ones are through", || {
            fast_clients.iter().all(|client| client.queued() == 0)
        });
    };
    fast_are_through();
    while slow_client.skipped() < 500 {
        // Each round publishes as many lines as a queue holds, and the fast clients read them all.
        for _ in 0..64 {
            publisher.send_line(line(0, n, 4096));
            n += 1;
        }
        for socket in &mut fast {
            for expected in n - 64..n {
                assert_eq!(labelled(&socket.json()), Some((0, expected)));
            }
        }
        fast_are_through();
    }
    assert!(fast_clients.iter().all(|client| client.skipped() == 0));
    assert!(slow_client.queued() <= 64);
}

#[test]
fn memory_is_bounded_by_messages_and_by_bytes() {
    for (builder, messages, bytes) in [
        (Hub::builder().queue(100), 100, usize::MAX),
        (
            Hub::builder().queue(100_000).queue_bytes(64 * 1024),
            100_000,
            64 * 1024,
        ),
    ] {
        let server = Server::with(builder);
        let stalled: Vec<Socket> = (0..4)
            .map(|_| server.narrow_subscriber("process:p"))
            .collect();
        let clients: Vec<Arc<Client>> =
            stalled.iter().map(|socket| server.client(socket)).collect();
        let publisher = server.hub.publisher("process:p").unwrap();
        let run = || -> Lines { (0..200).map(|n| line(0, n, 1024)).collect() };
        while clients.iter().any(|client| client.skipped() < 5000) {
            publisher.send_lines(run());
            publisher.send_line("one");
            publisher.send_status("running", 0);
            for client in &clients {
                let queued = client.queued();
                assert!(queued <= messages + RESERVE, "{queued} messages");
                // A message is at least as long as its line. All but a few short ones have 1 KiB.
                let lines = queued.saturating_sub(RESERVE);
                assert!(
                    bytes == usize::MAX || lines / 201 * 200 * 1024 <= bytes,
                    "{queued} messages"
                );
            }
        }
        assert_eq!(server.hub.client_count(), 4);
    }
}

#[test]
fn every_message_is_written_queued_skipped_or_discarded_to_the_unit() {
    let server = Server::with(Hub::builder().queue(50));
    let attentive: Vec<_> = (0..3).map(|_| server.subscriber("process:p")).collect();
    let attentive_clients: Vec<_> = attentive
        .iter()
        .map(|socket| server.client(socket))
        .collect();
    let readers: Vec<_> = attentive.into_iter().map(reader).collect();
    let mut stalled: Vec<_> = (0..3)
        .map(|_| server.narrow_subscriber("process:p"))
        .collect();
    let leaving: Vec<_> = (0..3)
        .map(|_| server.narrow_subscriber("process:p"))
        .collect();
    let stalled_clients: Vec<_> = stalled.iter().map(|socket| server.client(socket)).collect();
    let leaving_clients: Vec<_> = leaving.iter().map(|socket| server.client(socket)).collect();
    let publisher = server.hub.publisher("process:p").unwrap();
    let mut published = 0;
    let mut flood = |lines: usize| {
        for _ in 0..lines {
            publisher.send_line(line(0, published, 700));
            published += 1;
        }
    };
    let attentive_are_through = || {
        until("who reads is through", || {
            attentive_clients.iter().all(|client| client.queued() == 0)
        });
    };
    // Publishes until the kernel takes no more for the clients that do not read.
    let written = || {
        stalled_clients
            .iter()
            .chain(&leaving_clients)
            .map(|client| client.written())
            .sum::<u64>()
    };
    let (mut before, mut unchanged) = (0, 0);
    while unchanged < 3 {
        flood(200);
        attentive_are_through();
        let full = stalled_clients
            .iter()
            .chain(&leaving_clients)
            .all(|client| client.queued() == 50);
        unchanged = if full && written() == before {
            unchanged + 1
        } else {
            0
        };
        before = written();
    }
    // Some clients vanish with full queues, by a close or by a reset.
    for (n, socket) in leaving.into_iter().enumerate() {
        if n % 2 == 0 {
            drop(socket)
        } else {
            socket.reset()
        }
        flood(500);
    }
    until("those who left are gone", || server.hub.client_count() == 6);
    flood(2000);
    until("what can be written is written", || {
        let stats = server.hub.stats();
        server.hub.channels().next().unwrap().published == published as u64
            && attentive_clients.iter().all(|client| client.queued() == 0)
            && stats.offered == stats.written + stats.queued + stats.skipped + stats.discarded
    });
    let stats = server.hub.stats();
    assert!(
        stats.skipped > 0 && stats.discarded > 0 && stats.queued > 0,
        "{stats:?}"
    );
    let channel = server.hub.channels().next().unwrap();
    assert_eq!(
        (channel.published, channel.skipped),
        (published as u64, stats.skipped)
    );
    server.hub.send_process_output("p", "the end").unwrap();
    for (thread, client) in readers.into_iter().zip(&attentive_clients) {
        let received = join("a reader", thread);
        // The pong of the subscription and the last message were written to the client too.
        until("the end is counted", || {
            client.written() == received.len() as u64 + 2
        });
        assert_eq!(received.len() as u64 + client.skipped(), published as u64);
    }
    // The stalled clients read the messages that were queued, and not one more.
    for (socket, client) in stalled.iter_mut().zip(&stalled_clients) {
        let received = socket.ping();
        until("its queue is empty", || client.queued() == 0);
        assert_eq!(
            received.len() as u64 + client.skipped(),
            published as u64 + 1
        );
        assert_eq!(client.written(), received.len() as u64 + 2, "and two pongs");
    }
    server.settle();
}

#[test]
fn a_run_that_fits_in_part_is_delivered_in_part_and_in_order() {
    let server = Server::with(Hub::builder().queue(100));
    let mut slow = server.narrow_subscriber("process:p");
    let client = server.client(&slow);
    let mut published = 0;
    while client.skipped() == 0 {
        let run: Lines = (published..published + 130)
            .map(|n| line(0, n, 1024))
            .collect();
        server.hub.send_process_lines("p", run).unwrap();
        published += 130;
    }
    let mut received = slow.ping();
    until("its queue is empty", || client.queued() == 0);
    received.extend(slow.ping());
    let received = numbers(&received);
    assert!(received.is_sorted_by(|a, b| a < b));
    assert_eq!(received.len() + client.skipped() as usize, published);
    let last_run = received.iter().filter(|&&n| n >= published - 130).count();
    assert!(received.ends_with(&(published - 130..published - 130 + last_run).collect::<Vec<_>>()));
}

#[test]
fn the_exit_status_is_the_last_message_and_not_lost_behind_a_flood() {
    let server = Server::with(Hub::builder().queue(20));
    let mut slow = server.narrow_subscriber("process:p");
    let client = server.client(&slow);
    flood_until_skipped(&server.hub, &client, 200);
    server.hub.send_process_status("p", "exited", 7).unwrap();
    let status = loop {
        let message = slow.json();
        if message["type"] == "process_status" {
            break message;
        }
    };
    assert_eq!(status["data"], json!({"status": "exited", "exitCode": 7}));
    until("its queue is empty", || client.queued() == 0);
    assert_eq!(slow.ping(), [""; 0], "nothing comes after it");
}

#[test]
fn a_status_right_behind_runs_of_lines_arrives_while_others_publish_too() {
    let server = Server::with(Hub::builder().queue(1024));
    let sockets: Vec<Socket> = (0..20).map(|_| server.subscriber("process:p")).collect();
    let mut watcher = server.subscriber("process:p");
    let readers: Vec<_> = sockets.into_iter().map(reader).collect();
    for round in 0..40 {
        // Two processes end at the same moment. Each sends its status right after its last lines,
        // while the other's lines are being sealed.
        let pipes: Vec<_> = (0..2)
            .map(|number| {
                let publisher = server.hub.publisher("process:p").unwrap();
                thread::spawn(move || {
                    for _ in 0..3 {
                        publisher.send_lines((0..2000).map(|n| n.to_string()).collect());
                    }
                    publisher.send_status("exited", round * 2 + number);
                })
            })
            .collect();
        for pipe in pipes {
            join("a pipe", pipe);
        }
        // Lines may be skipped. A status may not.
        let mut codes = Vec::new();
        while codes.len() < 2 {
            let message = watcher.json();
            if message["type"] == "process_status" {
                codes.push(message["data"]["exitCode"].as_i64().unwrap() as i32);
            }
        }
        codes.sort_unstable();
        assert_eq!(codes, [round * 2, round * 2 + 1]);
    }
    server.hub.send_process_status("p", "the end", 0).unwrap();
    for thread in readers {
        let texts = join("a reader", thread);
        let statuses = texts
            .iter()
            .filter(|text| text.contains("process_status"))
            .count();
        assert_eq!(statuses, 80);
    }
}

#[test]
fn a_message_to_all_disconnects_only_clients_without_room() {
    let server = Server::with(Hub::builder().queue(30));
    let mut slow = server.narrow_subscriber("process:p");
    let mut fast = server.connect();
    fast.ping();
    let client = server.client(&slow);
    let mut notices = 0;
    while server.hub.client_count() == 2 {
        // The queue is full now. If the kernel takes some of it after all, the notice finds room,
        // and the test tries the next notice.
        flood_until_skipped(&server.hub, &client, client.skipped() + 1);
        let notice = Message::new(MessageType::from("notice")).with_text(format!("0:{notices}"));
        assert_eq!(server.hub.broadcast(notice), 2);
        assert_eq!(labelled(&fast.json()), Some((0, notices)));
        notices += 1;
    }
    until("it has left every channel", || {
        server.hub.client_count() == 1 && server.hub.channel_count() == 0
    });
    let (received, closed) = slow.drain().unwrap();
    assert_eq!(closed, Some((1013, "queue overflow".to_owned())));
    let noticed = received
        .iter()
        .filter(|text| text.contains("notice"))
        .count();
    assert!(noticed < notices, "there was no room for the last");
    until("it is counted", || {
        server.hub.stats().closed.get("queue overflow") == Some(&1)
    });
    assert_eq!(fast.ping(), [""; 0]);
    server.settle();
}

#[test]
fn a_flood_to_all_disconnects_clients_that_do_not_read_and_reaches_the_others() {
    let server = Server::with(Hub::builder().queue(100));
    let mut slow = Socket::connect_narrow(server.address);
    slow.ping();
    let mut fast = server.connect();
    fast.ping();
    let text = "x".repeat(8192);
    let mut sent = 0;
    while server.hub.client_count() == 2 {
        server
            .hub
            .broadcast(Message::new(MessageType::Event).with_text(text.clone()));
        sent += 1;
        assert_eq!(fast.json()["data"], *text);
    }
    let (received, closed) = slow.drain().unwrap();
    assert_eq!(closed.unwrap().0, 1013);
    assert!(received.len() < sent);
    assert_eq!(fast.ping(), [""; 0]);
}
