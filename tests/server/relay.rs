//! Relays: hubs whose channels are mirrors of another server's, over real sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use outrace::backplane::relay::{Relay, RelayBuilder};
use outrace::client::Backoff;
use outrace::{Hub, Lines, Publisher};
use outrace_testkit::{Account, JsonClient, Proxy, bounded, eventually, http, last_seq, serve};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const C: &str = "process:web";

pub(crate) fn keeping(messages: usize) -> Hub {
    Hub::builder()
        .history(messages)
        .history_bytes(256 << 20)
        .queue(1 << 16)
        .build()
        .unwrap()
}

/// Returns a hub that relays the server at `url`.
pub(crate) fn relay_of(url: &str) -> Hub {
    relay_of_all(&[url])
}

/// Returns a hub that relays several servers.
pub(crate) fn relay_of_all(urls: &[&str]) -> Hub {
    relay_with(Relay::builder(urls[0]), &urls[1..])
}

/// Returns a hub with this relay, which has these servers too.
pub(crate) fn relay_with(builder: RelayBuilder, more: &[&str]) -> Hub {
    let quick = Backoff::new(Duration::from_millis(5), 1.0, Duration::from_millis(5));
    let builder = more
        .iter()
        .fold(builder, |builder, url| builder.upstream(url));
    let relay = builder.backoff(quick).build().unwrap();
    let hub = Hub::builder()
        .history(1 << 16)
        .history_bytes(256 << 20)
        .queue(1 << 16)
        .backplane(relay)
        .build()
        .unwrap();
    hub.start();
    hub
}

/// Returns the address in a URL such as `ws://127.0.0.1:7223/ws`.
pub(crate) fn address(url: &str) -> SocketAddr {
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    address.parse().unwrap()
}

/// Publishes the lines `from..=to`, each with its number.
pub(crate) fn publish(publisher: &Publisher, numbers: std::ops::RangeInclusive<u64>) {
    let lines: Lines = numbers.map(|seq| seq.to_string()).collect();
    publisher.send_lines(lines);
}

pub(crate) async fn subscribed(url: &str, options: serde_json::Value) -> (JsonClient, Account) {
    let mut client = JsonClient::connect(url).await;
    client.subscribe(C, options).await;
    let account = Account::open(&mut client).await;
    (client, account)
}

/// Asserts that each line received has its own number as its text.
pub(crate) fn assert_numbered(account: &Account) {
    for (seq, line) in &account.lines {
        assert_eq!(&seq.to_string(), line);
    }
}

/// A server on an address of its own that can be stopped and started anew.
pub(crate) struct Home {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Home {
    pub(crate) async fn start(hub: &Hub, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let address = listener.local_addr().unwrap();
        let stopped = async move {
            let _ = stopped.await;
        };
        let served = tokio::spawn(outrace::server::serve(listener, hub.clone(), stopped));
        Self {
            address,
            stop,
            served,
        }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }
}

pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn viewers_of_a_relay_get_the_bytes_of_the_home() {
    bounded(async {
        let home = keeping(100);
        let home_url = serve(&home).await;
        let publisher = home.publisher(C).unwrap();
        publish(&publisher, 1..=10);
        publisher.send_status("running", 0);
        let url = serve(&relay_of(&home_url)).await;
        let options = json!({"gaps": true, "tail": 5, "batch": true});
        let mut clients = Vec::new();
        for url in [&home_url, &url] {
            let mut client = JsonClient::connect(url).await;
            client.subscribe(C, options.clone()).await;
            let answer = client.message().await;
            assert_eq!(answer["data"]["seq"], 6, "{answer}");
            assert_eq!(answer["data"]["replayed"], 5);
            clients.push((client, answer["data"]["epoch"].clone()));
        }
        assert_eq!(clients[0].1, clients[1].1);
        publish(&publisher, 12..=20);
        publisher.send_line("\u{1b}[1m\"quoted\"\\");
        publisher.send(outrace::Message::new("mine".into()).with_text("x"));
        publisher.send_status("exited", 3);
        let mut texts = [String::new(), String::new()];
        for ((client, _), seen) in clients.iter_mut().zip(&mut texts) {
            while !seen.contains("exited") {
                seen.push_str(&client.text().await);
                seen.push('\n');
            }
        }
        assert_eq!(texts[0], texts[1]);
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_without_options_gets_only_what_comes_after_it() {
    bounded(async {
        let home = keeping(100);
        let publisher = home.publisher(C).unwrap();
        publish(&publisher, 1..=10);
        let url = serve(&relay_of(&serve(&home).await)).await;
        let mut client = JsonClient::subscribed(&url, C).await;
        publish(&publisher, 11..=12);
        assert_eq!(client.line().await, "11");
        assert_eq!(client.line().await, "12");
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_taken_once_whatever_its_viewers_and_let_go_with_the_last() {
    bounded(async {
        let home = keeping(100);
        let url = serve(&relay_of(&serve(&home).await)).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(subscribed(&url, json!({"gaps": true})).await);
        }
        assert_eq!(home.channel_subscriber_count(C), 1);
        assert_eq!(home.client_count(), 1);
        publish(&home.publisher(C).unwrap(), 1..=3);
        for (client, account) in &mut clients {
            account.read_to(client, 3).await;
            assert_numbered(account);
        }
    })
    .await;
}

#[tokio::test]
async fn a_link_that_breaks_costs_nothing_that_the_home_keeps() {
    bounded(async {
        let home = keeping(1 << 16);
        let publisher = home.publisher(C).unwrap();
        let url = serve(&relay_of(&serve(&home).await)).await;
        let (mut client, mut account) =
            subscribed(&url, json!({"gaps": true, "batch": true})).await;
        for round in 0..20 {
            publish(&publisher, round * 100 + 1..=round * 100 + 50);
            home.clients().for_each(|client| client.close());
            publish(&publisher, round * 100 + 51..=round * 100 + 100);
        }
        account.read_to(&mut client, 2000).await;
        assert_eq!((account.skipped, account.received), (0, 2000));
        assert_numbered(&account);
    })
    .await;
}

#[tokio::test]
async fn what_the_home_does_not_keep_is_a_gap_to_the_unit() {
    bounded(async {
        let home = keeping(10);
        let publisher = home.publisher(C).unwrap();
        let proxy = Proxy::start(address(&serve(&home).await)).await;
        let url = serve(&relay_of(&format!("ws://{}/ws", proxy.address))).await;
        let (mut client, mut account) = subscribed(&url, json!({"gaps": true})).await;
        publish(&publisher, 1..=5);
        account.read_to(&mut client, 5).await;
        proxy.cut();
        eventually(|| home.channel_subscriber_count(C) == 0).await;
        publish(&publisher, 6..=105);
        proxy.mend();
        account.read_to(&mut client, 105).await;
        assert_eq!(account.gaps, [(6, 95)]);
        assert_numbered(&account);
        let stats = home.stats();
        assert_eq!(stats.skipped, 0, "the home had nobody to skip for");
    })
    .await;
}

#[tokio::test]
async fn a_home_that_restarts_begins_a_numbering_that_open_subscriptions_are_told() {
    bounded(async {
        let first = keeping(100);
        let served = Home::start(&first, ANY_PORT).await;
        let (address, home_url) = (served.address, served.url());
        let url = serve(&relay_of(&home_url)).await;
        let (mut client, mut account) = subscribed(&url, json!({"gaps": true})).await;
        publish(&first.publisher(C).unwrap(), 1..=5);
        account.read_to(&mut client, 5).await;
        served.stop().await;
        drop(first);
        let second = keeping(100);
        publish(&second.publisher(C).unwrap(), 1..=3);
        let _served = Home::start(&second, address).await;
        let again = Account::open(&mut client).await;
        assert_ne!(account.epoch, again.epoch);
        assert_eq!((again.began_after, again.replayed, again.lost), (0, 3, 0));
        let mut account = again;
        account.read_to(&mut client, 3).await;
        assert_numbered(&account);
        publish(&second.publisher(C).unwrap(), 4..=5);
        account.read_to(&mut client, 5).await;
    })
    .await;
}

#[tokio::test]
async fn a_chain_of_three_relays_delivers_everything() {
    bounded(async {
        let home = keeping(1 << 16);
        let publisher = home.publisher(C).unwrap();
        let mut url = serve(&home).await;
        let mut relays = Vec::new();
        for _ in 0..3 {
            let relay = relay_of(&url);
            url = serve(&relay).await;
            relays.push(relay);
        }
        publish(&publisher, 1..=100);
        let (mut client, mut account) =
            subscribed(&url, json!({"gaps": true, "batch": true, "tail": 1000})).await;
        assert_eq!((account.began_after, account.replayed), (0, 100));
        for round in 1..=50 {
            publish(&publisher, round * 100 + 1..=round * 100 + 100);
        }
        account.read_to(&mut client, 5100).await;
        assert_eq!(account.skipped, 0);
        assert_numbered(&account);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_falls_behind_is_repaired_or_told_to_the_unit() {
    bounded(async {
        // The home skips for the relay, whose queue there is small, and keeps enough to repair it.
        let home = Hub::builder()
            .history(1 << 20)
            .history_bytes(256 << 20)
            .queue(64)
            .build()
            .unwrap();
        let publisher = home.publisher(C).unwrap();
        let url = serve(&relay_of(&serve(&home).await)).await;
        let (mut client, mut account) =
            subscribed(&url, json!({"gaps": true, "batch": true})).await;
        for round in 0..200 {
            publish(&publisher, round * 1000 + 1..=round * 1000 + 1000);
        }
        account.read_to(&mut client, 200_000).await;
        assert_eq!(account.received + account.skipped, 200_000);
        assert_numbered(&account);
    })
    .await;
}

#[tokio::test]
async fn a_relay_lists_the_channels_of_the_home_with_their_node() {
    bounded(async {
        let home = keeping(100);
        home.publisher("process:other").unwrap().send_line("x");
        let home_url = serve(&home).await;
        let relay = relay_of(&home_url);
        let url = serve(&relay).await;
        let _client = JsonClient::subscribed(&url, C).await;
        let address = address(&url);
        let listed =
            tokio::task::spawn_blocking(move || http::get(address, "/api/channels").json())
                .await
                .unwrap();
        let node = self::address(&home_url).to_string();
        assert_eq!(listed[0]["channel"], "process:other", "{listed}");
        assert_eq!(listed[0]["node"], node);
        assert_eq!(listed[1]["channel"], C);
        assert_eq!(listed[1]["subscribers"], 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_published_to_a_mirror_is_discarded_and_does_not_disturb_its_numbers() {
    bounded(async {
        let home = keeping(100);
        let publisher = home.publisher(C).unwrap();
        let relay = relay_of(&serve(&home).await);
        let url = serve(&relay).await;
        let (mut client, mut account) = subscribed(&url, json!({"gaps": true})).await;
        relay.send_process_output("web", "local").unwrap();
        publish(&publisher, 1..=2);
        account.read_to(&mut client, 2).await;
        assert_numbered(&account);
        eventually(|| last_seq(&relay, C) == 2).await;
        assert_eq!(relay.stats().refused["published to a mirror"], 1);
        let body = r#"{"action":"ws.send_process_output","process_id":"web","output":"local"}"#;
        let address = address(&url);
        tokio::task::spawn_blocking(move || {
            http::act(address, body).assert_refusal(
                421,
                "The channels here are those of another server: publish there.",
            );
        })
        .await
        .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_home_that_accepts_and_closes_at_once_is_asked_less_and_less_often() {
    bounded(async {
        let home = Hub::builder().on_connect(|client| client.close());
        let home = home.build().unwrap();
        let url = serve(&home).await;
        let backoff = Backoff::new(Duration::from_millis(10), 2.0, Duration::from_secs(1));
        let relay = Relay::builder(&url).backoff(backoff).build().unwrap();
        let hub = Hub::builder().backplane(relay).build().unwrap();
        let begun = Instant::now();
        hub.start();
        eventually(|| home.stats().connected >= 7).await;
        // The pauses between them are at least half of 10, 20, 40, 80, 160 and 320 ms.
        assert!(begun.elapsed() >= Duration::from_millis(315));
    })
    .await;
}
