//! Lossless publishing over real sockets. A slow reader gets every line, and a client that does not
//! read delays the publisher by the bound at most.

use std::time::Duration;

use outrace::{Hub, Lines, Lossless};
use outrace_testkit::{Account, JsonClient, bounded, serve, serve_in_memory};
use serde_json::json;
use tokio::time::Instant;

const C: &str = "process:web";

fn numbered(from: u64, to: u64, tail: &str) -> Lines {
    (from..=to).map(|n| format!("p:{n} {tail}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_get_every_line() {
    bounded(async {
        const LINES: u64 = 20_000;
        for queue in [1, 16, 64] {
            let hub = Hub::builder()
                .queue(queue)
                .history(10)
                .history_bytes(1 << 20)
                .build()
                .unwrap();
            let url = serve(&hub).await;
            let mut readers = Vec::new();
            for (batch, small) in [(false, true), (true, true), (false, false), (true, false)] {
                let mut client = JsonClient::connect_with(&url, small.then_some(4096)).await;
                client
                    .subscribe(C, json!({"gaps": true, "batch": batch}))
                    .await;
                let mut account = Account::open(&mut client).await;
                readers.push(tokio::spawn(async move {
                    while account.next <= LINES {
                        let message = client.message().await;
                        account.take(&message);
                        if account.next % 997 == 0 {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                    account
                }));
            }
            let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(60));
            for n in 0..LINES / 5000 {
                let mut lines = numbered(n * 5000 + 1, (n + 1) * 5000, "");
                lossless.send_lines(&mut lines).await;
                assert!(lines.is_empty());
            }
            for reader in readers {
                let account = reader.await.unwrap();
                assert_eq!((account.received, account.skipped), (LINES, 0));
            }
            assert_eq!(hub.stats().skipped, 0);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_waited_for_once_in_each_stall_and_then_told() {
    bounded(async {
        const LIMIT: Duration = Duration::from_secs(2);
        // Each line is flushed at once: the flush clock is not the paused one.
        let immediate = Hub::builder().max_flush_interval(Duration::ZERO);
        let hub = immediate.queue(16).build().unwrap();
        let (stream, _) = serve_in_memory(&hub, 4096);
        let mut client = JsonClient::over(stream, "ws://localhost/ws").await;
        client.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        let lossless = Lossless::new(hub.publisher(C).unwrap(), LIMIT);
        let long = "x".repeat(4000);
        let mut published = 0;
        for _stall in 0..2 {
            let skipped = hub.stats().skipped;
            let mut waits = Vec::new();
            for _ in 0..10 {
                let mut lines = numbered(published + 1, published + 1000, &long);
                let begin = Instant::now();
                lossless.send_lines(&mut lines).await;
                published += 1000;
                waits.push(begin.elapsed());
            }
            assert!(hub.stats().skipped > skipped, "it read it all");
            assert_eq!(
                waits
                    .iter()
                    .filter(|wait| **wait > Duration::ZERO)
                    .collect::<Vec<_>>(),
                [&LIMIT],
                "{waits:?}"
            );
            account.read_to(&mut client, published).await;
        }
        assert_eq!(account.received + account.skipped, published);
        assert!(account.gaps.len() >= 2);
        // The client has read everything, so the publisher waits for it again, and it misses
        // nothing.
        let reader = tokio::spawn(async move {
            let skipped = account.skipped;
            account.read_to(&mut client, published + 1000).await;
            assert_eq!(account.skipped, skipped);
        });
        lossless
            .send_lines(&mut numbered(published + 1, published + 1000, &long))
            .await;
        reader.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_wait_leaves_the_lines_that_were_not_published() {
    bounded(async {
        let hub = Hub::builder().queue(8).build().unwrap();
        let url = serve(&hub).await;
        let mut client = JsonClient::connect_with(&url, Some(4096)).await;
        client.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(60));
        let mut lines = numbered(1, 5000, &"x".repeat(4000));
        let cut =
            tokio::time::timeout(Duration::from_millis(50), lossless.send_lines(&mut lines)).await;
        assert!(cut.is_err() && !lines.is_empty());
        let reader = tokio::spawn(async move {
            account.read_to(&mut client, 5000).await;
            account
        });
        lossless.send_lines(&mut lines).await;
        let account = reader.await.unwrap();
        assert_eq!((account.received, account.skipped), (5000, 0));
        for (seq, line) in &account.lines {
            assert!(line.starts_with(&format!("p:{seq} ")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_ends_a_wait_at_once() {
    bounded(async {
        let hub = Hub::builder().queue(8).build().unwrap();
        let url = serve(&hub).await;
        let mut client = JsonClient::connect_with(&url, Some(4096)).await;
        client.subscribe_plain(C).await;
        let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(3600));
        let waiting = lossless.clone();
        let sending = tokio::spawn(async move {
            waiting
                .send_lines(&mut numbered(1, 5000, &"x".repeat(4000)))
                .await
        });
        while hub.clients().next().unwrap().queued() < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lossless.give_up();
        sending.await.unwrap();
        assert!(hub.stats().skipped > 0);
    })
    .await;
}
