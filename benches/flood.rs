//! Goodput under a flood: the lines that reach one subscriber over loopback within two seconds,
//! while 1, 2, 4 and 8 threads publish to its channel without a pause.
//!
//! The threads publish far more than one client can get, so most lines are skipped. What is
//! measured is how much of the machine is left for delivery: threads that only skip must not take
//! it from the sealer, the writer and the client.
//!
//! ```text
//! cargo bench --bench flood
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outrace::{Hub, Stats};
use tokio::net::TcpListener;

const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET \
                    path=/api/users status=200 duration=12ms 0001";
const CHANNEL: &str = "process:web";
/// The number of threads of each flood.
const PUBLISHERS: [usize; 4] = [1, 2, 4, 8];
/// Each number of threads is measured this many times, in turn. The median counts.
const ROUNDS: usize = 5;

/// Connects and subscribes. Returns once the pong to a ping has proved the subscription.
fn subscribe(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut commands = request.into_bytes();
    for text in [
        format!(r#"{{"type":"subscribe","channel":"{CHANNEL}"}}"#),
        r#"{"type":"ping"}"#.to_owned(),
    ] {
        // A text frame with a mask of zeros (RFC 6455, section 5.3).
        commands.extend([0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
        commands.extend(text.as_bytes());
    }
    socket.write_all(&commands).expect("the server reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"Z\"}") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("the server answers");
        answer.push(byte[0]);
    }
    socket
}

/// Floods the channel for a while. Returns the lines that were published, and the counters.
fn flood(publishers: usize, time: Duration) -> (u64, Stats) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let hub = Hub::new();
    let address = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let never = std::future::pending();
        tokio::spawn(outrace::server::serve(listener, hub.clone(), never));
        address
    });
    let mut socket = subscribe(address);
    let over = AtomicBool::new(false);
    let stats = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while socket.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
        });
        for _ in 0..publishers {
            let publisher = hub.publisher(CHANNEL).expect("a valid name");
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    publisher.send_line(LINE);
                }
            });
        }
        let start = Instant::now();
        std::thread::sleep(time);
        let stats = hub.stats();
        let late = start.elapsed().as_secs_f64() / time.as_secs_f64();
        over.store(true, Ordering::Relaxed);
        assert!(
            late < 2.0,
            "the measuring thread came {late} times too late"
        );
        runtime.block_on(hub.shutdown());
        stats
    });
    let published = hub.stats().offered;
    assert!(stats.written > 0, "nothing was delivered");
    (published, stats)
}

fn main() {
    // Without `--bench` it only proves that it runs.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let (rounds, time) = if measures {
        (ROUNDS, Duration::from_secs(2))
    } else {
        (1, Duration::from_millis(100))
    };
    let mut delivered = PUBLISHERS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (publishers, delivered) in PUBLISHERS.into_iter().zip(&mut delivered) {
            let (published, stats) = flood(publishers, time);
            println!(
                "{publishers} publishers: {} lines delivered in {time:?}, {published} published",
                stats.written
            );
            delivered.push(stats.written);
        }
    }
    let median = |values: &mut Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let alone = median(&mut delivered[0]);
    for (publishers, delivered) in PUBLISHERS.into_iter().zip(&mut delivered) {
        let median = median(delivered);
        let percent = median * 100 / alone.max(1);
        println!("{publishers} publishers: median {median}, {percent} % of one");
    }
}
