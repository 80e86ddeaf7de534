//! Watchers that come back and catch up: the client and `outrace watch`.

#![allow(clippy::unwrap_used)] // as in tests, also in what they share

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use outrace::Hub;
use outrace::client::{Backoff, Event, Watcher};
use rustix::process::Signal;
use support::{Outrace, bounded, serve};
use tokio::io::AsyncBufReadExt;

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

/// Skips what a connection brings up to the first word about the channel.
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

/// Ends all connections and waits until they are gone.
async fn part(hub: &Hub) {
    hub.clients().for_each(|client| client.close());
    while hub.client_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn printed(watcher: &mut Outrace) -> String {
    let mut line = String::new();
    watcher.stdout.read_line(&mut line).await.unwrap();
    line
}

async fn subscribed(hub: &Hub) {
    while hub.channel_subscriber_count(C) == 0 {
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

/// Publishes to a watcher whose output nobody reads, until lines were skipped and some more came; answers how many there were.
async fn publish_past(hub: &Hub) -> u64 {
    subscribed(hub).await;
    let long = "x".repeat(3000);
    let mut published = 0_u64;
    let mut more = 20;
    while more > 0 {
        published += 1;
        hub.send_process_output("a", format!("{published} {long}"))
            .unwrap();
        if hub.stats().skipped > 0 {
            more -= 1;
        }
        if published.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    published
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipped_lines_leave_a_line_in_their_place() {
    bounded(async {
        let hub = keeping(0, 64);
        let mut watch = Outrace::start(&["watch", &serve(&hub).await, C]);
        let published = publish_past(&hub).await;
        let (mut next, mut holes) = (1, 0);
        while next <= published {
            let line = printed(&mut watch).await;
            match line.strip_prefix("… ") {
                Some(hole) => {
                    let (count, words) = hole.split_once(' ').unwrap();
                    assert!(
                        words == "lines skipped …\n" || words == "line skipped …\n",
                        "{line}"
                    );
                    next += count.parse::<u64>().unwrap();
                    holes += 1;
                }
                None => {
                    assert_eq!(line.split(' ').next().unwrap(), next.to_string());
                    next += 1;
                }
            }
        }
        assert_eq!(next, published + 1);
        assert!(holes > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catching_up_prints_every_line_in_its_place() {
    bounded(async {
        let hub = keeping(1_000_000, 64);
        let mut watch = Outrace::start(&["watch", "--catch-up", &serve(&hub).await, C]);
        let published = publish_past(&hub).await;
        assert!(hub.stats().skipped > 0);
        for n in 1..=published {
            let line = printed(&mut watch).await;
            assert_eq!(line.split(' ').next().unwrap(), n.to_string());
        }
        hub.send_process_output("a", "the end").unwrap();
        assert_eq!(printed(&mut watch).await, "the end\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_that_is_started_again_is_watched_again_and_the_new_numbering_is_told() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "a", "--stay"]).await;
        server.say("one\ntwo\nthree\n").await;
        let url = server.url.clone();
        let mut watch = Outrace::start(&["watch", "--tail", "2", &url, C]);
        // The lines may have been read after the watcher came.
        let first = printed(&mut watch).await;
        assert!(["one\n", "two\n"].contains(&&*first), "{first}");
        while printed(&mut watch).await != "three\n" {}
        server.signal(Signal::KILL);
        assert_eq!(server.code().await, None);
        let said = watch.complaint().await;
        assert!(said.contains("; trying again in"), "{said}");

        let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
        let mut server = Outrace::start(&["pipe", "--id", "a", "--stay", "--listen", address]);
        assert!(server.complaint().await.contains("listening"));
        server.say("four\n").await;
        let mut said = Vec::new();
        while !said.iter().any(|line: &String| line.contains("began anew")) {
            said.push(watch.complaint().await);
        }
        assert!(
            said.iter().any(|line| line.ends_with(": connected")),
            "{said:?}"
        );
        assert_eq!(
            said.last().unwrap(),
            "outrace: process:a began anew, as after a restart of the server; lines may be missing"
        );
        assert_eq!(printed(&mut watch).await, "four\n");
    })
    .await;
}

#[tokio::test]
async fn servers_keep_history_unless_told_otherwise() {
    bounded(async {
        for (options, kept) in [
            (&[][..], 1000),
            (&["--history", "7"], 7),
            (&["--history", "0"], 0),
        ] {
            let mut arguments = vec!["pipe", "--id", "a", "--stay"];
            arguments.extend(options);
            let mut server = Outrace::serving(&arguments).await;
            let lines: String = (1..=1500).map(|n| format!("{n}\n")).collect();
            server.say(lines).await;
            drop(server.stdin.take());
            assert!(server.complaint().await.contains("still serving"));
            let mut watcher = watcher(&server.url).tail(u64::MAX).build().unwrap();
            match answer(&mut watcher).await {
                Event::Subscribed { seq, replayed, .. } => {
                    assert_eq!(replayed, kept);
                    // The lines, and two changes of status.
                    assert_eq!(seq + replayed, 1502);
                }
                item => panic!("{item:?}"),
            }
        }
        let (code, _, said) = support::run(&["serve", "--history-age", "10ms"]).await;
        assert_eq!(code, Some(2));
        assert!(
            said.starts_with("outrace: --history-age is 10ms, but has to be between 1s and"),
            "{said}"
        );
    })
    .await;
}
