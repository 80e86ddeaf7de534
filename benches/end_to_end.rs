//! The whole path over loopback: from the publisher through sockets and kernel to the last byte in
//! every client.
//!
//! A measurement ends when all clients have read all bytes.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::{Hub, Lines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET \
                    path=/api/users status=200 duration=12ms 0001";
const CHANNEL: &str = "process:web";
const RUN_LINES: usize = 64;

/// Returns the size of the frame of `LINE`: header, envelope, line and timestamp. All frames have
/// the same size, so that the bytes read give the number of deliveries.
fn frame_bytes() -> usize {
    let json = format!(
        r#"{{"type":"process_output","channel":"{CHANNEL}","processId":"web","data":"{LINE}","timestamp":"2026-02-19T10:00:00.123Z"}}"#
    );
    4 + json.len()
}

/// Returns a client's text frame, with a mask of zeros (RFC 6455, section 5.3).
fn masked(text: &str) -> Vec<u8> {
    assert!(text.len() < 126);
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Connects and subscribes. The pong to a ping proves that the subscription is in place.
async fn subscriber(address: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address)
        .await
        .expect("the server listens");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket
        .write_all(request.as_bytes())
        .await
        .expect("the server reads the request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("the server answers"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    socket
        .write_all(&masked(&format!(
            r#"{{"type":"subscribe","channel":"{CHANNEL}"}}"#
        )))
        .await
        .expect("the server reads the command");
    socket
        .write_all(&masked(r#"{"type":"ping"}"#))
        .await
        .expect("the server reads the command");
    let mut header = [0; 2];
    socket
        .read_exact(&mut header)
        .await
        .expect("the server answers the ping");
    let mut pong = vec![0; header[1] as usize];
    socket
        .read_exact(&mut pong)
        .await
        .expect("the server answers the ping");
    assert!(pong.starts_with(br#"{"type":"pong""#));
    socket
}

/// A server whose clients read everything at once.
struct Fixture {
    hub: Hub,
    /// The number of bytes of each read of a client.
    read_bytes: mpsc::UnboundedReceiver<usize>,
}

fn fixture(runtime: &Runtime, clients: usize) -> Fixture {
    runtime.block_on(async {
        let hub = Hub::builder()
            .queue(8192)
            .build()
            .expect("the settings are valid");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        tokio::spawn(outrace::server::serve(
            listener,
            hub.clone(),
            std::future::pending(),
        ));
        let (report, read_bytes) = mpsc::unbounded_channel();
        for _ in 0..clients {
            let mut socket = subscriber(address).await;
            let report = report.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(n) = socket.read(&mut buffer).await {
                    if n == 0 || report.send(n).is_err() {
                        return;
                    }
                }
            });
        }
        Fixture { hub, read_bytes }
    })
}

impl Fixture {
    /// Waits until the clients have read this many bytes.
    fn wait_until_read(&mut self, mut bytes: usize) {
        while bytes > 0 {
            bytes -= self
                .read_bytes
                .blocking_recv()
                .expect("the clients do not end");
        }
    }
}

fn end_to_end(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let mut group = c.benchmark_group("end to end");
    let frame = frame_bytes();

    let mut one = fixture(&runtime, 1);
    // The counterpart of go-ws's benchmark of this name: sends one message to one client and waits
    // until it is read.
    group.throughput(Throughput::Elements(1));
    group.bench_function("WebSocketEndToEnd", |b| {
        b.iter(|| {
            assert_eq!(
                one.hub
                    .send_process_output("web", LINE)
                    .expect("the id is valid"),
                1
            );
            one.wait_until_read(frame);
        });
    });

    for clients in [10usize, 100] {
        let mut fixture = fixture(&runtime, clients);
        let publisher = fixture.hub.publisher(CHANNEL).expect("the name is valid");
        let run: Lines = std::iter::repeat_n(LINE, RUN_LINES).collect();
        group.throughput(Throughput::Elements((RUN_LINES * clients) as u64));
        group.bench_function(BenchmarkId::new("64 lines to all", clients), |b| {
            b.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    assert_eq!(publisher.send_lines(run.clone()), clients);
                    fixture.wait_until_read(RUN_LINES * clients * frame);
                }
                start.elapsed()
            });
        });
        let stats = fixture.hub.stats();
        assert_eq!(stats.skipped, 0, "skipped messages cost nothing");
        runtime.block_on(fixture.hub.shutdown());
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = end_to_end
}
criterion_main!(benches);
