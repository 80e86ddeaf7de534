//! Bad days: no descriptors left, every client reset, every client reconnecting at once, a second
//! signal.
#![cfg(target_os = "linux")]

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outrace::Hub;
use outrace_testkit::socket::CLOSE;
use outrace_testkit::{Server, Socket, TIMEOUT, http, join, labelled, until};
use rustix::process::Signal;

use crate::program::Blocking;

const MS: Duration = Duration::from_millis(1);

fn stats(server: &Blocking) -> serde_json::Value {
    http::get(server.address, "/api/stats").json()
}

/// Returns the CPU time that a process has used.
fn cpu(server: &Blocking) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Returns the number of open descriptors below `limit`. Inherited ones may lie beyond it.
fn descriptors(server: &Blocking, limit: usize) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap();
    let number = |name: std::ffi::OsString| name.to_str().unwrap().parse::<usize>().unwrap();
    open.filter(|entry| number(entry.as_ref().unwrap().file_name()) < limit)
        .count()
}

#[test]
fn without_descriptors_streams_continue_and_accepting_waits_without_spinning_and_recovers() {
    let mut server = Blocking::limited("-n 48", &["pipe", "--id", "p"]);
    let mut subscriber = Socket::connect(server.address);
    subscriber.subscribe("process:p");
    // A line shows that the program has opened its standard input, which takes a descriptor.
    server.say("ready");
    while subscriber.json()["data"] != "ready" {}
    let free = 48 - descriptors(&server, 48);
    // The crowd takes all descriptors that are left. As many connections again wait in the system's
    // queue.
    let crowd: Vec<TcpStream> = (0..2 * free)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    until("there are none left", || descriptors(&server, 48) == 48);
    let (used_before, begun) = (cpu(&server), Instant::now());
    let mut rounds = 0;
    while begun.elapsed() < 2000 * MS {
        server.say(&format!("0:{rounds}"));
        loop {
            let message = subscriber.json();
            if labelled(&message).is_some() {
                assert_eq!(labelled(&message), Some((0, rounds)));
                break;
            }
        }
        rounds += 1;
        thread::sleep(50 * MS);
    }
    let used = cpu(&server) - used_before;
    // A loop that spins takes a whole core, or all that other programs leave of one, for 2 s. The
    // program can tell no count meanwhile: a request for its statistics needs a descriptor.
    assert!(
        used < 500 * MS,
        "{used:?} of CPU in {:?}, for {rounds} lines",
        begun.elapsed()
    );
    assert_eq!(
        descriptors(&server, 48),
        48,
        "it was like that all the time"
    );
    drop(crowd);
    until("somebody is let in again", || descriptors(&server, 48) < 48);
    let mut newcomer = Socket::connect(server.address);
    newcomer.subscribe("process:p");
    server.say("back");
    assert_eq!(newcomer.json()["data"], "back");
    assert!(
        stats(&server)["paused"]["descriptor limit"]
            .as_u64()
            .unwrap()
            > 0
    );
}

#[test]
fn one_signal_ends_in_good_order_with_exit_code_0_and_a_second_one_by_the_signal() {
    let mut server = Blocking::serving(&["serve"]);
    let mut socket = Socket::connect(server.address);
    socket.ping();
    server.signal(Signal::TERM);
    assert_eq!(socket.close_code(), 1001);
    drop(socket);
    assert_eq!(server.ended().code(), Some(0));

    for (command, signal) in [("serve", Signal::TERM), ("pipe", Signal::INT)] {
        let arguments: &[&str] = if command == "pipe" {
            &["pipe", "--id", "p", "--flush-timeout", "1h"]
        } else {
            &["serve", "--flush-timeout", "1h"]
        };
        let mut server = Blocking::serving(arguments);
        let mut stalled = Socket::connect_narrow(server.address);
        stalled.subscribe("process:p");
        // The messages are more than the kernel takes, so that the flush would last.
        let line = "x".repeat(60_000);
        let action =
            format!(r#"{{"action":"ws.send_process_output","process_id":"p","output":"{line}"}}"#);
        until("its queue holds something", || {
            assert_eq!(http::act(server.address, &action).status, 200);
            stats(&server)["queued"].as_u64().unwrap() > 20
        });
        server.signal(signal);
        until("it has stopped listening", || {
            TcpStream::connect(server.address).is_err()
        });
        assert!(
            server.child.try_wait().unwrap().is_none(),
            "it waits for the one who does not read"
        );
        server.signal(signal);
        let ended = server.ended().signal();
        assert_eq!(ended, Some(signal.as_raw()), "{command}");
        drop(stalled);
    }
}

#[test]
fn a_second_signal_to_run_kills_the_command_and_ends() {
    let mut server = Blocking::serving(&[
        "run",
        "--id",
        "p",
        "--grace",
        "1h",
        "--flush-timeout",
        "1h",
        "--",
        "sh",
        "-c",
        "trap 'echo told' TERM; echo ready; while :; do sleep 1; done",
    ]);
    let mut socket = Socket::connect(server.address);
    socket.send_text(r#"{"type":"subscribe","channel":"process:p","options":{"tail":10}}"#);
    while !socket.text().contains(r#""data":"ready""#) {}
    server.signal(Signal::TERM);
    // Two signals that arrive before the program sees the first would count as one.
    while !socket.text().contains(r#""data":"told""#) {}
    server.signal(Signal::TERM);
    let (texts, closed) = socket.drain().unwrap();
    assert!(
        texts.iter().any(|text| text.contains(r#""exitCode":137"#)),
        "{texts:?}"
    );
    assert_eq!(closed.unwrap().0, 1001);
    drop(socket);
    assert_eq!(server.ended().code(), Some(137));
}

#[test]
fn a_spread_shutdown_closes_some_at_a_time_and_goes_on_delivering_to_the_rest() {
    const CLIENTS: usize = 20;
    let spread = 1000 * MS;
    let hub = Hub::builder().shutdown_spread(spread).build().unwrap();
    let mut server = Server::start(hub.clone());
    let sockets: Vec<Socket> = (0..CLIENTS).map(|_| server.subscriber("c")).collect();
    let begun = Instant::now();
    server.stop();
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            thread::spawn(move || {
                let (texts, closed) = socket.drain().unwrap();
                assert_eq!(closed.unwrap().0, 1001);
                (begun.elapsed(), texts.len())
            })
        })
        .collect();
    until("the first are closed", || hub.client_count() < CLIENTS);
    assert!(hub.client_count() > 0, "not all at once");
    let late = hub
        .send_to_channel("c", outrace::Message::output("still here"))
        .unwrap();
    let ends: Vec<(Duration, usize)> = readers
        .into_iter()
        .map(|reader| join("a reader", reader))
        .collect();
    assert!(
        late > 0 && ends.iter().map(|end| end.1).sum::<usize>() >= late.min(1),
        "{ends:?}"
    );
    let last = ends.iter().map(|end| end.0).max().unwrap();
    assert!(
        last >= spread * 9 / 10,
        "the last was closed after {last:?}"
    );
    server.join().unwrap();
    server.settle();
    assert_eq!(
        hub.stats().closed.get("server shutting down"),
        Some(&(CLIENTS as u64))
    );
}

/// Returns the number of clients in the storm. `OUTRACE_STORM` sets more than a test has time for.
fn herd() -> usize {
    std::env::var("OUTRACE_STORM").map_or(500, |clients| clients.parse().unwrap())
}

/// A thread that publishes lines and records how long each call takes.
struct Publishing {
    stop: Arc<AtomicBool>,
    published: Arc<AtomicUsize>,
    thread: thread::JoinHandle<Vec<Duration>>,
}

impl Publishing {
    /// Starts to publish about a thousand lines a second.
    fn begin(hub: &Hub) -> Self {
        let (stop, published) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let publisher = hub.publisher("process:p").unwrap();
        let thread = thread::spawn({
            let (stop, published) = (Arc::clone(&stop), Arc::clone(&published));
            move || {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    publisher.send_line(format!("0:{}", took.len()));
                    took.push(begun.elapsed());
                    published.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(MS);
                }
                took.sort_unstable();
                took
            }
        });
        Self {
            stop,
            published,
            thread,
        }
    }

    fn count(&self) -> usize {
        self.published.load(Ordering::Relaxed)
    }

    fn end(self, when: &str) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let took = join("the publisher", self.thread);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!(
            "{when}: {} lines, p50 {:?} p99 {:?} max {:?}",
            took.len(),
            at(0.5),
            at(0.99),
            took.last().unwrap()
        );
        took.len()
    }
}

#[test]
fn a_herd_that_is_reset_reconnects_during_publishing_and_a_client_that_stays_loses_nothing() {
    let clients = herd();
    // No client reads before the end, so none answers a ping.
    let patient = Hub::builder()
        .ping_interval(TIMEOUT * 100)
        .idle_timeout(TIMEOUT * 100);
    let server = Server::with(patient.queue(1 << 20).queue_bytes(1 << 30));
    let hub = &server.hub;
    let connect_all = || -> Vec<Socket> {
        let threads: Vec<_> = (0..10)
            .map(|part| {
                let address = server.address;
                let share = clients / 10 + usize::from(part < clients % 10);
                thread::spawn(move || {
                    (0..share)
                        .map(|_| {
                            let mut socket = Socket::connect(address);
                            socket.send_text(r#"{"type":"subscribe","channel":"process:p"}"#);
                            socket
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| join("those who connect", thread))
            .collect()
    };
    let mut stayed = server.subscriber("process:p");
    let mut sockets = connect_all();
    until("all are there", || {
        hub.channel_subscriber_count("process:p") == clients + 1
    });
    let calm = Publishing::begin(hub);
    until("it has gone on for a while", || calm.count() >= 1000);
    let mut sent = calm.end(&format!("{clients} clients, none comes or goes"));
    let storm = Publishing::begin(hub);
    for _ in 0..3 {
        let before = storm.count();
        for socket in sockets.drain(..) {
            socket.reset();
        }
        let begun = Instant::now();
        sockets = connect_all();
        println!(
            "{clients} clients reset; all back after {:?}",
            begun.elapsed()
        );
        until(
            "those who went are gone and those who came are there",
            || hub.channel_subscriber_count("process:p") == clients + 1,
        );
        until("lines were published meanwhile", || storm.count() > before);
    }
    sent += storm.end(&format!(
        "{clients} clients, all reset and back three times"
    ));
    // The client that stayed has every line of both phases, in order.
    let (mut received, mut next) = (0, 0);
    while received < sent {
        let frame = stayed.frame();
        assert_ne!(frame.opcode, CLOSE);
        let message: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
        let Some((0, number)) = labelled(&message) else {
            continue;
        };
        assert!(number == next || number == 0, "{number} after {next}");
        next = number + 1;
        received += 1;
    }
    drop((stayed, sockets));
    until("all are gone, and counted", || {
        let stats = hub.stats();
        (stats.clients, stats.channels) == (0, 0)
            && stats.closed.values().sum::<u64>() == stats.connected
            && stats.offered == stats.written + stats.skipped + stats.discarded
    });
    let stats = hub.stats();
    assert_eq!(stats.connected, 4 * clients as u64 + 1);
}
