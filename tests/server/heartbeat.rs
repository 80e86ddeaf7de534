//! Heartbeats on a paused clock, over connections in memory: time passes only while every task
//! waits. Nothing is published with a delay, because the flush clock is not the paused one.

use std::time::Duration;

use outrace::{CloseReason, Hub};
use outrace_testkit::socket::{CLOSE, FIN, Frame, PING, PONG, TEXT, handshake, masked};
use outrace_testkit::{eventually, serve_in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

/// The client's end of a connection, with frames as they are.
pub(crate) struct Peer {
    stream: DuplexStream,
    unread: Vec<u8>,
}

impl Peer {
    /// Connects. Each direction of the connection holds `capacity` bytes.
    pub(crate) async fn connect(hub: &Hub, capacity: usize) -> Self {
        let (stream, _) = serve_in_memory(hub, capacity);
        let mut peer = Self {
            stream,
            unread: Vec::new(),
        };
        peer.send_bytes(handshake("").as_bytes()).await;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            response.push(peer.stream.read_u8().await.unwrap());
        }
        assert!(response.starts_with(b"HTTP/1.1 101 "));
        peer
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_bytes(&masked(FIN | opcode, payload)).await;
    }

    /// Reads this many bytes more.
    pub(crate) async fn take(&mut self, bytes: usize) {
        let mut taken = vec![0; bytes];
        self.stream.read_exact(&mut taken).await.unwrap();
        self.unread.extend(taken);
    }

    /// Returns the next frame.
    pub(crate) async fn frame(&mut self) -> Frame {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.unread) {
                self.unread.drain(..length);
                return frame;
            }
            let read = self.stream.read_buf(&mut self.unread).await.unwrap();
            assert!(read > 0, "the server hung up");
        }
    }

    /// Returns the next frame that is no ping.
    pub(crate) async fn message(&mut self) -> Frame {
        loop {
            let frame = self.frame().await;
            if frame.opcode != PING {
                return frame;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_every_interval_and_a_silent_peer_is_closed() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let hub = Hub::builder()
        .ping_interval(100 * MS)
        .idle_timeout(450 * MS)
        .on_disconnect(move |_, reason| _ = tell.send(reason))
        .build()
        .unwrap();
    let mut peer = Peer::connect(&hub, 4096).await;
    let begun = Instant::now();
    for ping in 1..=4 {
        assert_eq!(peer.frame().await.opcode, PING);
        assert_eq!(begun.elapsed(), 100 * MS * ping);
    }
    assert_eq!(peer.frame().await.close().0, 1001);
    assert_eq!(begun.elapsed(), 450 * MS);
    drop(peer);
    assert_eq!(told.recv().await, Some(CloseReason::HeartbeatTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_slow_to_finish_a_message_is_alive() {
    let hub = Hub::builder()
        .ping_interval(50 * MS)
        .idle_timeout(500 * MS)
        .build()
        .unwrap();
    let mut peer = Peer::connect(&hub, 4096).await;
    let text = format!(r#"{{"type":"ping"{}}}"#, " ".repeat(90));
    let begun = Instant::now();
    // One byte now and then, for three times as long as a silent peer is kept.
    for byte in masked(FIN | TEXT, text.as_bytes()) {
        sleep(15 * MS).await;
        peer.send_bytes(&[byte]).await;
    }
    assert!(begun.elapsed() > 1500 * MS);
    // The server's own pings come before the pong.
    let pong = peer.message().await;
    assert!(pong.text().starts_with(r#"{"type":"pong""#), "{pong:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_a_peer_sends_keeps_it_alive() {
    let hub = Hub::builder()
        .ping_interval(100 * MS)
        .idle_timeout(2000 * MS)
        .build()
        .unwrap();
    // One answers pings, one only sends commands, one only sends pings of its own.
    let mut answering = Peer::connect(&hub, 4096).await;
    let mut commanding = Peer::connect(&hub, 4096).await;
    let mut pinging = Peer::connect(&hub, 4096).await;
    let begun = Instant::now();
    while begun.elapsed() < 2600 * MS {
        let ping = answering.frame().await;
        assert_eq!(ping.opcode, PING);
        answering.send(PONG, &ping.payload).await;
        let command = br#"{"type":"unsubscribe","channel":"x"}"#;
        commanding.send(TEXT, command).await;
        pinging.send(PING, b"alive").await;
    }
    assert_eq!(hub.client_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_slow_client_longer_than_a_heartbeat() {
    let hub = Hub::builder()
        .queue(100_000)
        .queue_bytes(1 << 30)
        .max_flush_interval(Duration::ZERO)
        .ping_interval(50 * MS)
        .idle_timeout(60_000 * MS)
        .close_timeout(20_000 * MS)
        .flush_timeout(20_000 * MS)
        .build()
        .unwrap();
    let mut slow = Peer::connect(&hub, 4096).await;
    slow.send(TEXT, br#"{"type":"subscribe","channel":"process:p"}"#)
        .await;
    slow.send(TEXT, br#"{"type":"ping"}"#).await;
    let pong = slow.message().await;
    assert!(pong.text().starts_with(r#"{"type":"pong""#), "{pong:?}");
    let client = hub.clients().next().unwrap();
    let mut published = 0;
    // More than the connection holds.
    while client.queued() < 5000 {
        hub.send_process_output("p", format!("0:{published} {}", "x".repeat(1000)))
            .unwrap();
        published += 1;
    }
    let stopping = tokio::spawn({
        let hub = hub.clone();
        async move { hub.shutdown().await }
    });
    eventually(|| hub.client_count() == 0).await;
    // Several heartbeats pass while the client does not read.
    sleep(300 * MS).await;
    assert!(!stopping.is_finished());
    let mut received = 0;
    let code = loop {
        let frame = slow.message().await;
        match frame.opcode {
            CLOSE => break frame.close().0,
            _ => received += usize::from(frame.text().contains("process_output")),
        }
    };
    assert_eq!(code, 1001);
    slow.send(CLOSE, &code.to_be_bytes()).await;
    assert_eq!(
        received + client.skipped() as usize,
        published,
        "{client:?} {:?}",
        hub.stats()
    );
    drop(slow);
    stopping.await.unwrap();
}
