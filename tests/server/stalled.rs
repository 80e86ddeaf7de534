//! Peers that send but do not read, and the timeout for them. On a paused clock, except where a
//! kernel's buffers are the point.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use outrace::{Client, CloseReason, Hub, HubBuilder};
use outrace_testkit::socket::{CLOSE, PING, TEXT};
use outrace_testkit::{Server, eventually, until};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::heartbeat::Peer;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const QUEUE: usize = 100;
/// Messages beyond the queue that only answers, statuses and gaps may use.
const RESERVE: usize = 16;
/// The bytes that a connection in memory holds.
const CAPACITY: usize = 4096;

fn hub() -> HubBuilder {
    Hub::builder()
        .queue(QUEUE)
        .queue_bytes(64 * 1024)
        .max_flush_interval(Duration::ZERO)
}

async fn subscriber(hub: &Hub) -> (Peer, std::sync::Arc<Client>) {
    let mut peer = Peer::connect(hub, CAPACITY).await;
    peer.send(TEXT, br#"{"type":"subscribe","channel":"process:p"}"#)
        .await;
    peer.send(TEXT, br#"{"type":"ping"}"#).await;
    let pong = peer.message().await;
    assert!(pong.text().starts_with(r#"{"type":"pong""#), "{pong:?}");
    let client = hub.clients().next().unwrap();
    (peer, client)
}

fn publish(hub: &Hub, lines: usize) {
    for _ in 0..lines {
        hub.send_process_output("p", "x".repeat(1000)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_talks_but_reads_nothing_for_an_hour_costs_its_queue_and_no_more() {
    let hub = hub().build().unwrap();
    let (mut peer, client) = subscriber(&hub).await;
    let begun = Instant::now();
    while begun.elapsed() < 60 * MINUTE {
        sleep(5 * SECOND).await;
        peer.send(PING, b"alive").await;
        peer.send(TEXT, br#"{"type":"ping"}"#).await;
        publish(&hub, 20);
        assert!(client.queued() <= QUEUE + RESERVE, "{client:?}");
        assert!(hub.stats().queued_bytes <= 80 * 1024);
    }
    assert_eq!(hub.client_count(), 1);
    assert!(client.skipped() > 10_000, "{client:?}");
    // What waited is still there, and what comes then as well.
    let mut lines = 0;
    while client.queued() > 0 {
        let message = peer.message().await;
        lines += usize::from(message.opcode == TEXT && message.text().contains("process_output"));
    }
    assert!((1..=QUEUE).contains(&lines), "{lines} lines waited");
    hub.send_process_output("p", "the next one").unwrap();
    loop {
        let message = peer.message().await;
        if message.opcode == TEXT && message.text().contains("the next one") {
            break;
        }
    }
    let stats = hub.stats();
    assert_eq!(stats.offered, stats.written + stats.queued + stats.skipped);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_for_the_write_timeout_is_closed_though_it_talks() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let hub = hub()
        .write_timeout(10 * MINUTE)
        .on_disconnect(move |_, reason| _ = tell.send(reason))
        .build()
        .unwrap();
    let (mut peer, client) = subscriber(&hub).await;
    // While nothing waits, there is nothing to take.
    sleep(SECOND).await;
    for _ in 0..60 {
        sleep(30 * SECOND).await;
        peer.send(PING, b"").await;
    }
    assert_eq!(hub.client_count(), 1);
    publish(&hub, 20);
    eventually(|| client.queued() < 20).await;
    let blocked = Instant::now();
    while hub.client_count() > 0 {
        assert!(blocked.elapsed() < 11 * MINUTE, "it is closed in time");
        sleep(10 * SECOND).await;
        if hub.client_count() > 0 {
            peer.send(PING, b"").await;
        }
    }
    assert!(blocked.elapsed() >= 10 * MINUTE, "{:?}", blocked.elapsed());
    assert_eq!(told.recv().await, Some(CloseReason::WriteTimeout));
    let stats = hub.stats();
    assert_eq!(stats.closed["write timeout"], 1);
    assert!(stats.discarded > 0);
    assert_eq!(
        stats.offered,
        stats.written + stats.skipped + stats.discarded
    );
}

#[tokio::test(start_paused = true)]
async fn the_close_frame_of_a_write_timeout_reaches_a_peer_that_reads_again() {
    let hub = hub().write_timeout(25 * SECOND).build().unwrap();
    let (mut peer, client) = subscriber(&hub).await;
    publish(&hub, 20);
    eventually(|| client.queued() < 20).await;
    // It wakes up within the time that a close may take.
    sleep(25 * SECOND + Duration::from_millis(500)).await;
    let close = loop {
        let frame = peer.frame().await;
        if frame.opcode == CLOSE {
            break frame;
        }
    };
    assert_eq!(close.close(), (1008, "write timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_a_little_now_and_then_is_not_closed() {
    let hub = hub().write_timeout(10 * MINUTE).build().unwrap();
    let (mut peer, _client) = subscriber(&hub).await;
    for round in 0..120 {
        publish(&hub, 1);
        sleep(30 * SECOND).await;
        peer.send(PING, b"").await;
        if round % 10 == 0 {
            peer.take(64).await;
        }
    }
    assert_eq!(hub.client_count(), 1);
    assert!(hub.stats().closed.is_empty());
}

#[test]
fn a_stream_whose_peer_takes_nothing_for_the_write_timeout_is_dropped() {
    let timeout = Duration::from_millis(200);
    let server = Server::with(Hub::builder().queue(QUEUE).write_timeout(timeout));
    for path in ["stream", "events"] {
        let before = server.hub.stats();
        let mut deaf = TcpStream::connect(server.address).unwrap();
        write!(
            deaf,
            "GET /api/channels/process:p/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .unwrap();
        until("the stream is a client", || server.hub.client_count() == 1);
        until("the stream is dropped", || {
            let line = "x".repeat(60_000);
            server.hub.send_process_output("p", line).unwrap();
            server.hub.client_count() == 0
        });
        let stats = server.hub.stats();
        let closed = |stats: &outrace::Stats| stats.closed.get("write timeout").copied();
        assert_eq!(
            closed(&stats).unwrap(),
            closed(&before).unwrap_or_default() + 1
        );
        assert!(stats.written_bytes > before.written_bytes);
        drop(deaf);
    }
}
