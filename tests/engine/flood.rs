//! Floods: several threads publish to one channel without a pause, faster than it can be sealed.
//! What finds no room is counted to the unit, whoever watches.

use outrace::{Hub, HubBuilder, Lines, Stats};
use outrace_testkit::{Account, JsonClient, bounded, eventually, serve};
use serde_json::json;

const C: &str = "process:web";
const THREADS: u64 = 4;
const LINES: u64 = 300;
/// A channel of 64 KiB takes two of these lines while another thread seals.
const LINE_BYTES: usize = 40_000;

/// A hub whose channels take little while another thread seals, so that a flood soon finds no room.
fn narrow() -> HubBuilder {
    Hub::builder().queue_bytes(64 * 1024)
}

/// Floods the channel from several threads until it took some line no more. Returns the number of
/// lines published.
async fn flood(hub: &Hub) -> u64 {
    let publisher = hub.publisher(C).unwrap();
    let mut published = 0;
    while published == 0 || hub.stats().dropped == 0 {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let publisher = publisher.clone();
                tokio::task::spawn_blocking(move || {
                    let line = vec![b'x'; LINE_BYTES];
                    for _ in 0..LINES {
                        publisher.send_line(&line);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.await.unwrap();
        }
        published += THREADS * LINES;
    }
    at_rest(hub, published).await;
    published
}

/// Waits until all that was published is accounted for and written.
async fn at_rest(hub: &Hub, published: u64) {
    eventually(|| {
        let stats = hub.stats();
        sealed(&stats) + stats.dropped == published && stats.queued == 0
    })
    .await;
}

/// The messages that were sealed into blocks.
fn sealed(stats: &Stats) -> u64 {
    stats.block_messages.sum as u64
}

fn channel(hub: &Hub) -> outrace::ChannelStats {
    hub.channels()
        .next()
        .expect("it is watched, or has a history")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_history_cannot_keep_is_counted_though_nobody_watches() {
    bounded(async {
        let hub = narrow()
            .history(1 << 20)
            .history_bytes(64 * 1024)
            .build()
            .unwrap();
        let published = flood(&hub).await;
        let (stats, channel) = (hub.stats(), channel(&hub));
        assert_eq!((channel.published, channel.seq), (published, published));
        assert_eq!(channel.dropped, stats.dropped);
        assert_eq!((stats.offered, stats.skipped, stats.overrun), (0, 0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_subscriber_is_told_what_the_history_could_not_keep() {
    bounded(async {
        let hub = narrow()
            .history(1 << 20)
            .history_bytes(2 << 20)
            .history_total(1 << 30)
            // A long line is one message.
            .max_outgoing_message(1 << 20)
            .build()
            .unwrap();
        let url = serve(&hub).await;
        let publisher = hub.publisher(C).unwrap();
        // Short lines fill the account of messages, which is as large as the history's. Long ones
        // fill the account of bytes: that is as large as the history's too.
        let long = vec![b'x'; 512 << 10];
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (publisher, long) = (publisher.clone(), long.clone());
                tokio::task::spawn_blocking(move || {
                    for number in 0..50 {
                        publisher.send_line(&long);
                        publisher.send_line(format!("short {number}"));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.await.unwrap();
        }
        let published = 8 * 100;
        at_rest(&hub, published).await;
        let channel = channel(&hub);
        let since = json!({"epoch": channel.epoch, "seq": 0});

        let mut told = JsonClient::connect(&url).await;
        told.subscribe(C, json!({"since": since, "gaps": true}))
            .await;
        let told = Account::open(&mut told).await;
        assert_eq!(told.began_after, told.lost);
        assert_eq!(told.replayed + told.lost, published);

        let mut untold = JsonClient::connect(&url).await;
        untold.subscribe(C, json!({"since": since})).await;
        let untold = Account::open(&mut untold).await;
        assert_eq!(untold.began_after, told.began_after);
        assert_eq!(untold.replayed + untold.lost, published);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_skipped_at_its_place_in_the_order_of_its_publisher() {
    bounded(async {
        let hub = Hub::builder().queue(64).history(100).build().unwrap();
        let url = serve(&hub).await;
        let mut readers = Vec::new();
        for _ in 0..4 {
            let mut client = JsonClient::connect(&url).await;
            client
                .subscribe(C, json!({"gaps": true, "batch": true}))
                .await;
            let account = Account::open(&mut client).await;
            readers.push((client, account));
        }
        let publisher = hub.publisher(C).unwrap();
        let mut published = 0;
        // The channel itself drops some as soon as the thread that seals is suspended.
        while published < 1_500_000 && (published < 300_000 || hub.stats().dropped == 0) {
            let publisher = publisher.clone();
            published = tokio::task::spawn_blocking(move || {
                let mut next = published;
                for _ in 0..1000 {
                    let lines: Lines = (next + 1..=next + 100).map(|seq| seq.to_string()).collect();
                    publisher.send_lines(lines);
                    next += 100;
                }
                next
            })
            .await
            .unwrap();
        }
        for (client, account) in &mut readers {
            account.read_to(client, published).await;
            for (seq, line) in &account.lines {
                assert_eq!(&seq.to_string(), line, "a line has the number of its place");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_while_clients_watch_is_skipped_for_each_of_them() {
    bounded(async {
        let hub = narrow().build().unwrap();
        let url = serve(&hub).await;
        let mut readers = Vec::new();
        for _ in 0..2 {
            let mut client = JsonClient::connect(&url).await;
            client.subscribe(C, json!({"gaps": true})).await;
            let mut account = Account::open(&mut client).await;
            readers.push(tokio::spawn(async move {
                let mut last = None;
                while last.is_none_or(|last| account.next <= last) {
                    let message = client.message().await;
                    if message["type"] == "event" {
                        last = message["data"]["data"].as_u64();
                    } else {
                        account.take(&message);
                    }
                }
                account
            }));
        }
        let published = flood(&hub).await;
        let (stats, channel) = (hub.stats(), channel(&hub));
        hub.send_event("published", &published).unwrap();
        for reader in readers {
            let account = reader.await.unwrap();
            assert_eq!(account.received + account.skipped, published);
        }
        assert_eq!(channel.published, published);
        assert_eq!(channel.dropped, stats.dropped);
        assert_eq!(stats.overrun, 2 * stats.dropped);
        assert!(stats.skipped >= stats.overrun);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_nobody_watches_or_keeps_is_numbered_at_the_next_join() {
    bounded(async {
        let hub = narrow().build().unwrap();
        let url = serve(&hub).await;
        let publisher = hub.publisher(C).unwrap();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let publisher = publisher.clone();
                tokio::task::spawn_blocking(move || {
                    for _ in 0..LINES {
                        publisher.send_line("x");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.await.unwrap();
        }
        let mut client = JsonClient::connect(&url).await;
        client.subscribe(C, json!({})).await;
        let account = Account::open(&mut client).await;
        assert_eq!(account.began_after, THREADS * LINES);
        assert_eq!(hub.stats().dropped, 0);
    })
    .await;
}
