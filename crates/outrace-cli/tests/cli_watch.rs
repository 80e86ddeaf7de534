//! `outrace watch` and the client behind it.

#![allow(clippy::unwrap_used)] // as in tests, also in what they share

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use outrace::Hub;
use outrace::client::{Backoff, DisconnectReason, Event, Watcher};
use rustix::process::Signal;
use support::{Outrace, bounded, serve};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

/// Waits until a channel has a subscriber.
async fn subscribed(hub: &Hub, channel: &str) {
    while hub.channel_subscriber_count(channel) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn printed(watcher: &mut Outrace) -> String {
    let mut line = String::new();
    watcher.stdout.read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn lines_come_one_by_one_and_statuses_apart_from_them() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        for line in ["one", "two \"quoted\" \u{2028} 😀", ""] {
            hub.send_process_output("a", line).unwrap();
            assert_eq!(printed(&mut watcher).await, format!("{line}\n"));
        }
        hub.send_process_status("a", "exited", 3).unwrap();
        assert_eq!(
            watcher.complaint().await,
            "outrace: process:a exited with code 3"
        );
        hub.send_error("beware");
        assert_eq!(
            watcher.complaint().await,
            "outrace: the server says: beware"
        );
    })
    .await;
}

#[tokio::test]
async fn several_channels_are_told_apart() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&[
            "watch",
            &serve(&hub).await,
            "process:a",
            "process:b",
            "process:a",
        ]);
        subscribed(&hub, "process:b").await;
        hub.send_process_output("a", "from a").unwrap();
        assert_eq!(printed(&mut watcher).await, "process:a: from a\n");
        hub.send_process_output("b", "from b").unwrap();
        assert_eq!(printed(&mut watcher).await, "process:b: from b\n");
    })
    .await;
}

#[tokio::test]
async fn json_is_every_message_as_it_came() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&["watch", "--json", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "x").unwrap();
        hub.send_event("deployed", &1).unwrap();
        let subscribed = printed(&mut watcher).await;
        assert!(
            subscribed
                .starts_with(r#"{"type":"subscribed","channel":"process:a","data":{"epoch":""#),
            "{subscribed}"
        );
        let line = printed(&mut watcher).await;
        assert!(line.starts_with(
            r#"{"type":"process_output","channel":"process:a","processId":"a","data":"x","#
        ));
        let event = printed(&mut watcher).await;
        assert!(
            event.starts_with(
                r#"{"type":"event","data":{"event":"deployed","data":1},"timestamp":"#
            ),
            "{event}"
        );
    })
    .await;
}

#[tokio::test]
async fn it_is_there_again_after_the_server_was_gone() {
    bounded(async {
        let (hub, address, stop, serving) = serve_until("127.0.0.1:0").await;
        let mut watcher = Outrace::start(&["watch", &format!("ws://{address}/ws"), "process:a"]);
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "before").unwrap();
        assert_eq!(printed(&mut watcher).await, "before\n");
        stop.send(()).unwrap();
        serving.await.unwrap();
        let said = watcher.complaint().await;
        assert!(said.contains("going away; trying again in"), "{said}");

        let (hub, ..) = serve_until(&address).await;
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "after").unwrap();
        assert_eq!(printed(&mut watcher).await, "after\n");
    })
    .await;
}

async fn serve_until(
    address: &str,
) -> (
    Hub,
    String,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let hub = Hub::new();
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let hub = hub.clone();
        async move {
            // A dropped sender goes on serving, for as long as the test does.
            let stopped = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            outrace::server::serve(listener, hub, stopped)
                .await
                .unwrap();
        }
    });
    (hub, address, stop, serving)
}

#[tokio::test]
async fn a_first_connection_that_fails_is_tried_again() {
    bounded(async {
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = held.local_addr().unwrap().to_string();
        drop(held);
        let mut watcher = Outrace::start(&["watch", &format!("ws://{address}/ws"), "process:a"]);
        let said = watcher.complaint().await;
        assert!(
            said.contains("cannot connect") && said.contains("trying again in"),
            "{said}"
        );
        let (hub, ..) = serve_until(&address).await;
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "at last").unwrap();
        assert_eq!(printed(&mut watcher).await, "at last\n");
    })
    .await;
}

#[tokio::test]
async fn without_retry_it_ends_with_1_and_a_sentence() {
    bounded(async {
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", held.local_addr().unwrap());
        drop(held);
        let (code, _, stderr) = support::run(&["watch", "--no-retry", &url, "process:a"]).await;
        assert_eq!(code, Some(1));
        assert!(
            stderr.contains(&url) && stderr.contains("cannot connect"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_address_or_name_ends_with_2() {
    bounded(async {
        for arguments in [
            &["watch", "http://127.0.0.1:1/ws", "process:a"][..],
            &["watch", "127.0.0.1:1", "process:a"],
            &["watch", "ws://127.0.0.1:1/ws", "process:"],
            &["watch", "ws://127.0.0.1:1/ws"],
        ] {
            let (code, _, stderr) = support::run(arguments).await;
            assert_eq!(code, Some(2), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_has_enough_ends_it_quietly() {
    bounded(async {
        let hub = Hub::new();
        let Outrace {
            mut child,
            stdout,
            mut stderr,
            ..
        } = Outrace::start(&["watch", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        drop(stdout);
        hub.send_process_output("a", "to nobody").unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
        assert_eq!(stderr.next_line().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_ends_it_with_130() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        watcher.signal(Signal::INT);
        assert_eq!(watcher.code().await, Some(130));
    })
    .await;
}

/// A server that speaks WebSocket and nothing else: sends `frames` to each client, and then closes.
async fn crude_server(frames: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            let subscribe = socket.next().await.unwrap().unwrap().into_text().unwrap();
            let subscribe: serde_json::Value = serde_json::from_str(&subscribe).unwrap();
            // Such a server reads the channel from `data`, and nothing of the options.
            for (key, value) in [
                ("type", "subscribe"),
                ("channel", "process:a"),
                ("data", "process:a"),
            ] {
                assert_eq!(subscribe[key], value);
            }
            for frame in frames {
                socket.send(Message::text(*frame)).await.unwrap();
            }
            socket.close(None).await.unwrap();
            while socket.next().await.is_some_and(|read| read.is_ok()) {}
        }
    });
    url
}

#[tokio::test]
async fn messages_joined_in_one_frame_are_told_apart() {
    bounded(async {
        let url = crude_server(&[
            "{\"type\":\"process_output\",\"channel\":\"process:a\",\"data\":\"1\"}\n\
             {\"type\":\"process_output\",\"channel\":\"process:a\",\"data\":\"2\"}\n",
            "{\"type\":\"process_output\",\"channel\":\"process:a\",\"data\":\"3\"}",
        ])
        .await;
        let mut watcher = Watcher::builder(&url)
            .channel("process:a")
            .retry(false)
            .build()
            .unwrap();
        let mut lines = Vec::new();
        let end = loop {
            match watcher.next().await.expect("a disconnect comes last") {
                Event::Connected => {}
                Event::Line {
                    channel, text, seq, ..
                } => {
                    assert_eq!(seq, None, "this server numbers nothing");
                    assert_eq!(channel.as_str(), "process:a");
                    lines.push(text);
                }
                other => break other,
            }
        };
        assert_eq!(lines, ["1", "2", "3"]);
        let expected = Event::Disconnected {
            reason: DisconnectReason::Closed {
                code: 1005,
                reason: String::new(),
            },
            retry_in: None,
        };
        assert_eq!(end, expected);
        assert_eq!(watcher.next().await, None);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_by_dropping_next() {
    bounded(async {
        let url = crude_server(&[
            "{\"type\":\"process_output\",\"channel\":\"process:a\",\"data\":\"x\"}",
        ])
        .await;
        let mut watcher = Watcher::builder(&url)
            .channel("process:a")
            .retry(false)
            .build()
            .unwrap();
        let mut items = Vec::new();
        loop {
            // Dropped at its first wait, over and over.
            match tokio::time::timeout(Duration::ZERO, watcher.next()).await {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => tokio::task::yield_now().await,
            }
        }
        assert!(
            matches!(
                &items[..],
                [
                    Event::Connected,
                    Event::Line { .. },
                    Event::Disconnected { .. }
                ]
            ),
            "{items:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let (done, wait) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            // Accepts and never reads: no pong.
            let _socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            let _ = wait.await;
        });
        let mut watcher = Watcher::builder(&url)
            .channel("process:a")
            .idle_timeout(Duration::from_millis(300))
            .backoff(Backoff::default())
            .build()
            .unwrap();
        assert_eq!(watcher.next().await, Some(Event::Connected));
        match watcher.next().await {
            Some(Event::Disconnected {
                reason: DisconnectReason::IdleTimeout,
                retry_in: Some(_),
            }) => {}
            other => panic!("{other:?}"),
        }
        drop(done);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_merely_idle_is_not_given_up() {
    bounded(async {
        let hub = Hub::new();
        let url = serve(&hub).await;
        let idle_timeout = Duration::from_millis(500);
        let mut watcher = Watcher::builder(&url)
            .channel("process:a")
            .idle_timeout(idle_timeout)
            .build()
            .unwrap();
        assert_eq!(watcher.next().await, Some(Event::Connected));
        assert!(matches!(
            watcher.next().await,
            Some(Event::Subscribed { seq: 0, .. })
        ));
        // Four idle timeouts pass without a message. Only pongs come.
        assert!(
            tokio::time::timeout(4 * idle_timeout, watcher.next())
                .await
                .is_err()
        );
        hub.send_process_output("a", "still there").unwrap();
        assert!(matches!(watcher.next().await, Some(Event::Line { .. })));
    })
    .await;
}

#[tokio::test]
async fn pauses_grow_while_the_server_only_says_goodbye_and_start_over_after_a_message() {
    bounded(async {
        let pauses = async |frames| {
            let url = crude_server(frames).await;
            let backoff = Backoff::new(Duration::from_millis(1), 100.0, Duration::from_millis(100));
            let mut watcher = Watcher::builder(&url)
                .channel("process:a")
                .backoff(backoff)
                .build()
                .unwrap();
            let mut pauses = Vec::new();
            while pauses.len() < 2 {
                if let Some(Event::Disconnected {
                    retry_in: Some(pause),
                    ..
                }) = watcher.next().await
                {
                    pauses.push(pause);
                }
            }
            pauses
        };
        let short = Duration::from_millis(1);
        let only_goodbyes = pauses(&[]).await;
        assert!(
            only_goodbyes[0] <= short && only_goodbyes[1] > short,
            "{only_goodbyes:?}"
        );
        let good = pauses(&["{}"]).await;
        assert!(good.iter().all(|pause| *pause <= short), "{good:?}");
    })
    .await;
}
