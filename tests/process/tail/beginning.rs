//! Where the following of a file begins.

use std::fs;
use std::io::Write;
use std::time::Duration;

use outrace::Hub;
use outrace::process::{Tail, TailEvent};
use outrace_testkit::{JsonClient, bounded, serve};

use super::{CHANNEL, Log, Watched};

#[tokio::test]
async fn a_tail_begins_with_the_last_lines_and_the_unfinished_one() {
    bounded(async {
        for (lines, expected) in [
            (0, &["five and more"][..]),
            (2, &["three", "four", "five and more"]),
            (99, &["one", "two", "three", "four", "five and more"]),
        ] {
            let scratch = Log::new();
            let mut file = scratch.append();
            file.write_all(b"one\ntwo\nthree\nfour\nfive").unwrap();
            let mut watched = Watched::start(Tail::builder(scratch.log()).lines(lines)).await;
            watched.event(TailEvent::Opened).await;
            file.write_all(b" and more\n").unwrap();
            watched.have(expected.len()).await;
            assert_eq!(watched.end().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_channel_name_is_refused() {
    let hub = Hub::new();
    assert!(Tail::builder("x").start(&hub, "no name").is_err());
}

#[tokio::test]
async fn a_lossless_tail_skips_nothing_for_a_subscriber_with_little_room() {
    bounded(async {
        let scratch = Log::new();
        let text: String = (0..20_000).map(|line| format!("{line}\n")).collect();
        fs::write(scratch.log(), text).unwrap();
        let hub = Hub::builder().queue(16).build().unwrap();
        let mut client = JsonClient::subscribed(&serve(&hub).await, CHANNEL).await;
        let tail = Tail::builder(scratch.log())
            .from_start()
            .lossless(Duration::from_secs(60))
            .start(&hub, CHANNEL)
            .unwrap();
        for line in 0..20_000 {
            assert_eq!(client.line().await, line.to_string());
        }
        tail.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_tail_begins_with_the_line_of_a_number() {
    bounded(async {
        for (number, expected) in [
            (0, &["one", "two", "three", "four"][..]),
            (1, &["one", "two", "three", "four"]),
            (2, &["two", "three", "four"]),
            (3, &["three", "four"]),
            (9, &["four"]),
        ] {
            let scratch = Log::new();
            let mut file = scratch.append();
            file.write_all(b"one\ntwo\nthree\n").unwrap();
            let mut watched = Watched::start(Tail::builder(scratch.log()).from_line(number)).await;
            watched.event(TailEvent::Opened).await;
            file.write_all(b"four\n").unwrap();
            watched.have(expected.len()).await;
            assert_eq!(watched.end().await, expected);
        }
    })
    .await;
}

/// Returns the next lines, each with whether it is marked as the past.
async fn marked_lines(client: &mut JsonClient, lines: usize) -> Vec<(String, bool)> {
    let mut marked = Vec::new();
    while marked.len() < lines {
        let message = client.message().await;
        if let Some(line) = message["data"].as_str() {
            marked.push((line.to_owned(), message["past"] == true));
        }
    }
    marked
}

#[tokio::test]
async fn lines_that_stood_in_the_file_before_are_marked_as_its_past() {
    bounded(async {
        for wait_limit in [None, Some(Duration::from_secs(60))] {
            let mut scratch = Log::new();
            let mut file = scratch.append();
            file.write_all(b"old\nolder\nunfin").unwrap();
            let hub = Hub::new();
            let mut client = JsonClient::connect(&serve(&hub).await).await;
            client
                .subscribe(CHANNEL, serde_json::json!({"detail": true}))
                .await;
            assert_eq!(client.message().await["type"], "subscribed");
            let tail = Tail::builder(scratch.log())
                .lossless(wait_limit)
                .start(&hub, CHANNEL)
                .unwrap();
            let past = marked_lines(&mut client, 2).await;
            assert_eq!(past, [("old".into(), true), ("older".into(), true)]);
            // The unfinished line is finished now.
            file.write_all(b"ished\nnew\n").unwrap();
            let live = marked_lines(&mut client, 2).await;
            assert_eq!(live, [("unfinished".into(), false), ("new".into(), false)]);
            // A file that comes later has no past.
            scratch.rename_away();
            fs::write(scratch.log(), "another\n").unwrap();
            let other = marked_lines(&mut client, 1).await;
            assert_eq!(other, [("another".into(), false)]);
            fs::write(scratch.log(), "truncated\n").unwrap();
            let again = marked_lines(&mut client, 1).await;
            assert_eq!(again, [("truncated".into(), false)]);
            tail.stop().await;
        }
    })
    .await;
}
