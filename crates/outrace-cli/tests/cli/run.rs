//! `outrace run`, watched over real sockets.

use std::time::{Duration, Instant};

use outrace_testkit::{JsonClient, bounded};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::program::{Outrace, in_terminal, not_executable, outrace, run};

/// Returns the arguments of a run that ends by itself, with no client.
fn quiet<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [
        &["run", "--quiet", "--listen", "127.0.0.1:0", "--"],
        command,
    ]
    .concat()
}

/// Asserts that the program printed one sentence that contains all of `parts`, and ended with the
/// code `expected`.
fn one_sentence((code, _, stderr): &(Option<i32>, String, String), expected: i32, parts: &[&str]) {
    assert_eq!(*code, Some(expected), "{stderr}");
    assert_eq!(
        stderr.lines().count(),
        1,
        "more than one sentence: {stderr}"
    );
    assert!(stderr.starts_with("outrace: "), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

#[tokio::test]
async fn the_main_job_from_the_command_to_the_watcher() {
    bounded(async {
        let script = r"read go; echo one; echo two >&2; printf 'a\377b\n'; printf last; exit 7";
        let mut server = Outrace::serving(&["run", "--id", "web", "--", "sh", "-c", script]).await;
        let mut client = JsonClient::subscribed(&server.url, "process:web").await;
        // The statistics of the hub show when the watcher is subscribed.
        let mut watcher = Outrace::start(&["watch", "--no-retry", &server.url, "process:web"]);
        subscribers(&server.url, 2).await;
        server.say("go\n").await;

        let (lines, status) = client.final_status().await;
        assert_eq!(lines.len(), 4);
        for line in ["one", "two", "a\u{FFFD}b", "last"] {
            assert!(
                lines.iter().any(|seen| seen == line),
                "{line} is not in {lines:?}"
            );
        }
        assert_eq!(status, ("exited".into(), 7));
        assert_eq!(
            client.message_or_end().await,
            None,
            "the status is the last message, and then the server closes"
        );

        assert_eq!(server.code().await, Some(7));
        assert_eq!(
            server.output().await,
            b"one\na\xffb\nlast",
            "passed through byte for byte"
        );
        assert_eq!(server.complaint().await, "two");

        assert_eq!(watcher.code().await, Some(0), "an orderly end");
        let mut printed: Vec<_> = String::from_utf8(watcher.output().await)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        printed.sort_unstable();
        let mut expected = lines;
        expected.sort_unstable();
        assert_eq!(printed, expected);
        let mut said = watcher.complaint().await;
        if said.ends_with("running") {
            said = watcher.complaint().await;
        }
        assert_eq!(said, "outrace: process:web exited with code 7");
    })
    .await;
}

/// Waits until `process:web` has `number` subscribers.
async fn subscribers(url: &str, number: usize) {
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    let request =
        format!("GET /api/stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let expected = format!("\"subscribers\":{number}");
    loop {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        if reply.contains(&expected) {
            return;
        }
    }
}

#[tokio::test]
async fn the_exit_code_is_the_commands() {
    bounded(async {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("exit 255", 255),
            ("kill -TERM $$", 143),
        ] {
            let (ended, ..) = run(&quiet(&["sh", "-c", script])).await;
            assert_eq!(ended, Some(code), "{script}");
        }
    })
    .await;
}

#[tokio::test]
async fn quiet_prints_only_the_output_of_the_command() {
    bounded(async {
        let (_, stdout, stderr) = run(&quiet(&["sh", "-c", "echo out; echo err >&2"])).await;
        assert_eq!((stdout.as_str(), stderr.as_str()), ("out\n", "err\n"));
    })
    .await;
}

#[tokio::test]
async fn a_command_that_cannot_start_gives_one_sentence_and_the_shells_code() {
    bounded(async {
        one_sentence(
            &run(&quiet(&["/no/such/program"])).await,
            127,
            &["/no/such/program", "not found"],
        );
        let unfit = not_executable();
        one_sentence(&run(&quiet(&[unfit])).await, 126, &[unfit, "cannot be run"]);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_command_line_gives_one_sentence_and_code_2() {
    bounded(async {
        one_sentence(
            &run(&["run", "--id", "not an id", "--", "true"]).await,
            2,
            &["not an id", "process id"],
        );
        one_sentence(&run(&["run"]).await, 2, &["CMD"]);
        one_sentence(
            &run(&["run", "--no-such", "--", "true"]).await,
            2,
            &["--no-such"],
        );
        one_sentence(
            &run(&["run", "--queue", "0", "--", "true"]).await,
            2,
            &["--queue is 0"],
        );
        one_sentence(
            &run(&["run", "--max-flush-interval", "10", "--", "true"]).await,
            2,
            &["10ms"],
        );
        one_sentence(
            &run(&["run", "--listen", "7223", "--", "true"]).await,
            2,
            &["HOST:PORT"],
        );
        one_sentence(
            &run(&["run", "--log", "=x=", "--", "true"]).await,
            2,
            &["--log"],
        );
        one_sentence(&run(&["no-such"]).await, 2, &["no-such"]);
        one_sentence(&run(&["pipe"]).await, 2, &["--id"]);
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_gives_one_sentence_with_advice_and_the_command_does_not_start() {
    bounded(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let ended = run(&["run", "--listen", &address, "--", "echo", "started"]).await;
        one_sentence(&ended, 1, &[&address, "in use", "--listen"]);
        assert_eq!(ended.1, "");
    })
    .await;
}

/// Starts the command, and waits until it has set its traps.
async fn until_ready(server: &mut Outrace) {
    server.say("go\n").await;
    let mut ready = String::new();
    server.stdout.read_line(&mut ready).await.unwrap();
    assert_eq!(ready, "ready\n");
}

#[tokio::test]
async fn signals_go_to_the_command_whose_end_is_awaited() {
    bounded(async {
        for (signal, name, code) in [(Signal::TERM, "TERM", 3), (Signal::INT, "INT", 4)] {
            let script = format!(
                "trap 'echo bye; exit {code}' {name}; read go; echo ready; while :; do sleep 0.05; done"
            );
            let mut server =
                Outrace::serving(&["run", "--id", "it", "--grace", "1m", "--", "sh", "-c", &script]).await;
            let mut client = JsonClient::subscribed(&server.url, "process:it").await;
            until_ready(&mut server).await;
            server.signal(signal);
            client.until_line("bye").await;
            assert_eq!(client.final_status().await.1, ("exited".into(), i64::from(code)));
            assert_eq!(server.code().await, Some(code));
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_end_within_the_grace_is_killed_with_its_group() {
    bounded(async {
        let script =
            "trap '' TERM; sleep 3600 & read go; echo ready; wait; while :; do sleep 0.05; done";
        let mut server = Outrace::serving(&[
            "run", "--id", "it", "--grace", "100ms", "--", "sh", "-c", script,
        ])
        .await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        until_ready(&mut server).await;
        server.signal(Signal::TERM);
        assert_eq!(client.final_status().await.1, ("crashed".into(), 137));
        assert_eq!(server.code().await, Some(137));
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_kills_at_once() {
    bounded(async {
        let script = "trap 'echo heard' TERM; read go; echo ready; while :; do sleep 0.05; done";
        let mut server = Outrace::serving(&[
            "run", "--id", "it", "--grace", "60m", "--", "sh", "-c", script,
        ])
        .await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        until_ready(&mut server).await;
        server.signal(Signal::TERM);
        client.until_line("heard").await;
        drop(client);
        server.signal(Signal::TERM);
        assert_eq!(server.code().await, Some(137));
    })
    .await;
}

#[tokio::test]
async fn a_descendant_that_holds_the_output_open_does_not_hold_up_the_exit() {
    bounded(async {
        let begin = Instant::now();
        let (code, stdout, _) = run(&quiet(&["sh", "-c", "sleep 30 & echo started; exit 6"])).await;
        assert_eq!((code, stdout.as_str()), (Some(6), "started\n"));
        assert!(
            begin.elapsed() < Duration::from_secs(25),
            "it waited for the sleeper"
        );
    })
    .await;
}

#[tokio::test]
async fn with_stay_it_serves_on_and_a_signal_ends_it_with_the_commands_code() {
    bounded(async {
        let mut server =
            Outrace::serving(&["run", "--stay", "--id", "it", "--", "sh", "-c", "exit 5"]).await;
        assert!(
            server
                .complaint()
                .await
                .contains("exited with code 5, still serving")
        );
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.signal(Signal::INT);
        assert_eq!(client.message_or_end().await, None);
        assert_eq!(server.code().await, Some(5));
    })
    .await;
}

#[tokio::test]
async fn a_command_reads_the_terminal_and_gets_its_ctrl_c_once() {
    bounded(async {
        // `script` provides the terminal. The command reads a line, and then counts the signals of
        // Ctrl-C.
        let command = "n=0; trap 'n=$((n+1)); echo caught $n' INT; read line; echo got $line; \
                       while [ $n = 0 ]; do sleep 0.05; done; sleep 0.3; exit $((40+n))";
        let quoted = command.replace('\'', r"'\''");
        let (mut terminal, mut keyboard, mut screen) = in_terminal(&format!(
            "run --quiet --grace 1m --listen 127.0.0.1:0 -- sh -c '{quoted}'"
        ));
        keyboard.write_all(b"hello\n").await.unwrap();
        while screen
            .next_line()
            .await
            .unwrap()
            .expect("the command's line")
            != "got hello"
        {}
        keyboard.write_all(b"\x03").await.unwrap();
        assert_eq!(terminal.wait().await.unwrap().code(), Some(41));
    })
    .await;
}

#[tokio::test]
async fn help_and_version_are_no_failures() {
    bounded(async {
        for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
            let output = outrace(arguments).output().await.unwrap();
            assert_eq!(output.status.code(), Some(0));
            assert!(!output.stdout.is_empty());
        }
    })
    .await;
}
