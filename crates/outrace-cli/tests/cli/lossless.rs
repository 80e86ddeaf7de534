//! `--lossless`: every line reaches a slow reader, and a reader that never reads delays the process
//! by the bound.

use std::time::{Duration, Instant};

use outrace_testkit::{Account, JsonClient, bounded};
use serde_json::json;

use crate::program::Blocking;

const C: &str = "process:web";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_run_and_of_pipe_gets_every_line() {
    bounded(async {
        const LINES: u64 = 100_000;
        let run = [
            "run",
            "--id",
            "web",
            "--queue",
            "64",
            "--lossless",
            "--history",
            "0",
        ];
        let script = ["--", "sh", "-c", "read go; exec seq 1 100000"];
        let pipe = ["pipe", "--id", "web", "--queue", "64", "--lossless=60"];
        for arguments in [[&run[..], &script].concat(), pipe.to_vec()] {
            let mut program = Blocking::serving(&arguments);
            let mut client = JsonClient::connect_with(&program.url(), Some(8192)).await;
            client
                .subscribe(C, json!({"gaps": true, "batch": true}))
                .await;
            let mut account = Account::open(&mut client).await;
            let mut stdin = program.child.stdin.take().unwrap();
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
                let message = client.message().await;
                account.take(&message);
                if account.next % 5000 < 64 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            writing.join().unwrap();
            assert_eq!(account.skipped, 0);
            // The program listens before it runs the command, so the client may have seen `running`
            // too.
            let lines = account
                .lines
                .iter()
                .map(|(_, line)| line.as_str())
                .skip_while(|line| *line == "running");
            let expected = (1..=LINES)
                .map(|n| n.to_string())
                .chain(["exited".to_owned()]);
            assert!(lines.eq(expected));
            assert!(program.child.wait().unwrap().success());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_never_reads_delays_the_process_by_the_bound() {
    bounded(async {
        let run = ["run", "--id", "web", "--queue", "64", "--lossless=1"];
        // The output is far more than the sockets in between hold.
        let script = ["--", "sh", "-c", "read go; exec seq 1 2000000"];
        let mut program = Blocking::serving(&[&run[..], &script].concat());
        let mut client = JsonClient::connect_with(&program.url(), Some(4096)).await;
        client.subscribe(C, json!({"gaps": true})).await;
        Account::open(&mut client).await;
        let begin = Instant::now();
        {
            use std::io::Write;
            program
                .child
                .stdin
                .take()
                .unwrap()
                .write_all(b"go\n")
                .unwrap();
        }
        let ended = tokio::task::spawn_blocking(move || program.child.wait().unwrap());
        assert!(ended.await.unwrap().success());
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(1), "{took:?}");
        // The upper limit allows for the bound, the final flush (5 s), the close (2 s), and a busy
        // machine.
        assert!(took < Duration::from_secs(30), "{took:?}");
        drop(client);
    })
    .await;
}
