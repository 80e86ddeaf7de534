//! The policy of not skipping, over real sockets: who reads slowly gets every line, who does not read holds nobody up for long.

#![allow(clippy::unwrap_used)] // as in tests, also in what they share

#[path = "../../../tests/support/resume.rs"]
mod resume;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outrace::{Hub, Lines, Lossless};
use resume::{Account, Viewer, bounded, serve};
use serde_json::json;

const C: &str = "process:web";

fn numbered(from: u64, to: u64, tail: &str) -> Lines {
    (from..=to).map(|n| format!("p:{n} {tail}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_get_every_line() {
    bounded(async {
        const LINES: u64 = 20_000;
        for queue in [1, 16, 64] {
            let hub = Hub::builder()
                .queue(queue)
                .history(10)
                .history_bytes(1 << 20)
                .build()
                .unwrap();
            let address = serve(&hub).await;
            let mut readers = Vec::new();
            for (batch, small) in [(false, true), (true, true), (false, false), (true, false)] {
                let mut viewer = Viewer::connect_with(&address, small.then_some(4096)).await;
                viewer
                    .subscribe(C, json!({"gaps": true, "batch": batch}))
                    .await;
                let mut account = Account::open(&mut viewer).await;
                readers.push(tokio::spawn(async move {
                    while account.next <= LINES {
                        let message = viewer.next().await;
                        account.take(&message);
                        if account.next % 997 == 0 {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                    account
                }));
            }
            let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(60));
            for n in 0..LINES / 5000 {
                let mut lines = numbered(n * 5000 + 1, (n + 1) * 5000, "");
                lossless.send_lines(&mut lines).await;
                assert!(lines.is_empty());
            }
            for reader in readers {
                let account = reader.await.unwrap();
                assert_eq!((account.received, account.skipped), (LINES, 0));
            }
            assert_eq!(hub.stats().skipped, 0);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_waited_for_once_in_each_stall_and_then_told() {
    bounded(async {
        // Long beyond what a busy machine takes for a thousand lines, so that only the waiting is that long.
        const LIMIT: Duration = Duration::from_secs(2);
        let hub = Hub::builder().queue(16).build().unwrap();
        let address = serve(&hub).await;
        let mut viewer = Viewer::connect_with(&address, Some(4096)).await;
        viewer.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut viewer).await;
        let lossless = Lossless::new(hub.publisher(C).unwrap(), LIMIT);
        let long = "x".repeat(4000);
        let mut published = 0;
        for _stall in 0..2 {
            let skipped = hub.stats().skipped;
            let mut waits = Vec::new();
            for _ in 0..10 {
                let mut lines = numbered(published + 1, published + 1000, &long);
                let begin = Instant::now();
                lossless.send_lines(&mut lines).await;
                published += 1000;
                waits.push(begin.elapsed());
            }
            assert!(hub.stats().skipped > skipped, "it read it all");
            assert_eq!(
                waits.iter().filter(|wait| **wait >= LIMIT).count(),
                1,
                "{waits:?}"
            );
            account.read_to(&mut viewer, published).await;
        }
        assert_eq!(account.received + account.skipped, published);
        assert!(account.gaps.len() >= 2);
        // Having read everything, it is waited for again, and misses nothing.
        let reader = tokio::spawn(async move {
            let skipped = account.skipped;
            account.read_to(&mut viewer, published + 1000).await;
            assert_eq!(account.skipped, skipped);
        });
        lossless
            .send_lines(&mut numbered(published + 1, published + 1000, &long))
            .await;
        reader.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_wait_leaves_the_lines_that_were_not_published() {
    bounded(async {
        let hub = Hub::builder().queue(8).build().unwrap();
        let address = serve(&hub).await;
        let mut viewer = Viewer::connect_with(&address, Some(4096)).await;
        viewer.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut viewer).await;
        let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(60));
        let mut lines = numbered(1, 5000, &"x".repeat(4000));
        let cut =
            tokio::time::timeout(Duration::from_millis(50), lossless.send_lines(&mut lines)).await;
        assert!(cut.is_err() && !lines.is_empty());
        let reader = tokio::spawn(async move {
            account.read_to(&mut viewer, 5000).await;
            account
        });
        lossless.send_lines(&mut lines).await;
        let account = reader.await.unwrap();
        assert_eq!((account.received, account.skipped), (5000, 0));
        for (seq, line) in &account.lines {
            assert!(line.starts_with(&format!("p:{seq} ")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_ends_a_wait_at_once() {
    bounded(async {
        let hub = Hub::builder().queue(8).build().unwrap();
        let address = serve(&hub).await;
        let mut viewer = Viewer::connect_with(&address, Some(4096)).await;
        viewer.subscribe_plain(C).await;
        let lossless = Lossless::new(hub.publisher(C).unwrap(), Duration::from_secs(3600));
        let waiting = lossless.clone();
        let sending = tokio::spawn(async move {
            waiting
                .send_lines(&mut numbered(1, 5000, &"x".repeat(4000)))
                .await
        });
        while hub.clients().next().unwrap().queued() < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lossless.give_up();
        sending.await.unwrap();
        assert!(hub.stats().skipped > 0);
    })
    .await;
}

/// Starts the binary on a free port; answers it and the address it serves at.
fn start(arguments: &[&str]) -> (std::process::Child, String) {
    use std::io::BufRead;
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrace"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let at = said
        .find("ws://")
        .unwrap_or_else(|| panic!("it does not listen: {said}"))
        + 5;
    let address = said[at..].split('/').next().unwrap().to_owned();
    (child, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_run_and_of_pipe_gets_every_line() {
    bounded(async {
        const LINES: u64 = 100_000;
        let run = [
            "run",
            "--listen",
            "127.0.0.1:0",
            "--id",
            "web",
            "--queue",
            "64",
            "--lossless",
            "--history",
            "0",
        ];
        let script = ["--", "sh", "-c", "read go; exec seq 1 100000"];
        let pipe = [
            "pipe",
            "--listen",
            "127.0.0.1:0",
            "--id",
            "web",
            "--queue",
            "64",
            "--lossless=60",
        ];
        for arguments in [[&run[..], &script].concat(), pipe.to_vec()] {
            let (mut child, address) = start(&arguments);
            let mut viewer = Viewer::connect_with(&address, Some(8192)).await;
            viewer
                .subscribe(C, json!({"gaps": true, "batch": true}))
                .await;
            let mut account = Account::open(&mut viewer).await;
            let mut stdin = child.stdin.take().unwrap();
            let is_pipe = arguments[0] == "pipe";
            let writing = std::thread::spawn(move || {
                use std::io::Write;
                if is_pipe {
                    let lines: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
                    stdin.write_all(lines.as_bytes()).unwrap();
                } else {
                    stdin.write_all(b"go\n").unwrap();
                }
            });
            while account
                .lines
                .last()
                .is_none_or(|(_, line)| line != "exited")
            {
                let message = viewer.next().await;
                account.take(&message);
                if account.next % 5000 < 64 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            writing.join().unwrap();
            assert_eq!(account.skipped, 0);
            // It listens before it runs the command: this viewer may have seen that too.
            let lines = account
                .lines
                .iter()
                .map(|(_, line)| line.as_str())
                .skip_while(|line| *line == "running");
            let expected = (1..=LINES)
                .map(|n| n.to_string())
                .chain(["exited".to_owned()]);
            assert!(lines.eq(expected));
            assert!(child.wait().unwrap().success());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_never_reads_delays_the_process_by_the_bound() {
    bounded(async {
        let run = [
            "run",
            "--listen",
            "127.0.0.1:0",
            "--id",
            "web",
            "--queue",
            "64",
            "--lossless=1",
        ];
        // Far more than the sockets between hold.
        let script = ["--", "sh", "-c", "read go; exec seq 1 2000000"];
        let (mut child, address) = start(&[&run[..], &script].concat());
        let mut viewer = Viewer::connect_with(&address, Some(4096)).await;
        viewer.subscribe(C, json!({"gaps": true})).await;
        Account::open(&mut viewer).await;
        let begin = Instant::now();
        {
            use std::io::Write;
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        assert!(ended.await.unwrap().success());
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(1), "{took:?}");
        // The bound, the flush at the end (5 s) and the close (2 s), and the work on a busy machine.
        assert!(took < Duration::from_secs(30), "{took:?}");
        drop(viewer);
    })
    .await;
}
