//! Peers that connect and are reset at once, thousands of times.
//!
//! `OUTRACE_RESETS=200000 cargo test --release --test footprint resets` takes a night.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use outrace::Hub;
use outrace_testkit::socket::{FIN, TEXT, handshake, masked};
use outrace_testkit::{Server, TIMEOUT, join, labelled, resident_bytes, until};

/// The number of threads that connect.
const CROWD: usize = 4;
/// The bytes that the allocator and the kernel may keep after the first round, however many rounds
/// follow.
const SLACK: usize = 4 << 20;

/// Connects and resets, after a part of what a client sends.
fn cycle(address: SocketAddr, number: usize) {
    let stream = TcpStream::connect(address).unwrap();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let handshake = handshake("");
    let request = handshake.as_bytes();
    let subscribe = masked(FIN | TEXT, br#"{"type":"subscribe","channel":"process:p"}"#);
    let kind = number % 6;
    match kind {
        0 => {}
        1 => (&stream).write_all(&request[..request.len() / 2]).unwrap(),
        2 => (&stream).write_all(request).unwrap(),
        3 => (&stream)
            .write_all(&[request, &subscribe].concat())
            .unwrap(),
        4 => (&stream)
            .write_all(&[request, &subscribe[..10]].concat())
            .unwrap(),
        _ => {
            (&stream)
                .write_all(&[request, &subscribe].concat())
                .unwrap();
            // The client has received something, so it is a client like any other.
            assert!((&stream).read(&mut [0; 64]).unwrap() > 0);
        }
    }
}

fn churn(server: &Server, cycles: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let address = server.address;
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let next = Arc::clone(&next);
            thread::spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cycles {
                        return;
                    }
                    cycle(address, number);
                }
            })
        })
        .collect();
    for thread in crowd {
        // The join may take as long as the churn makes progress. If the server hangs, the timeout
        // of a cycle's read fails the test.
        thread.join().unwrap();
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn resets_leave_no_descriptor_task_or_memory_behind_and_other_clients_get_everything() {
    let cycles = std::env::var("OUTRACE_RESETS").map_or(5000, |cycles| cycles.parse().unwrap());
    let server = Server::with(
        Hub::builder()
            .queue(1 << 20)
            .queue_bytes(1 << 30)
            .ping_interval(Duration::from_secs(36_000))
            .idle_timeout(Duration::from_secs(72_000)),
    );
    let mut socket = server.subscriber("process:p");
    let stop = Arc::new(AtomicBool::new(false));
    let got = Arc::new(Mutex::new(0));
    let publisher = {
        let (handle, stop) = (
            server.hub.publisher("process:p").unwrap(),
            Arc::clone(&stop),
        );
        thread::spawn(move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                handle.send_line(format!("0:{sent}"));
                sent += 1;
                thread::sleep(Duration::from_millis(1));
            }
            sent
        })
    };
    let witness = {
        let (got, stop) = (Arc::clone(&got), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let message = socket.json();
                let mut got = got.lock().unwrap();
                assert_eq!(labelled(&message), Some((0, *got)));
                *got += 1;
            }
            socket
        })
    };
    let at_rest = || {
        until("only the witness is left", || {
            server.hub.client_count() == 1 && server.hub.channel_subscriber_count("process:p") == 1
        });
        // A half-done handshake ends with the reset of its peer. The test waits until its task has
        // ended.
        let mut seen = (0, 0);
        until("tasks and descriptors are few", || {
            seen = (descriptors(), server.tasks());
            seen.1 <= 4
        });
        (seen.0, seen.1, resident_bytes(std::process::id()))
    };
    // The first round allocates what later rounds reuse.
    churn(&server, 2000);
    let (open, tasks, memory) = at_rest();
    churn(&server, cycles);
    until("descriptors and tasks are as many as they were", || {
        descriptors() <= open && server.tasks() <= tasks
    });
    let (_, _, now) = at_rest();
    println!(
        "{cycles} resets: {open} descriptors, {tasks} tasks, {} KiB before and {} KiB after",
        memory / 1024,
        now / 1024
    );
    assert!(now < memory + SLACK, "{memory} bytes before, {now} after");
    stop.store(true, Ordering::Relaxed);
    let sent: usize = join("the publisher", publisher);
    server
        .hub
        .send_process_output("p", format!("0:{sent}"))
        .unwrap();
    let mut socket = join("the witness", witness);
    let mut got = got.lock().unwrap();
    while *got <= sent {
        assert_eq!(labelled(&socket.json()), Some((0, *got)));
        *got += 1;
    }
    server.settle();
    let stats = server.hub.stats();
    assert_eq!(
        stats.connected,
        1 + stats.closed.values().sum::<u64>(),
        "{stats:?}"
    );
}
