//! The bridge to nodes of go-ws: a real Redis, hubs on both sides, and a peer that writes what
//! go-ws writes.

use outrace::bridge::redis::RedisBridge;
use outrace::bridge::{BridgeDrop, BridgeStats};
use outrace::{Hub, HubBuilder, Lines, Message, Status};
use outrace_testkit::{JsonClient, RedisPeer, RedisServer, bounded, eventually, serve};
use serde_json::{Value, json};

const C: &str = "process:web";
const REDIS_C: &str = "ws:channel:process:web";

fn bridged(redis: &RedisServer) -> HubBuilder {
    let bridge = RedisBridge::builder(&redis.url()).build().unwrap();
    Hub::builder().history(1000).bridge(bridge)
}

/// Builds a hub, and waits until its bridge is connected.
async fn connected(builder: HubBuilder) -> Hub {
    let hub = builder.build().unwrap();
    hub.start();
    eventually(|| stats(&hub).connected).await;
    hub
}

fn stats(hub: &Hub) -> BridgeStats {
    hub.stats().bridge.expect("the hub has a bridge")
}

fn dropped(hub: &Hub, reason: BridgeDrop) -> u64 {
    let dropped = stats(hub).dropped;
    dropped.get(reason.name()).copied().unwrap_or(0)
}

async fn subscriber(hub: &Hub, options: Option<Value>) -> JsonClient {
    let mut client = JsonClient::connect(&serve(hub).await).await;
    match options {
        Some(options) => client.subscribe(C, options).await,
        None => client.subscribe(C, json!({})).await,
    }
    assert_eq!(client.message().await["type"], "subscribed");
    client
}

/// Returns a peer that hears whatever is published to Redis.
async fn listener(redis: &RedisServer) -> RedisPeer {
    let mut peer = redis.connect().await;
    peer.subscribe("ws:*").await;
    peer
}

/// Returns the next message that a peer hears: the Redis channel and the message.
async fn heard(peer: &mut RedisPeer) -> (String, Value) {
    let (channel, payload) = peer.message().await;
    assert!(payload.len() <= 65_536);
    let payload: Value = serde_json::from_str(&payload).unwrap();
    assert!(payload["sourceId"].is_string(), "{payload}");
    (channel, payload["message"].clone())
}

fn go_line(text: &str) -> String {
    format!(
        r#"{{"sourceId":"go-node","message":{{"type":"process_output","processId":"web","data":"{text}","timestamp":"2026-02-19T11:00:00.123456789+01:00"}}}}"#
    )
}

#[tokio::test]
async fn lines_reach_every_node_once_and_never_come_back() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let (a, b) = (
            connected(bridged(&redis)).await,
            connected(bridged(&redis)).await,
        );
        let (mut at_a, mut at_b) = (subscriber(&a, None).await, subscriber(&b, None).await);
        let mut go_node = listener(&redis).await;
        a.send_process_output("web", "from a").unwrap();
        let (channel, message) = heard(&mut go_node).await;
        assert_eq!(channel, REDIS_C);
        assert_eq!(message["type"], "process_output");
        assert_eq!(message["processId"], "web");
        assert_eq!(message["data"], "from a");
        let (seen_a, seen_b) = (at_a.message().await, at_b.message().await);
        assert_eq!(seen_a, seen_b, "with the same timestamp");
        assert_eq!(seen_a["timestamp"], message["timestamp"]);
        b.send_process_output("web", "from b").unwrap();
        assert_eq!(heard(&mut go_node).await.1["data"], "from b");
        redis
            .connect()
            .await
            .publish(REDIS_C, go_line("from go"))
            .await;
        let (_, message) = heard(&mut go_node).await;
        assert_eq!(message["data"], "from go");
        for client in [&mut at_a, &mut at_b] {
            assert_eq!(client.line().await, "from b");
            assert_eq!(client.line().await, "from go");
        }
        // What was imported would be heard before this, had it been exported again.
        a.send_process_output("web", "the end").unwrap();
        assert_eq!(heard(&mut go_node).await.1["data"], "the end");
        for client in [&mut at_a, &mut at_b] {
            assert_eq!(client.line().await, "the end");
        }
        eventually(|| stats(&a).exported == 2 && stats(&b).exported == 1).await;
        assert_eq!((stats(&a).imported, stats(&b).imported), (2, 3));
    })
    .await;
}

#[tokio::test]
async fn a_message_of_go_ws_keeps_its_time_and_is_numbered_and_kept_here() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis)).await;
        hub.send_process_output("web", "one").unwrap();
        let mut go_node = redis.connect().await;
        go_node.publish(REDIS_C, go_line("two")).await;
        eventually(|| stats(&hub).imported == 1).await;
        hub.send_process_output("web", "three").unwrap();
        let status = r#"{"sourceId":"go-node","message":{"type":"process_status","processId":"web","data":{"status":"crashed","exitCode":3}}}"#;
        go_node.publish(REDIS_C, status).await;
        eventually(|| stats(&hub).imported == 2).await;
        let options = json!({"tail": 10, "gaps": true, "detail": true, "batch": true});
        let mut client = subscriber(&hub, Some(options)).await;
        let mut messages = Vec::new();
        while messages.len() < 4 {
            messages.push(client.message().await);
        }
        assert_eq!(messages[0]["data"], json!(["one"]));
        assert_eq!(
            messages[1],
            json!({"type": "process_output", "channel": C, "processId": "web", "data": "two",
                "timestamp": "2026-02-19T10:00:00.123Z", "seq": 2})
        );
        assert_eq!(messages[2]["data"], json!(["three"]));
        assert_ne!(messages[2]["timestamp"], messages[1]["timestamp"]);
        assert_eq!(messages[3]["seq"], 4);
        assert!(messages[3]["timestamp"].is_string(), "stamped here");
        let listed = hub.channels().next().unwrap();
        assert_eq!(listed.status.unwrap().status, Status::Crashed);
    })
    .await;
}

#[tokio::test]
async fn messages_to_all_clients_cross_both_ways() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis)).await;
        let mut go_node = listener(&redis).await;
        hub.send_event("deploy", &7).unwrap();
        let (channel, message) = heard(&mut go_node).await;
        assert_eq!(channel, "ws:broadcast", "although no client is connected");
        assert_eq!(message["data"], json!({"event": "deploy", "data": 7}));
        let mut client = JsonClient::connect(&serve(&hub).await).await;
        eventually(|| hub.client_count() == 1).await;
        let text = r#"{"message":{"type":"error","channel":"c","data":"from go","timestamp":"2026-02-19T10:00:00Z"}}"#;
        redis.connect().await.publish("ws:broadcast", text).await;
        assert_eq!(
            client.message().await,
            json!({"type": "error", "channel": "c", "data": "from go",
                "timestamp": "2026-02-19T10:00:00.000Z"})
        );
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_imported_is_dropped_and_counted() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis)).await;
        let mut client = subscriber(&hub, None).await;
        let mut go_node = redis.connect().await;
        let long = go_line(&"x".repeat(66_000));
        for (channel, payload) in [
            (REDIS_C, long.as_str()),
            (REDIS_C, "not JSON"),
            (REDIS_C, r#"{"sourceId":7,"message":{"type":"event"}}"#),
            (REDIS_C, r#"{"message":{"type":"event","timestamp":"now"}}"#),
            ("ws:channel:no spaces", &go_line("lost")),
            ("ws:channel:process:a:b", &go_line("lost")),
            ("ws:channel:", &go_line("lost")),
            ("other:channel:process:web", &go_line("not for us")),
            (REDIS_C, &go_line("the end")),
        ] {
            go_node.publish(channel, payload).await;
        }
        assert_eq!(client.line().await, "the end");
        let counted = [
            (BridgeDrop::TooLong, 1),
            (BridgeDrop::Malformed, 1),
            (BridgeDrop::InvalidSource, 1),
            (BridgeDrop::InvalidTimestamp, 1),
            (BridgeDrop::InvalidName, 3),
        ];
        let counted = counted.map(|(reason, count)| (reason.name(), count));
        assert_eq!(stats(&hub).dropped, counted.into());
        assert_eq!(stats(&hub).imported, 1);
    })
    .await;
}

#[tokio::test]
async fn a_long_line_is_cut_and_any_other_long_message_is_counted_as_not_sent() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis).max_outgoing_message(1 << 20)).await;
        let mut go_node = listener(&redis).await;
        let line = "\"".repeat(100_000);
        hub.send_to_channel("c", Message::error("x".repeat(70_000)))
            .unwrap();
        hub.send_process_lines("web", Lines::from_iter([&line, "the end"]))
            .unwrap();
        let mut joined = String::new();
        loop {
            let (_, message) = heard(&mut go_node).await;
            match message["data"].as_str().unwrap() {
                "the end" => break,
                piece => joined += piece,
            }
        }
        assert_eq!(joined, line);
        assert_eq!(dropped(&hub, BridgeDrop::ExportTooLong), 1);
    })
    .await;
}

#[tokio::test]
async fn a_hub_without_history_or_subscribers_exports_in_order() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis).history(0)).await;
        let mut go_node = listener(&redis).await;
        let lines: Lines = (0..50_000).map(|number| number.to_string()).collect();
        hub.send_process_lines("web", lines).unwrap();
        for number in 50_000..51_000 {
            hub.send_process_output("web", number.to_string()).unwrap();
        }
        for number in 0..51_000 {
            let (_, message) = heard(&mut go_node).await;
            assert_eq!(message["data"], number.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn the_bridge_comes_back_with_redis_and_sends_what_was_published_meanwhile() {
    bounded(async {
        let Some(mut redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis)).await;
        let mut client = subscriber(&hub, None).await;
        redis.stop().await;
        eventually(|| !stats(&hub).connected).await;
        hub.send_process_output("web", "meanwhile").unwrap();
        assert_eq!(client.line().await, "meanwhile", "nothing waits for Redis");
        // The listener is there before the bridge is: it has to hear the first message.
        let mut go_node = redis.restart_with_listener("ws:*").await;
        let (channel, message) = heard(&mut go_node).await;
        assert_eq!(
            (channel.as_str(), &message["data"]),
            (REDIS_C, &"meanwhile".into())
        );
        eventually(|| stats(&hub).connected).await;
        redis
            .connect()
            .await
            .publish(REDIS_C, go_line("again"))
            .await;
        assert_eq!(client.line().await, "again");
        assert_eq!(stats(&hub).reconnects, 1);
    })
    .await;
}

#[tokio::test]
async fn while_redis_is_gone_eight_mebibytes_wait_and_the_oldest_of_more_are_dropped() {
    bounded(async {
        let Some(mut redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis)).await;
        redis.stop().await;
        eventually(|| !stats(&hub).connected).await;
        let line = "x".repeat(10_000);
        for number in 0..1000u64 {
            let numbered = format!("{number} {line}");
            hub.send_process_output("web", numbered).unwrap();
        }
        let is_full = || dropped(&hub, BridgeDrop::ExportQueueFull) > 100;
        eventually(is_full).await;
        let mut go_node = redis.restart_with_listener("ws:*").await;
        let mut first = None;
        let mut count = 0u64;
        loop {
            let (_, message) = heard(&mut go_node).await;
            let text = message["data"].as_str().unwrap();
            let number: u64 = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(number, *first.get_or_insert(number) + count, "in order");
            count += 1;
            if number == 999 {
                break;
            }
        }
        assert!((700..900).contains(&count), "{count} of 10 KB are 8 MiB");
        eventually(|| stats(&hub).exported == count).await;
        assert_eq!(dropped(&hub, BridgeDrop::ExportQueueFull) + count, 1000);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_sends_what_was_published_before_it() {
    bounded(async {
        let Some(redis) = RedisServer::start().await else {
            return;
        };
        let hub = connected(bridged(&redis)).await;
        let mut go_node = listener(&redis).await;
        hub.send_process_status("web", Status::Exited, 3).unwrap();
        hub.shutdown().await;
        assert_eq!(stats(&hub).exported, 1);
        let (_, message) = heard(&mut go_node).await;
        assert_eq!(message["data"], json!({"status": "exited", "exitCode": 3}));
    })
    .await;
}

#[tokio::test]
async fn a_prefix_separates_nodes_and_a_password_lets_them_in() {
    bounded(async {
        let Some(redis) = RedisServer::start_with(&["--requirepass", "secret"]).await else {
            return;
        };
        let url = format!("{}?pass=secret", redis.url());
        let with_prefix = |prefix: &str| {
            let bridge = RedisBridge::builder(&url).prefix(prefix).build().unwrap();
            Hub::builder().bridge(bridge)
        };
        let (a, b) = (with_prefix("app[1]"), with_prefix("app1"));
        let (a, b) = (connected(a).await, connected(b).await);
        let (mut at_a, mut at_b) = (subscriber(&a, None).await, subscriber(&b, None).await);
        let mut go_node = redis.connect().await;
        go_node.command(&[b"AUTH", b"secret"]).await;
        go_node
            .publish("app[1]:channel:process:web", go_line("for a"))
            .await;
        go_node
            .publish("app1:channel:process:web", go_line("for b"))
            .await;
        assert_eq!(at_a.line().await, "for a");
        assert_eq!(at_b.line().await, "for b");
    })
    .await;
}
