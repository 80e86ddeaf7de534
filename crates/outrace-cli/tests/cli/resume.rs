//! `outrace watch` after a lost connection or skipped lines, and with `--catch-up`.

use std::time::Duration;

use outrace::Hub;
use outrace_testkit::{Account, JsonClient, bounded, serve};
use rustix::process::Signal;
use serde_json::json;

use crate::program::{Outrace, run};

const C: &str = "process:a";

fn keeping(messages: usize, queue: usize) -> Hub {
    Hub::builder()
        .history(messages)
        .history_bytes(256 << 20)
        .queue(queue)
        .build()
        .unwrap()
}

async fn subscribed(hub: &Hub) {
    while hub.channel_subscriber_count(C) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Publishes to a watcher whose output is not read, until lines were skipped and some more were
/// published. Returns the number of lines.
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
            let line = watch.printed().await;
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
            let line = watch.printed().await;
            assert_eq!(line.split(' ').next().unwrap(), n.to_string());
        }
        hub.send_process_output("a", "the end").unwrap();
        assert_eq!(watch.printed().await, "the end\n");
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
        // The program may have read some lines after the watcher subscribed.
        let first = watch.printed().await;
        assert!(["one\n", "two\n"].contains(&&*first), "{first}");
        while watch.printed().await != "three\n" {}
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
        assert_eq!(watch.printed().await, "four\n");
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
            let mut client = JsonClient::connect(&server.url).await;
            client.subscribe(C, json!({"tail": u64::MAX})).await;
            let account = Account::open(&mut client).await;
            assert_eq!(account.replayed, kept);
            // The lines and two statuses.
            assert_eq!(account.began_after + account.replayed, 1502);
        }
        let (code, _, said) = run(&["serve", "--history-age", "10ms"]).await;
        assert_eq!(code, Some(2));
        assert!(
            said.starts_with("outrace: --history-age is 10ms, but has to be between 1s and"),
            "{said}"
        );
    })
    .await;
}
