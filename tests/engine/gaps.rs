//! Gaps over real sockets. Each skipped message is reported in its place and to the unit. Where a
//! gap, a replay and live messages meet, nothing is lost or sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrace::{Hub, Lines};
use outrace_testkit::{
    Account, JsonClient, assert_agreement, bounded, last_seq, serve, without_timestamp,
};
use proptest::prelude::*;
use serde_json::json;

const C: &str = "process:web";

/// Publishes until the hub has skipped a message for a client that does not read. Returns the
/// number of messages.
fn publish_until_skipped(hub: &Hub) -> u64 {
    let long = "x".repeat(2000);
    let mut published = 0;
    while hub.stats().skipped == 0 {
        published += 1;
        hub.send_process_output("web", format!("p:{published} {long}"))
            .unwrap();
    }
    published
}

/// Waits until every queue is empty.
async fn drained(hub: &Hub) {
    while hub.stats().queued > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_at_the_very_end_is_told_when_there_is_room_though_nothing_follows() {
    bounded(async {
        for batch in [false, true] {
            let hub = Hub::builder().queue(8).build().unwrap();
            let url = serve(&hub).await;
            let mut client = JsonClient::connect_with(&url, Some(4096)).await;
            client
                .subscribe(C, json!({"gaps": true, "batch": batch}))
                .await;
            let mut account = Account::open(&mut client).await;
            let mut published = publish_until_skipped(&hub);
            for _ in 0..5 {
                published += 1;
                hub.send_process_output("web", format!("p:{published}"))
                    .unwrap();
            }
            account.read_to(&mut client, published).await;
            assert!(account.skipped > 0);
            assert_eq!(account.received + account.skipped, published);
            assert_eq!(hub.stats().skipped, account.skipped);
            client.ping().await;
            // The subscription is live again, and the gap is not reported twice.
            hub.send_process_output("web", "p:0").unwrap();
            account.read_to(&mut client, published + 1).await;
            assert_eq!(account.lines.last().unwrap().1, "p:0");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_has_the_shape_of_the_wire_and_stands_where_the_messages_would() {
    bounded(async {
        let hub = Hub::builder().queue(4).build().unwrap();
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client.subscribe(C, json!({"gaps": true})).await;
        Account::open(&mut client).await;
        drained(&hub).await;
        // One run is larger than the queue, so the hub knows in advance what does not fit.
        hub.send_process_lines("web", Lines::split("1\n2\n3\n4\n5\n6\n7\n"))
            .unwrap();
        for n in 1..=4 {
            assert_eq!(client.message().await["data"], n.to_string());
        }
        assert_eq!(
            without_timestamp(&client.text().await),
            r#"{"type":"gap","channel":"process:web","data":{"from":5,"to":7,"count":3}}"#
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_not_lost_behind_a_flood_and_the_gap_stands_before_it() {
    bounded(async {
        for batch in [false, true] {
            let hub = Hub::builder().queue(4).build().unwrap();
            let url = serve(&hub).await;
            let mut client = JsonClient::connect(&url).await;
            client
                .subscribe(C, json!({"gaps": true, "batch": batch}))
                .await;
            let mut account = Account::open(&mut client).await;
            for round in 1..=5 {
                hub.send_process_lines("web", Lines::split("0:1\n0:2\n0:3\n0:4\n0:5\n0:6\n0:7\n"))
                    .unwrap();
                hub.send_process_status("web", "exited", 0).unwrap();
                account.read_to(&mut client, round * 8).await;
                assert_eq!(account.lines.last().unwrap().1, "exited");
            }
            assert_eq!(account.received + account.skipped, 40);
            assert!(account.skipped >= 5);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_are_reported_only_to_clients_that_ask_for_them() {
    bounded(async {
        let hub = Hub::builder().queue(4).build().unwrap();
        let url = serve(&hub).await;
        for options in [
            json!({}),
            json!({"batch": true}),
            json!({"gaps": false, "tail": 5}),
        ] {
            let mut client = JsonClient::connect(&url).await;
            client.subscribe(C, options).await;
            Account::open(&mut client).await;
            hub.send_process_lines("web", Lines::split("1\n2\n3\n4\n5\n6\n7\n"))
                .unwrap();
            client.send(json!({"type": "ping"})).await;
            for text in client.until_pong().await {
                assert!(text.starts_with(r#"{"type":"process_output"#), "{text}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipped_messages_can_be_fetched_while_the_history_keeps_them() {
    bounded(async {
        let hub = Hub::builder()
            .queue(8)
            .history(100_000)
            .history_bytes(512 << 20)
            .build()
            .unwrap();
        let url = serve(&hub).await;
        let mut client = JsonClient::connect_with(&url, Some(4096)).await;
        client.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        let mut published = publish_until_skipped(&hub);
        for _ in 0..100 {
            published += 1;
            hub.send_process_output("web", format!("p:{published} y"))
                .unwrap();
        }
        account.read_to(&mut client, published).await;
        for (from, to) in account.gaps.clone() {
            let range = json!({"epoch": account.epoch, "from": from, "to": to});
            client.subscribe(C, json!({"range": range})).await;
            // A message published during the replay waits for its turn.
            published += 1;
            hub.send_process_output("web", format!("p:{published} z"))
                .unwrap();
            loop {
                let message = client.message().await;
                if message["type"] == "replay" {
                    assert_eq!(message["data"]["lost"], 0);
                    break;
                }
                account.take(&message);
            }
            for n in from..=to {
                let message = client.message().await;
                assert!(
                    message["data"]
                        .as_str()
                        .unwrap()
                        .starts_with(&format!("p:{n} ")),
                    "{message}"
                );
            }
            assert_eq!(client.message().await["type"], "replayed");
            account.read_to(&mut client, published).await;
        }
        assert_eq!(account.received + account.skipped, published);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_asked_for_under_a_flood_come_whole_and_cost_no_message() {
    bounded(async {
        let hub = Hub::builder()
            .queue(16)
            .history(5000)
            .history_bytes(64 << 20)
            .build()
            .unwrap();
        let url = serve(&hub).await;
        let flood = Flood::start(&hub, 2);
        let mut client = JsonClient::connect_with(&url, Some(4096)).await;
        client.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        let (mut replays, mut asked) = (0, 0);
        while replays < 30 {
            if account.received % 50 == 0 && asked < replays + 3 && account.received > 0 {
                let to = account.next - 1;
                let range =
                    json!({"epoch": account.epoch, "from": to.saturating_sub(40).max(1), "to": to});
                client.subscribe(C, json!({"range": range})).await;
                asked += 1;
            }
            let message = client.message().await;
            if message["type"] != "replay" {
                account.take(&message);
                continue;
            }
            let (mut next, to) = (
                message["data"]["from"].as_u64().unwrap(),
                message["data"]["to"].as_u64().unwrap(),
            );
            loop {
                let message = client.message().await;
                match message["type"].as_str().unwrap() {
                    "replayed" => break,
                    // What the history dropped while the range was on its way.
                    "gap" => {
                        assert_eq!(message["data"]["from"], next);
                        next = message["data"]["to"].as_u64().unwrap() + 1;
                        continue;
                    }
                    _ => {}
                }
                let line = message["data"].as_str().unwrap();
                if let Ok(at) = account.lines.binary_search_by_key(&next, |(seq, _)| *seq) {
                    assert_eq!(
                        account.lines[at].1, line,
                        "number {next} is another line now"
                    );
                }
                next += 1;
            }
            assert_eq!(next, to + 1);
            replays += 1;
        }
        let total = flood.stop().await;
        while account.next <= total {
            let message = client.message().await;
            match message["type"].as_str().unwrap() {
                "replay" => while client.message().await["type"] != "replayed" {},
                _ => account.take(&message),
            }
        }
        assert_eq!(account.next, total + 1);
        assert_agreement([&account]);
    })
    .await;
}

/// Threads that publish numbered lines as fast as they can.
struct Flood {
    hub: Hub,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<u64>>,
}

impl Flood {
    fn start(hub: &Hub, publishers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..publishers)
            .map(|publisher| {
                let (hub, stop) = (hub.clone(), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let channel = hub.publisher(C).unwrap();
                    let mut published = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let mut lines = Lines::new();
                        for _ in 0..=published % 13 {
                            published += 1;
                            lines.push(format!("{publisher}:{published}").as_bytes());
                        }
                        channel.send_lines(lines);
                        // With few cores the readers need a turn. Only concurrency matters here,
                        // not speed.
                        if published % 50 < 13 {
                            std::thread::sleep(Duration::from_micros(300));
                        }
                    }
                    published
                })
            })
            .collect();
        Self {
            hub: hub.clone(),
            stop,
            threads,
        }
    }

    /// Stops the threads, and returns the number of messages that the channel has numbered.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        // This keeps the channel until its numbers are read. Otherwise it would start a new
        // numbering.
        let _channel = self.hub.publisher(C).unwrap();
        let total = tokio::task::spawn_blocking(|| {
            self.threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<u64>()
        })
        .await
        .unwrap();
        let published = || {
            let stats = self
                .hub
                .channels()
                .find(|stats| stats.channel.as_str() == C);
            stats.map_or(total, |stats| stats.published)
        };
        while published() < total {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        last_seq(&self.hub, C)
    }
}

/// The behavior of one client.
#[derive(Debug, Clone)]
struct Habit {
    batch: bool,
    tail: Option<u64>,
    /// The number of messages that the client reads on each connection, before it leaves and
    /// resumes.
    sittings: Vec<u64>,
    small_buffer: bool,
    /// The milliseconds of a pause, during which the client does not read.
    stall: Option<u64>,
    delay: u64,
}

fn habit() -> impl Strategy<Value = Habit> {
    (
        any::<bool>(),
        prop::option::of(0..300_u64),
        prop::collection::vec(1..400_u64, 0..4),
        any::<bool>(),
        prop::option::of(1..60_u64),
        0..40_u64,
    )
        .prop_map(
            |(batch, tail, sittings, small_buffer, stall, delay)| Habit {
                batch,
                tail,
                sittings,
                small_buffer,
                stall,
                delay,
            },
        )
}

/// Runs a client. Returns an account for each of its connections.
async fn watch(
    url: String,
    habit: Habit,
    mut total: tokio::sync::watch::Receiver<u64>,
) -> Vec<Account> {
    tokio::time::sleep(Duration::from_millis(habit.delay)).await;
    let mut accounts: Vec<Account> = Vec::new();
    let mut stalls = 0;
    let mut sittings = habit.sittings.iter().copied();
    loop {
        let mut client = JsonClient::connect_with(&url, habit.small_buffer.then_some(4096)).await;
        let mut options = json!({"gaps": true, "batch": habit.batch});
        if let Some(tail) = habit.tail {
            options["tail"] = tail.into();
        }
        let before = accounts
            .last()
            .map(|account| (account.epoch.clone(), account.next - 1));
        if let Some((epoch, seq)) = &before {
            options["since"] = json!({"epoch": epoch, "seq": seq});
        }
        client.subscribe(C, options).await;
        let mut account = Account::open(&mut client).await;
        if let Some((epoch, seq)) = before
            && epoch == account.epoch
        {
            assert_eq!(
                account.began_after,
                seq + account.lost,
                "where it left off, but for what is lost"
            );
        }
        let sitting = sittings.next();
        let mut read = 0;
        loop {
            let known = *total.borrow();
            if sitting.is_some_and(|sitting| read >= sitting) || account.next > known {
                break;
            }
            // A pause is rare enough that the test does not take minutes.
            if let Some(stall) = habit.stall
                && read % 100 == 99
                && stalls < 20
            {
                stalls += 1;
                tokio::time::sleep(Duration::from_millis(stall)).await;
            }
            let message = tokio::select! {
                message = client.message() => message,
                Ok(()) = total.changed() => continue,
            };
            account.take(&message);
            read += 1;
        }
        let done = account.next > *total.borrow();
        assert_eq!(
            account.received + account.skipped,
            account.next - 1 - account.began_after
        );
        accounts.push(account);
        if sitting.is_none() && done {
            return accounts;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn received_and_skipped_and_lost_are_all_there_was_for_every_mix_of_joins_stalls_and_returns(
        habits in prop::collection::vec(habit(), 1..12),
        publishers in 2..5_usize,
        queue in prop::sample::select(vec![1_usize, 8, 64, 4096]),
        history in prop::sample::select(vec![0_usize, 1, 100, 100_000]),
        milliseconds in 20..200_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(bounded(async {
            let hub = Hub::builder().queue(queue).history(history).history_bytes(256 << 20).build().unwrap();
            let url = serve(&hub).await;
            let channel = hub.publisher(C).unwrap();
            let (tell, total) = tokio::sync::watch::channel(u64::MAX);
            let clients: Vec<_> = habits
                .into_iter()
                .map(|habit| tokio::spawn(watch(url.clone(), habit, total.clone())))
                .collect();
            let flood = Flood::start(&hub, publishers);
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            let last = flood.stop().await;
            tell.send_replace(last);
            let mut accounts = Vec::new();
            for client in clients {
                accounts.extend(client.await.unwrap());
            }
            assert_agreement(&accounts);
            for account in &accounts {
                assert!(account.next - 1 <= last);
            }
            drop(channel);
        }));
    }
}
