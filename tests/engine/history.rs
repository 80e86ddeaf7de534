//! History over real sockets. A subscription that asks for history gets it first, and live messages
//! follow without loss or repetition.

use std::time::Duration;

use outrace::{Hub, Lines, Message, MessageType};
use outrace_testkit::{Account, JsonClient, bounded, serve, until_sealed, without_timestamp};
use serde_json::json;

const C: &str = "process:web";

fn keeping(messages: usize) -> Hub {
    Hub::builder()
        .history(messages)
        .history_bytes(64 << 20)
        .build()
        .unwrap()
}

/// Publishes the numbers `from..=to` as lines, in runs of different lengths.
fn publish(hub: &Hub, from: u64, to: u64) {
    let mut next = from;
    let mut run = 1;
    while next <= to {
        let end = (next + run - 1).min(to);
        if run == 1 {
            hub.send_process_output("web", format!("p:{next}")).unwrap();
        } else {
            let text: String = (next..=end).map(|n| format!("p:{n}\n")).collect();
            hub.send_process_lines("web", Lines::split(text)).unwrap();
        }
        next = end + 1;
        run = run % 7 + 1;
    }
}

fn custom(kind: &str, data: &serde_json::Value) -> Message {
    Message::new(MessageType::from(kind))
        .with_json(data)
        .unwrap()
}

fn numbered(from: u64, to: u64) -> Vec<(u64, String)> {
    (from..=to).map(|n| (n, format!("p:{n}"))).collect()
}

#[tokio::test]
async fn the_answer_to_options_has_the_shape_of_the_wire() {
    bounded(async {
        let hub = keeping(3);
        let url = serve(&hub).await;
        publish(&hub, 1, 5);
        until_sealed(&hub, C, 5).await;
        let epoch = hub.channels().next().unwrap().epoch;
        for (options, seq, replayed, lost) in [
            (json!({}), 5, 0, 0),
            (json!({"gaps": true}), 5, 0, 0),
            (json!({"gaps": false, "unknown": [1]}), 5, 0, 0),
            (json!({"tail": 0}), 5, 0, 0),
            (json!({"tail": 2}), 3, 2, 0),
            (json!({"tail": 3}), 2, 3, 0),
            (json!({"tail": u64::MAX}), 2, 3, 0),
            (json!({"since": {"epoch": epoch, "seq": 4}}), 4, 1, 0),
            (json!({"since": {"epoch": epoch, "seq": 5}}), 5, 0, 0),
            (json!({"since": {"epoch": epoch, "seq": 99}}), 5, 0, 0),
            (json!({"since": {"epoch": epoch, "seq": u64::MAX}}), 5, 0, 0),
            (json!({"since": {"epoch": epoch, "seq": 0}}), 2, 3, 2),
            (json!({"since": {"epoch": epoch, "seq": 1}, "tail": 1}), 2, 3, 1),
            (json!({"since": {"epoch": "another", "seq": 4}}), 2, 3, 2),
            (json!({"since": {"epoch": "another", "seq": 4}, "tail": 1}), 4, 1, 0),
        ] {
            let mut client = JsonClient::connect(&url).await;
            client.subscribe(C, options.clone()).await;
            assert_eq!(
                without_timestamp(&client.text().await),
                format!(
                    r#"{{"type":"subscribed","channel":"process:web","data":{{"epoch":"{epoch}","seq":{seq},"replayed":{replayed},"lost":{lost}}}}}"#
                ),
                "{options}"
            );
            for n in seq + 1..=5 {
                assert_eq!(
                    without_timestamp(&client.text().await),
                    format!(r#"{{"type":"process_output","channel":"process:web","processId":"web","data":"p:{n}"}}"#)
                );
            }
            client.ping().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_replayed_message_is_the_one_that_was_sent_byte_for_byte() {
    bounded(async {
        let hub = keeping(100);
        let url = serve(&hub).await;
        let mut live = JsonClient::connect(&url).await;
        live.subscribe_plain(C).await;
        publish(&hub, 1, 20);
        hub.send_process_status("web", "exited", 3).unwrap();
        hub.send_to_channel(C, custom("x", &json!({"a": [1, "b"]})))
            .unwrap();
        let mut sent = Vec::new();
        for _ in 0..22 {
            sent.push(live.text().await);
        }
        let mut late = JsonClient::connect(&url).await;
        late.subscribe(C, json!({"tail": 100})).await;
        late.text().await;
        for expected in sent {
            assert_eq!(late.text().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_batch_has_the_shape_of_the_wire_and_other_messages_stay_in_their_place() {
    bounded(async {
        let hub = Hub::builder().history(1000).history_bytes(1 << 20).queue(1000).build().unwrap();
        let url = serve(&hub).await;
        hub.send_process_lines("web", Lines::split("a\n\"b\"\n\n")).unwrap();
        hub.send_process_status("web", "exited", 0).unwrap();
        hub.send_process_output("web", "c").unwrap();
        until_sealed(&hub, C, 5).await;
        // Whether two pushes share a batch depends on the flush. Here each push is flushed before
        // the next.
        let mut client = JsonClient::connect(&url).await;
        client.subscribe(C, json!({"batch": true, "tail": 4})).await;
        client.text().await;
        for expected in [
            r#"{"type":"process_output_batch","channel":"process:web","processId":"web","data":["\"b\"",""],"seq":2}"#,
            r#"{"type":"process_status","channel":"process:web","processId":"web","data":{"status":"exited","exitCode":0}}"#,
            r#"{"type":"process_output_batch","channel":"process:web","processId":"web","data":["c"],"seq":5}"#,
        ] {
            assert_eq!(without_timestamp(&client.text().await), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_replay_larger_than_the_queue_is_fed_as_the_client_reads_and_skips_nothing() {
    bounded(async {
        const KEPT: u64 = 10_000;
        for batch in [false, true] {
            let hub = Hub::builder()
                .history(KEPT as usize)
                .history_bytes(64 << 20)
                .queue(16)
                .build()
                .unwrap();
            let url = serve(&hub).await;
            publish(&hub, 1, KEPT);
            until_sealed(&hub, C, KEPT).await;
            let mut client = JsonClient::connect_with(&url, Some(4096)).await;
            client
                .subscribe(C, json!({"gaps": true, "tail": KEPT, "batch": batch}))
                .await;
            let mut account = Account::open(&mut client).await;
            assert_eq!(
                (account.began_after, account.replayed, account.lost),
                (0, KEPT, 0)
            );
            account.read_to(&mut client, KEPT).await;
            assert_eq!(account.lines, numbered(1, KEPT));
            // After the replay the subscription is live.
            publish(&hub, KEPT + 1, KEPT + 3);
            account.read_to(&mut client, KEPT + 3).await;
            assert_eq!(account.skipped, 0);
            assert_eq!(hub.stats().skipped, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_range_is_sent_again_between_its_two_marks() {
    bounded(async {
        let hub = keeping(10);
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        publish(&hub, 1, 20);
        account.read_to(&mut client, 20).await;
        let epoch = account.epoch.clone();
        for (asked, range, from, to, lost) in [
            (&*epoch, (12, 15), 12, 15, 0),
            (&epoch, (12, 12), 12, 12, 0),
            (&epoch, (1, 12), 11, 12, 10),
            (&epoch, (1, 10), 1, 0, 10),
            (&epoch, (19, 30), 19, 20, 10),
            (&epoch, (30, 40), 30, 29, 11),
            (&epoch, (20, u64::MAX), 20, 20, u64::MAX - 20),
            ("another", (12, 15), 12, 11, 4),
        ] {
            let (a, b) = range;
            client.subscribe(C, json!({"range": {"epoch": asked, "from": a, "to": b}})).await;
            assert_eq!(
                without_timestamp(&client.text().await),
                format!(
                    r#"{{"type":"replay","channel":"process:web","data":{{"epoch":"{epoch}","from":{from},"to":{to},"lost":{lost}}}}}"#
                )
            );
            for n in from..=to {
                assert_eq!(client.message().await["data"], format!("p:{n}"));
            }
            assert_eq!(
                without_timestamp(&client.text().await),
                format!(
                    r#"{{"type":"replayed","channel":"process:web","data":{{"from":{from},"to":{to}}}}}"#
                )
            );
        }
        client.subscribe(C, json!({"range": {"epoch": "another", "from": 3, "to": u64::MAX}})).await;
        let replay = client.message().await;
        assert_eq!(replay["data"]["lost"], u64::MAX - 2, "{replay}");
        assert_eq!(client.message().await["type"], "replayed");
        publish(&hub, 21, 23);
        account.read_to(&mut client, 23).await;
    })
    .await;
}

#[tokio::test]
async fn a_range_asked_for_with_the_subscription_itself_comes_after_its_answer() {
    bounded(async {
        let hub = keeping(100);
        let url = serve(&hub).await;
        publish(&hub, 1, 5);
        until_sealed(&hub, C, 5).await;
        let epoch = hub.channels().next().unwrap().epoch;
        let mut client = JsonClient::connect(&url).await;
        client
            .subscribe(C, json!({"range": {"epoch": epoch, "from": 2, "to": 3}}))
            .await;
        let mut account = Account::open(&mut client).await;
        assert_eq!(account.began_after, 5);
        assert_eq!(client.message().await["type"], "replay");
        assert_eq!(client.message().await["data"], "p:2");
        assert_eq!(client.message().await["data"], "p:3");
        assert_eq!(client.message().await["type"], "replayed");
        publish(&hub, 6, 6);
        account.read_to(&mut client, 6).await;
    })
    .await;
}

#[tokio::test]
async fn subscribing_again_with_options_begins_a_new_subscription_in_the_old_ones_place() {
    bounded(async {
        let hub = keeping(100);
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client.subscribe_plain(C).await;
        publish(&hub, 1, 3);
        for n in 1..=3 {
            assert_eq!(client.message().await["data"], format!("p:{n}"));
        }
        client.subscribe(C, json!({"tail": 2, "gaps": true})).await;
        let mut account = Account::open(&mut client).await;
        assert_eq!(account.began_after, 1);
        publish(&hub, 4, 4);
        account.read_to(&mut client, 4).await;
        assert_eq!(account.lines, numbered(2, 4));
        assert_eq!(hub.channel_subscriber_count(C), 1);
    })
    .await;
}

/// Returns the texts that a client without options gets during a scripted use of the hub, without
/// their timestamps.
async fn transcript(hub: Hub) -> Vec<String> {
    let url = serve(&hub).await;
    let mut client = JsonClient::connect(&url).await;
    publish(&hub, 1, 10);
    client.subscribe_plain(C).await;
    client.subscribe_plain("jobs").await;
    client.subscribe_plain(C).await;
    // Subscriptions with options must not change what the client without options sees.
    let mut other = JsonClient::connect(&url).await;
    other
        .subscribe(C, json!({"gaps": true, "tail": 5, "batch": true}))
        .await;
    Account::open(&mut other).await;
    let mut texts = Vec::new();
    publish(&hub, 11, 30);
    for _ in 0..20 {
        texts.push(without_timestamp(&client.text().await));
    }
    hub.send_process_status("web", "crashed", 139).unwrap();
    texts.push(without_timestamp(&client.text().await));
    hub.send_to_channel("jobs", custom("job", &json!({"done": 3})))
        .unwrap();
    texts.push(without_timestamp(&client.text().await));
    hub.send_event("deployed", &json!(null)).unwrap();
    texts.push(without_timestamp(&client.text().await));
    client
        .send(json!({"type": "subscribe", "channel": "no such name!"}))
        .await;
    texts.push(without_timestamp(&client.text().await));
    client
        .send(json!({"type": "unsubscribe", "channel": C}))
        .await;
    client.ping().await;
    publish(&hub, 31, 40);
    client.subscribe_plain(C).await;
    publish(&hub, 41, 45);
    for _ in 0..5 {
        texts.push(without_timestamp(&client.text().await));
    }
    client
        .send(json!({"type": "subscribe", "channel": C, "options": null}))
        .await;
    client.ping().await;
    texts
}

#[tokio::test]
async fn a_client_without_options_sees_the_same_bytes_with_history_and_without() {
    bounded(async {
        let line = |n: u64| {
            format!(r#"{{"type":"process_output","channel":"process:web","processId":"web","data":"p:{n}"}}"#)
        };
        let mut expected: Vec<String> = (11..=30).map(line).collect();
        expected.extend(
            [
                r#"{"type":"process_status","channel":"process:web","processId":"web","data":{"status":"crashed","exitCode":139}}"#,
                r#"{"type":"job","channel":"jobs","data":{"done":3}}"#,
                r#"{"type":"event","data":{"event":"deployed","data":null}}"#,
                r#"{"type":"error","data":"Subscribe: invalid channel name"}"#,
            ]
            .map(str::to_owned),
        );
        expected.extend((41..=45).map(line));
        assert_eq!(transcript(Hub::new()).await, expected);
        assert_eq!(transcript(keeping(1000)).await, expected);
        assert_eq!(transcript(keeping(1)).await, expected);
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_channels_of_garbage_stay_within_the_bound_of_all_histories() {
    const TOTAL: usize = 16 << 20;
    bounded(async {
        let hub = Hub::builder()
            .history(1000)
            .history_bytes(1 << 20)
            .history_total(TOTAL)
            .build()
            .unwrap();
        let line = [b'x'; 300];
        let mut most = 0;
        for n in 0..200_000_u32 {
            hub.send_process_output(&format!("p{}", n % 10_000), line)
                .unwrap();
            if n % 500 == 0 {
                most = most.max(hub.stats().history_bytes);
            }
        }
        // The total may exceed the bound by what one channel adds before room is made.
        assert!(most <= TOTAL + (1 << 20), "{most} bytes were held");
        assert!(most > TOTAL / 2, "the bound was never near: {most}");
        let kept: usize = hub.channels().map(|channel| channel.kept_bytes).sum();
        assert_eq!(kept, hub.stats().history_bytes);
    })
    .await;
}

#[tokio::test]
async fn the_channels_used_the_longest_ago_forget_first() {
    bounded(async {
        let hub = Hub::builder()
            .history(1000)
            .history_bytes(1 << 20)
            .history_total(1 << 20)
            .build()
            .unwrap();
        let line = [b'x'; 1000];
        let mut busy = 0_u64;
        for n in 0..2000 {
            hub.send_process_output(&format!("p{n}"), line).unwrap();
            // A channel that is used all the time is kept, although it is the oldest.
            hub.send_process_output("busy", "still here").unwrap();
            busy += 1;
        }
        let kept: Vec<_> = hub
            .channels()
            .map(|channel| channel.channel.as_str().to_owned())
            .collect();
        assert!(kept.iter().any(|name| name == "process:busy"), "{kept:?}");
        assert!(kept.iter().any(|name| name == "process:p1999"), "{kept:?}");
        assert!(!kept.iter().any(|name| name == "process:p0"), "{kept:?}");
        let oldest = (0..2000)
            .find(|n| kept.contains(&format!("process:p{n}")))
            .unwrap();
        for n in oldest..2000 {
            assert!(
                kept.contains(&format!("process:p{n}")),
                "p{n} went before p{oldest}"
            );
        }
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client
            .subscribe(
                "process:busy",
                json!({"since": {"epoch": "", "seq": 0}, "gaps": true}),
            )
            .await;
        let account = Account::open(&mut client).await;
        assert_eq!(
            (account.replayed + account.lost, account.replayed),
            (busy, 1000)
        );
    })
    .await;
}

#[tokio::test]
async fn a_channel_ends_when_its_history_is_too_old_unless_it_has_a_subscriber() {
    bounded(async {
        let hub = Hub::builder()
            .history(1000)
            .history_bytes(1 << 20)
            .history_age(Duration::from_secs(1))
            .build()
            .unwrap();
        hub.start();
        let url = serve(&hub).await;
        for n in 0..1000 {
            hub.send_process_output(&format!("p{n}"), "x").unwrap();
        }
        let mut client = JsonClient::connect(&url).await;
        client.subscribe("process:p7", json!({"tail": 1})).await;
        let account = Account::open(&mut client).await;
        assert_eq!(account.replayed, 1);
        assert_eq!(hub.channels().len(), 1000);
        while hub.channels().len() > 1 || hub.stats().history_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left = hub.channels().next().unwrap();
        assert_eq!(
            (left.channel.as_str(), left.seq, left.epoch),
            ("process:p7", 1, account.epoch)
        );
        drop(client);
        while hub.channels().len() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The channel itself is forgotten too: the name begins a new numbering.
        hub.send_process_output("p7", "x").unwrap();
        assert_eq!(hub.channels().next().unwrap().published, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_four_publishers_that_nobody_watches_is_kept_whole() {
    bounded(async {
        for _ in 0..100 {
            let hub = keeping(1000);
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let web = hub.publisher(C).unwrap();
                    std::thread::spawn(move || {
                        for _ in 0..500 {
                            web.send_line("x");
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let url = serve(&hub).await;
            let mut client = JsonClient::connect(&url).await;
            client.subscribe(C, json!({"tail": 1000})).await;
            let account = Account::open(&mut client).await;
            assert_eq!(account.replayed, 1000);
        }
    })
    .await;
}
