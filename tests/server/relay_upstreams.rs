//! Relays of several servers, and of one from which they take many channels.

use outrace::{Hub, Lines};
use outrace_testkit::{Account, JsonClient, bounded, http, serve};
use serde_json::{Value, json};

use crate::relay::{ANY_PORT, C, Home, address, keeping, relay_of, relay_of_all, subscribed};

/// Publishes lines to any channel.
fn publish(hub: &Hub, channel: &str, lines: &[&str]) {
    let lines: Lines = lines.iter().copied().collect();
    hub.publisher(channel).unwrap().send_lines(lines);
}

async fn listed(url: &str) -> Vec<Value> {
    let address = address(url);
    let listed = tokio::task::spawn_blocking(move || http::get(address, "/api/channels").json());
    serde_json::from_value(listed.await.unwrap()).unwrap()
}

/// Asks for the list until it is as wanted.
async fn until_listed(url: &str, mut is_wanted: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    loop {
        let list = listed(url).await;
        if is_wanted(&list) {
            return list;
        }
        tokio::task::yield_now().await;
    }
}

fn entry<'a>(list: &'a [Value], channel: &str) -> &'a Value {
    let found = list.iter().find(|entry| entry["channel"] == channel);
    found.unwrap_or_else(|| panic!("{channel} is not in {list:?}"))
}

/// Subscribes with the history. Returns the first line.
async fn first_line(url: &str, channel: &str) -> String {
    let mut client = JsonClient::connect(url).await;
    client.subscribe(channel, json!({"tail": 10})).await;
    client.message().await;
    client.line().await
}

#[tokio::test]
async fn each_channel_comes_from_the_server_that_has_it_and_the_lists_are_merged() {
    bounded(async {
        let (first, second) = (keeping(100), keeping(100));
        publish(&first, "process:a", &["of the first"]);
        publish(&second, "process:b", &["of the second"]);
        let (first_url, second_url) = (serve(&first).await, serve(&second).await);
        let url = serve(&relay_of_all(&[&first_url, &second_url])).await;
        assert_eq!(first_line(&url, "process:b").await, "of the second");
        assert_eq!(first_line(&url, "process:a").await, "of the first");
        let list = listed(&url).await;
        let node = |url: &str| address(url).to_string();
        assert_eq!(entry(&list, "process:a")["node"], node(&first_url));
        assert_eq!(entry(&list, "process:b")["node"], node(&second_url));
        assert_eq!(first.channel_subscriber_count("process:b"), 0);
        assert_eq!(second.channel_subscriber_count("process:a"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_appears_while_it_is_watched_is_taken_from_where_it_appears() {
    bounded(async {
        let (first, second) = (keeping(100), keeping(100));
        let (first_url, second_url) = (serve(&first).await, serve(&second).await);
        let relay = relay_of_all(&[&first_url, &second_url]);
        let url = serve(&relay).await;
        let (mut client, nowhere) = subscribed(&url, json!({"gaps": true})).await;
        publish(&second, C, &["1", "2"]);
        let mut account = Account::open(&mut client).await;
        assert_ne!(account.epoch, nowhere.epoch);
        assert_eq!((account.began_after, account.replayed), (0, 2));
        account.read_to(&mut client, 2).await;
        publish(&second, C, &["3"]);
        account.read_to(&mut client, 3).await;
        assert_eq!(first.channel_subscriber_count(C), 0);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_its_channels_lost_and_what_was_kept() {
    bounded(async {
        let (first, second) = (keeping(100), keeping(100));
        publish(&first, "process:a", &["kept"]);
        first.send_process_status("a", "running", 0).unwrap();
        second.send_process_status("b", "running", 0).unwrap();
        let first_served = Home::start(&first, ANY_PORT).await;
        let second_url = serve(&second).await;
        let relay = relay_of_all(&[&first_served.url(), &second_url]);
        let url = serve(&relay).await;
        let mut client = JsonClient::connect(&url).await;
        client.subscribe("process:a", json!({"tail": 10})).await;
        client.message().await;
        assert_eq!(client.line().await, "kept");
        let list = listed(&url).await;
        assert_eq!(entry(&list, "process:a")["status"]["status"], "running");
        first_served.stop().await;
        let list = until_listed(&url, |list| {
            entry(list, "process:a")["status"]["status"] == "lost"
        })
        .await;
        assert_eq!(entry(&list, "process:b")["status"]["status"], "running");
        assert_eq!(first_line(&url, "process:a").await, "kept");
        let address = address(&url);
        let health = tokio::task::spawn_blocking(move || http::get(address, "/healthz"));
        let health = health.await.unwrap();
        assert_eq!(health.status, 200);
        assert_eq!(health.body, "ok, but stale: relay: 1 of 2 connections\n");
    })
    .await;
}

#[tokio::test]
async fn another_relay_of_the_same_home_takes_over_and_nothing_is_missing() {
    bounded(async {
        let home = keeping(1 << 16);
        let home_url = serve(&home).await;
        let (one, other) = (relay_of(&home_url), relay_of(&home_url));
        let one_served = Home::start(&one, ANY_PORT).await;
        let other_served = Home::start(&other, ANY_PORT).await;
        let relay = relay_of_all(&[&one_served.url(), &other_served.url()]);
        let url = serve(&relay).await;
        publish(&home, C, &["1"]);
        let (mut client, mut account) = subscribed(&url, json!({"gaps": true, "tail": 9})).await;
        account.read_to(&mut client, 1).await;
        // Whichever was connected first has it. It takes its server along.
        let counts = || [&one, &other].map(|relay| relay.channel_subscriber_count(C));
        assert_eq!(counts().iter().sum::<usize>(), 1);
        let (gone, stays) = match counts() {
            [1, _] => (one_served, &other),
            _ => (other_served, &one),
        };
        gone.stop().await;
        publish(&home, C, &["2", "3"]);
        account.read_to(&mut client, 3).await;
        assert_eq!(stays.channel_subscriber_count(C), 1);
        publish(&home, C, &["4"]);
        account.read_to(&mut client, 4).await;
        let texts: Vec<_> = account
            .lines
            .iter()
            .map(|(_, line)| line.as_str())
            .collect();
        assert_eq!(texts, ["1", "2", "3", "4"]);
        assert!(account.gaps.is_empty());
    })
    .await;
}

#[tokio::test]
async fn more_channels_than_one_client_may_subscribe_to_come_over_another_connection() {
    bounded(async {
        const CHANNELS: usize = 1010;
        let home = keeping(100);
        let relay = relay_of(&serve(&home).await);
        let url = serve(&relay).await;
        let mut client = JsonClient::connect(&url).await;
        for channel in 0..CHANNELS {
            client.subscribe(&format!("c:{channel}"), json!({})).await;
            Account::open(&mut client).await;
        }
        assert_eq!(home.client_count(), 2);
        assert_eq!(home.channel_count(), CHANNELS);
        publish(&home, "c:0", &["first"]);
        assert_eq!(client.line().await, "first");
        publish(&home, &format!("c:{}", CHANNELS - 1), &["last"]);
        assert_eq!(client.line().await, "last");
    })
    .await;
}
