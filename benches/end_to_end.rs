//! From a publisher to the last byte in every client, over loopback, sockets and kernel included.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrace::{Hub, Lines};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET path=/api/users status=200 duration=12ms 0001";
const CHANNEL: &str = "process:web";

/// The frame of `LINE`: header, envelope, line, timestamp. Every line is the same length, so counting bytes counts deliveries.
fn frame_bytes() -> usize {
    let json = format!(
        r#"{{"type":"process_output","channel":"{CHANNEL}","processId":"web","data":"{LINE}","timestamp":"2026-02-19T10:00:00.123Z"}}"#
    );
    4 + json.len()
}

/// A text frame as a client sends it, with a mask of zeros (RFC 6455 section 5.3).
fn masked(text: &str) -> Vec<u8> {
    assert!(text.len() < 126);
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Connects, subscribes, and proves it with a ping and its pong.
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
        .expect("a request is sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("an answer"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    socket
        .write_all(&masked(&format!(
            r#"{{"type":"subscribe","channel":"{CHANNEL}"}}"#
        )))
        .await
        .expect("sent");
    socket
        .write_all(&masked(r#"{"type":"ping"}"#))
        .await
        .expect("sent");
    let mut header = [0; 2];
    socket.read_exact(&mut header).await.expect("a pong");
    let mut pong = vec![0; header[1] as usize];
    socket.read_exact(&mut pong).await.expect("a pong");
    assert!(pong.starts_with(br#"{"type":"pong""#));
    socket
}

struct Stage {
    hub: Hub,
    /// Bytes that clients have read, as they read them.
    read: mpsc::UnboundedReceiver<usize>,
}

fn stage(runtime: &Runtime, clients: usize) -> Stage {
    runtime.block_on(async {
        let hub = Hub::builder().queue(8192).build().expect("valid settings");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(outrace::server::serve(
            listener,
            hub.clone(),
            std::future::pending(),
        ));
        let (report, read) = mpsc::unbounded_channel();
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
        Stage { hub, read }
    })
}

impl Stage {
    fn until_read(&mut self, mut bytes: usize) {
        while bytes > 0 {
            bytes -= self.read.blocking_recv().expect("clients read on");
        }
    }
}

fn end_to_end(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut group = c.benchmark_group("end to end");
    let frame = frame_bytes();

    let mut one = stage(&runtime, 1);
    // The counterpart of go-ws's WebSocketEndToEnd: one message to one client, and wait for it.
    group.bench_function("WebSocketEndToEnd", |b| {
        b.iter(|| {
            assert_eq!(
                one.hub
                    .send_process_output("web", LINE)
                    .expect("a valid id"),
                1
            );
            one.until_read(frame);
        });
    });

    for clients in [10usize, 100] {
        let mut stage = stage(&runtime, clients);
        let publisher = stage.hub.publisher(CHANNEL).expect("a valid name");
        let run: Lines = std::iter::repeat_n(LINE, 64).collect();
        group.throughput(Throughput::Elements(64 * clients as u64));
        group.bench_function(BenchmarkId::new("64 lines to all", clients), |b| {
            b.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    assert_eq!(publisher.send_lines(run.clone()), clients);
                    stage.until_read(64 * clients * frame);
                }
                start.elapsed()
            });
        });
        let stats = stage.hub.stats();
        assert_eq!(stats.skipped, 0, "the figure would be of skipped messages");
        runtime.block_on(stage.hub.shutdown());
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = end_to_end
}
criterion_main!(benches);
