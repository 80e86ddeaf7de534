//! Processes that the library spawns, watched over real sockets.

use std::io::ErrorKind;
use std::time::Duration;

use outrace::process::{MAX_LINE_BYTES, Signal, Spawn, SpawnError};
use outrace::{Hub, Status};
use outrace_testkit::{JsonClient, bounded, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Returns a shell with a script.
fn sh(script: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", script])
        .stdin(std::process::Stdio::null());
    command
}

fn final_status(status: &str, code: i64) -> Vec<(String, i64)> {
    vec![("running".into(), 0), (status.into(), code)]
}

/// Returns a shell that runs `script` when its piped standard input has ended.
fn waits_for_end_of_input(script: &str) -> tokio::process::Command {
    let mut command = sh(&format!("cat > /dev/null; {script}"));
    command.stdin(std::process::Stdio::piped());
    command
}

/// Runs `script`. Returns the lines and statuses that a subscriber sees.
async fn watched(script: &str) -> (Vec<String>, Vec<(String, i64)>) {
    bounded(async {
        let hub = Hub::builder()
            .queue(100_000)
            .queue_bytes(64 << 20)
            .build()
            .unwrap();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let process = hub.spawn("it", sh(script)).unwrap();
        let seen = client.until_final_status().await;
        let report = process.wait().await;
        let (status, code) = seen.1.last().unwrap();
        assert_eq!(
            (report.status.as_str(), i64::from(report.code)),
            (status.as_str(), *code)
        );
        seen
    })
    .await
}

#[tokio::test]
async fn a_process_runs_writes_and_has_exited_in_that_order() {
    let (lines, statuses) = watched("echo one; echo two; exit 3").await;
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(statuses, final_status("exited", 3));
}

#[tokio::test]
async fn both_outputs_are_streamed_whole() {
    let (lines, _) = watched("for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done").await;
    for stream in ["out", "err"] {
        let of_it: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with(stream))
            .cloned()
            .collect();
        assert_eq!(
            of_it,
            (1..=5).map(|i| format!("{stream} {i}")).collect::<Vec<_>>()
        );
    }
    assert_eq!(lines.len(), 10);
}

#[tokio::test]
async fn the_last_line_needs_no_newline_and_carriage_returns_go_with_the_newline() {
    let (lines, statuses) = watched(r"printf 'a\r\n\nb\rc\nlast'").await;
    assert_eq!(lines, ["a", "", "b\rc", "last"]);
    assert_eq!(statuses, final_status("exited", 0));
}

#[tokio::test]
async fn a_line_of_a_megabyte_comes_in_pieces_with_nothing_lost() {
    let (lines, _) = watched("seq -w 1 150000 | tr -d '\\n'; echo; echo next").await;
    let expected: String = (1..=150_000).map(|i| format!("{i:06}")).collect();
    assert_eq!(lines.last().unwrap(), "next");
    let pieces = &lines[..lines.len() - 1];
    assert!(pieces.iter().all(|piece| piece.len() <= MAX_LINE_BYTES));
    assert_eq!(pieces.len(), expected.len().div_ceil(MAX_LINE_BYTES));
    assert!(
        pieces.concat() == expected,
        "the pieces do not make up the line"
    );
}

#[tokio::test]
async fn invalid_utf8_is_replaced() {
    let (lines, _) = watched(r"printf 'a\377b\n'").await;
    assert_eq!(lines, ["a\u{FFFD}b"]);
}

#[tokio::test]
async fn a_hundred_thousand_lines_arrive_in_order() {
    let (lines, _) = watched("seq 1 100000").await;
    assert!(
        lines
            .iter()
            .map(|line| line.parse::<u32>().unwrap())
            .eq(1..=100_000)
    );
}

#[tokio::test]
async fn a_process_that_a_signal_ends_has_crashed() {
    let (_, statuses) = watched("kill -9 $$").await;
    assert_eq!(statuses, final_status("crashed", 137));
}

#[tokio::test]
async fn lines_without_subscribers_are_counted() {
    bounded(async {
        let hub = Hub::new();
        let publisher = hub.publisher("process:it").unwrap();
        hub.spawn("it", sh("seq 1 100000; printf last"))
            .unwrap()
            .wait()
            .await;
        // A channel is listed while it has subscribers. The publisher has kept its numbering.
        let _client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let channels: Vec<_> = hub.channels().collect();
        assert_eq!(channels.len(), 1);
        // The lines and two statuses.
        assert_eq!(channels[0].published, 100_001 + 2);
        drop(publisher);
    })
    .await;
}

#[tokio::test]
async fn a_program_that_cannot_start_has_crashed_with_the_codes_of_a_shell() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let missing = hub
            .spawn("it", tokio::process::Command::new("/no/such/program"))
            .unwrap_err();
        assert!(matches!(missing, SpawnError::NotFound { .. }));
        assert_eq!(missing.code(), 127);
        assert_eq!(
            client.until_final_status().await,
            (vec![], vec![("crashed".into(), 127)])
        );

        let unfit = hub
            .spawn(
                "it",
                tokio::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            )
            .unwrap_err();
        assert!(matches!(unfit, SpawnError::NotExecutable { .. }));
        assert_eq!(unfit.code(), 126);
        assert_eq!(
            client.until_final_status().await,
            (vec![], vec![("crashed".into(), 126)])
        );

        let unnamed = hub.spawn("not an id", sh("true")).unwrap_err();
        assert!(matches!(unnamed, SpawnError::Name(_)));
    })
    .await;
}

#[tokio::test]
async fn a_descendant_that_holds_the_pipe_does_not_hold_up_the_report() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let process = hub.spawn("it", sh("sleep 3600 & echo $!; exit 4")).unwrap();
        let sleeper: i32 = client.line().await.parse().unwrap();
        let report = process.wait().await;
        assert_eq!((report.status, report.code), (Status::Exited, 4));
        let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
        rustix::process::kill_process(sleeper, rustix::process::Signal::KILL)
            .expect("it was left alone");
    })
    .await;
}

#[tokio::test]
async fn a_descendant_that_never_stops_writing_does_not_hold_up_the_report() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let process = hub
            .spawn(
                "it",
                sh("(while :; do echo more; sleep 0.02; done) & echo $!; exit 0"),
            )
            .unwrap();
        let mut writer = client.line().await;
        while writer == "more" {
            writer = client.line().await;
        }
        assert_eq!(process.wait().await.code, 0);
        let writer = rustix::process::Pid::from_raw(writer.parse().unwrap()).unwrap();
        rustix::process::kill_process(writer, rustix::process::Signal::KILL)
            .expect("it was left alone");
    })
    .await;
}

#[tokio::test]
async fn output_of_a_descendant_just_after_the_end_comes_before_the_final_status() {
    // `kill -0 $$` succeeds until the parent of the subshell has been reaped.
    let (lines, statuses) =
        watched("(while kill -0 $$ 2>/dev/null; do :; done; echo late) & echo early").await;
    assert_eq!(lines, ["early", "late"]);
    assert_eq!(statuses, final_status("exited", 0));
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let script = concat!(
            r#"sh -c 'trap "echo heard; exit" TERM; echo ready; "#,
            "while :; do sleep 0.05; done' & wait",
        );
        let process = hub.spawn("it", sh(script)).unwrap();
        client.until_line("ready").await;
        process.signal(Signal::Terminate).unwrap();
        let (lines, statuses) = client.until_final_status().await;
        assert!(lines.iter().any(|line| line == "heard"), "{lines:?}");
        assert_eq!(statuses, [("crashed".into(), 143)]);
        let late = process.signal(Signal::Terminate).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn stopping_asks_first_and_kills_after_the_grace() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let polite = hub
            .spawn(
                "it",
                sh("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"),
            )
            .unwrap();
        client.until_line("ready").await;
        assert_eq!(polite.stop(Duration::from_secs(3600)).await.code, 5);

        let stubborn = hub
            .spawn(
                "it",
                sh("trap '' TERM; echo ready; while :; do sleep 0.05; done"),
            )
            .unwrap();
        client.until_line("ready").await;
        let report = stubborn.stop(Duration::from_millis(100)).await;
        assert_eq!((&report.status, report.code), (&Status::Crashed, 137));
        assert_eq!(
            stubborn.stop(Duration::ZERO).await,
            report,
            "stopping what has ended"
        );
    })
    .await;
}

#[tokio::test]
async fn dropping_the_handle_kills_only_when_asked_to() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let mut process = hub
            .spawn("it", waits_for_end_of_input("echo still here"))
            .unwrap();
        let stdin = process.take_stdin();
        drop(process);
        drop(stdin);
        let (lines, statuses) = client.until_final_status().await;
        assert_eq!(lines, ["still here"]);
        assert_eq!(statuses, final_status("exited", 0));

        drop(
            Spawn::new("it", sh("sleep 3600"))
                .unwrap()
                .kill_on_drop(true)
                .start(&hub)
                .unwrap(),
        );
        assert_eq!(
            client.until_final_status().await.1,
            final_status("crashed", 137)
        );
    })
    .await;
}

#[tokio::test]
async fn waiting_can_be_dropped_and_shared() {
    bounded(async {
        let hub = Hub::new();
        let mut process = hub.spawn("it", waits_for_end_of_input("exit 9")).unwrap();
        let stdin = process.take_stdin();
        assert_eq!(process.report(), None);
        assert!(
            tokio::time::timeout(Duration::from_millis(1), process.wait())
                .await
                .is_err()
        );
        drop(stdin);
        let (one, other) = tokio::join!(process.wait(), process.wait());
        assert_eq!(one.code, 9);
        assert_eq!(one, other);
        assert_eq!(process.report(), Some(one));
    })
    .await;
}

#[tokio::test]
async fn the_standard_input_of_a_process_can_be_written_until_it_is_dropped() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let mut command = tokio::process::Command::new("cat");
        command.stdin(std::process::Stdio::piped());
        let mut cat = hub.spawn("it", command).unwrap();
        let mut stdin = cat.take_stdin().expect("it is piped");
        assert!(cat.take_stdin().is_none());
        stdin.write_all(b"there and back\n").await.unwrap();
        assert_eq!(client.line().await, "there and back");
        drop(stdin);
        assert_eq!(client.until_final_status().await.1, [("exited".into(), 0)]);
    })
    .await;
}

#[tokio::test]
async fn a_tee_passes_every_byte_through() {
    bounded(async {
        let hub = Hub::builder().queue(10_000).build().unwrap();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        // The pipes are smaller than the output: the process waits for the slow sink, and no byte
        // is lost.
        let (out, mut passed) = tokio::io::duplex(64);
        let (err, mut passed_err) = tokio::io::duplex(64);
        let script = r"seq 1 500; printf '\377 no newline'; echo oops >&2";
        let process = Spawn::new("it", sh(script))
            .unwrap()
            .tee(out, err)
            .start(&hub)
            .unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (_, _, report) = tokio::join!(
            passed.read_to_end(&mut stdout),
            passed_err.read_to_end(&mut stderr),
            process.wait(),
        );
        let mut expected: Vec<u8> = (1..=500)
            .flat_map(|i| format!("{i}\n").into_bytes())
            .collect();
        expected.extend(b"\xff no newline");
        assert_eq!(stdout, expected);
        assert_eq!(stderr, b"oops\n");
        assert_eq!(report.code, 0);
        assert_eq!(client.until_final_status().await.0.len(), 502);
    })
    .await;
}

#[tokio::test]
async fn a_tee_that_fails_does_not_end_the_streaming() {
    bounded(async {
        let hub = Hub::builder().queue(10_000).build().unwrap();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let (out, gone) = tokio::io::duplex(64);
        drop(gone);
        let spawn = Spawn::new("it", sh("seq 1 5000"))
            .unwrap()
            .tee(out, tokio::io::sink());
        let process = spawn.start(&hub).unwrap();
        let (lines, statuses) = client.until_final_status().await;
        assert_eq!(lines.len(), 5000);
        assert_eq!(statuses, final_status("exited", 0));
        assert_eq!(process.id().as_str(), "it");
    })
    .await;
}
