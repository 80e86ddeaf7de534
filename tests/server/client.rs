//! The Rust client, against a hub and against crude servers.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use outrace::Hub;
use outrace::client::{Backoff, DisconnectReason, Event, Watcher};
use outrace_testkit::{bounded, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

const C: &str = "process:a";

fn keeping(messages: usize, queue: usize) -> Hub {
    Hub::builder()
        .history(messages)
        .history_bytes(256 << 20)
        .queue(queue)
        .build()
        .unwrap()
}

fn watcher(url: &str) -> outrace::client::WatcherBuilder {
    let quick = Backoff::new(Duration::from_millis(20), 1.0, Duration::from_millis(20));
    Watcher::builder(url).channel(C).backoff(quick)
}

async fn next(watcher: &mut Watcher) -> Event {
    watcher.next().await.unwrap()
}

/// Returns the first event about the channel. Events about the connection are dropped.
async fn answer(watcher: &mut Watcher) -> Event {
    loop {
        match next(watcher).await {
            Event::Connected | Event::Disconnected { .. } => {}
            item => return item,
        }
    }
}

async fn line(watcher: &mut Watcher) -> (String, u64) {
    match next(watcher).await {
        Event::Line {
            text,
            seq,
            timestamp,
            ..
        } => {
            assert_eq!(timestamp.len(), "2026-02-19T10:00:00.123Z".len());
            (text, seq.expect("this server numbers messages"))
        }
        item => panic!("{item:?}"),
    }
}

/// Closes all connections and waits until they are gone.
async fn part(hub: &Hub) {
    hub.clients().for_each(|client| client.close());
    while hub.client_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_break_costs_no_line_that_is_kept_and_tells_how_many_are_not() {
    bounded(async {
        let hub = keeping(5, 256);
        let url = serve(&hub).await;
        let mut watcher = watcher(&url).build().unwrap();
        assert!(matches!(
            answer(&mut watcher).await,
            Event::Subscribed {
                seq: 0,
                replayed: 0,
                lost: 0,
                ..
            }
        ));
        let mut published = 0;
        for (missed, lost) in [(3, 0), (0, 0), (5, 0), (12, 7)] {
            published += 1;
            hub.send_process_output("a", published.to_string()).unwrap();
            assert_eq!(line(&mut watcher).await, (published.to_string(), published));
            part(&hub).await;
            for _ in 0..missed {
                published += 1;
                hub.send_process_output("a", published.to_string()).unwrap();
            }
            match answer(&mut watcher).await {
                Event::Reconnected {
                    channel,
                    epoch_changed: false,
                    lost: told,
                    replayed,
                } => {
                    assert_eq!((channel.as_str(), told, replayed), (C, lost, missed - lost));
                }
                item => panic!("{item:?}"),
            }
            for n in published - missed + lost + 1..=published {
                assert_eq!(line(&mut watcher).await, (n.to_string(), n));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_tail_comes_first_and_only_once() {
    bounded(async {
        let hub = keeping(100, 256);
        let url = serve(&hub).await;
        for n in 1..=20 {
            hub.send_process_output("a", n.to_string()).unwrap();
        }
        let mut watcher = watcher(&url).tail(3).build().unwrap();
        assert!(matches!(
            answer(&mut watcher).await,
            Event::Subscribed {
                seq: 17,
                replayed: 3,
                lost: 0,
                ..
            }
        ));
        for n in 18..=20 {
            assert_eq!(line(&mut watcher).await, (n.to_string(), n));
        }
        part(&hub).await;
        assert!(matches!(
            answer(&mut watcher).await,
            Event::Reconnected {
                epoch_changed: false,
                lost: 0,
                replayed: 0,
                ..
            }
        ));
    })
    .await;
}

#[tokio::test]
async fn a_range_can_be_fetched_again() {
    bounded(async {
        let hub = keeping(10, 256);
        let url = serve(&hub).await;
        let mut watcher = watcher(&url).build().unwrap();
        assert!(!watcher.refetch(C, 1, 2), "there is no connection yet");
        answer(&mut watcher).await;
        for n in 1..=20 {
            hub.send_process_output("a", n.to_string()).unwrap();
            line(&mut watcher).await;
        }
        assert!(
            !watcher.refetch(C, 0, 2) && !watcher.refetch(C, 3, 2) && !watcher.refetch("b", 1, 2)
        );
        assert!(watcher.refetch(C, 9, 12));
        assert!(matches!(
            next(&mut watcher).await,
            Event::Replay {
                from: 11,
                to: 12,
                lost: 2,
                ..
            }
        ));
        assert_eq!(line(&mut watcher).await, ("11".to_owned(), 11));
        assert_eq!(line(&mut watcher).await, ("12".to_owned(), 12));
        assert!(matches!(
            next(&mut watcher).await,
            Event::Replayed {
                from: 11,
                to: 12,
                ..
            }
        ));
        for _ in 0..16 {
            assert!(watcher.refetch(C, 20, 20));
        }
        assert!(!watcher.refetch(C, 20, 20), "there is a bound");
        let mut replays = 0;
        while replays < 16 {
            replays += usize::from(matches!(next(&mut watcher).await, Event::Replayed { .. }));
        }
        hub.send_process_output("a", "21").unwrap();
        assert_eq!(line(&mut watcher).await, ("21".to_owned(), 21));
    })
    .await;
}

#[tokio::test]
async fn attempts_end_at_their_limit() {
    bounded(async {
        let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", held.local_addr().unwrap());
        drop(held);
        let mut watcher = watcher(&url).retry_limit(2).build().unwrap();
        for last in [false, false, true] {
            match next(&mut watcher).await {
                Event::Disconnected { retry_in, .. } => assert_eq!(retry_in.is_none(), last),
                item => panic!("{item:?}"),
            }
        }
        assert_eq!(watcher.next().await, None);
    })
    .await;
}

/// Starts a server that speaks WebSocket only: it sends `frames` to each client, and then closes.
async fn crude_server(frames: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            let subscribe = socket.next().await.unwrap().unwrap().into_text().unwrap();
            let subscribe: serde_json::Value = serde_json::from_str(&subscribe).unwrap();
            // Such a server reads the channel from `data` and ignores the options.
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
            // The future is dropped at its first wait, again and again.
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
            // The server accepts and never reads, so it answers no ping.
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

#[tokio::test(start_paused = true)]
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
        // Four times the idle timeout, without a message: only pongs.
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
async fn pauses_grow_while_the_server_only_closes_and_start_over_after_a_message() {
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

#[tokio::test]
async fn lines_tell_their_stream_and_pieces_and_the_unfinished_line_is_shown() {
    bounded(async {
        let hub = Hub::builder().history(100).build().unwrap();
        let url = serve(&hub).await;
        let web = hub.publisher("process:web").unwrap();
        for batch in [false, true] {
            let mut watcher = Watcher::builder(&url)
                .channel("process:web")
                .batch(batch)
                .partial(true)
                .build()
                .unwrap();
            assert_eq!(next(&mut watcher).await, Event::Connected);
            let Event::Subscribed { seq, .. } = next(&mut watcher).await else {
                panic!("the confirmation comes first")
            };
            let partial = |text: &str| Event::Partial {
                channel: outrace::ChannelName::parse("process:web").unwrap(),
                text: text.to_owned(),
            };
            web.show_partial(b"Password: ");
            assert_eq!(next(&mut watcher).await, partial("Password: "));
            let long = "x".repeat(100_000);
            let lines = ["warning", &long].into_iter().collect::<outrace::Lines>();
            web.send_lines(lines.with_stream(outrace::OutputStream::Stderr));
            web.send_lines(["old"].iter().collect::<outrace::Lines>().with_past());
            let mut seen = Vec::new();
            while seen.len() < 4 {
                if let Event::Line {
                    text, seq, detail, ..
                } = next(&mut watcher).await
                {
                    let of_it = (detail.is_stderr, detail.is_continued, detail.is_past);
                    seen.push((text, seq.unwrap(), of_it));
                }
            }
            let numbers: Vec<u64> = seen.iter().map(|(_, number, _)| *number).collect();
            assert_eq!(numbers, [seq + 1, seq + 2, seq + 3, seq + 4]);
            let details: Vec<_> = seen.iter().map(|(_, _, detail)| *detail).collect();
            assert_eq!(
                details,
                [
                    (true, false, false),
                    (true, true, false),
                    (true, false, false),
                    (false, false, true)
                ]
            );
            assert_eq!([&*seen[1].0, &*seen[2].0].concat(), long);
            web.show_partial(b"");
            while next(&mut watcher).await != partial("") {}
        }
    })
    .await;
}
