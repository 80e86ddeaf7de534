//! The two streams of a process: in one pipe, in two, and in a pseudo-terminal.

use std::process::Stdio;

use outrace::Hub;
use outrace::process::{
    OutputMode, Program, Pty, Signal, Spawn, Supervised, Supervisor, WindowSize,
};
use outrace_testkit::{JsonClient, bounded, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const IN_TURNS: &str = "echo 1; echo 2 >&2; echo 3; echo 4 >&2";

/// Returns a shell with a script and an empty standard input.
fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

fn pty(columns: u16, rows: u16) -> Pty {
    Pty::new(WindowSize { columns, rows })
}

/// Runs `script` as `mode` says. Returns its lines and its exit code.
async fn lines_of(script: &str, mode: OutputMode) -> (Vec<String>, i64) {
    let hub = Hub::builder().queue(10_000).build().unwrap();
    let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
    let spawn = Spawn::new("it", sh(script)).unwrap();
    spawn.output(mode).start(&hub).unwrap();
    let (lines, (status, code)) = client.final_status().await;
    assert!(["exited", "crashed"].contains(&status.as_str()));
    (lines, code)
}

#[tokio::test]
async fn both_streams_arrive_in_the_order_in_which_they_were_written() {
    bounded(async {
        for mode in [
            OutputMode::Auto,
            OutputMode::Merged,
            OutputMode::Pty(pty(80, 24)),
        ] {
            for _ in 0..20 {
                let (lines, _) = lines_of(IN_TURNS, mode.clone()).await;
                assert_eq!(lines, ["1", "2", "3", "4"], "{mode:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_flood_on_both_streams_keeps_its_order() {
    bounded(async {
        let script =
            "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done";
        let (lines, _) = lines_of(script, OutputMode::Merged).await;
        let expected: Vec<_> = (0..2000).map(|i| i.to_string()).collect();
        assert_eq!(lines, expected);
    })
    .await;
}

#[tokio::test]
async fn a_tee_to_two_sinks_keeps_the_streams_apart_and_a_merged_one_goes_to_the_first() {
    bounded(async {
        let hub = Hub::new();
        for (mode, expected) in [
            (OutputMode::Auto, ["1\n3\n", "2\n4\n"]),
            (OutputMode::Split, ["1\n3\n", "2\n4\n"]),
            (OutputMode::Merged, ["1\n2\n3\n4\n", ""]),
            (OutputMode::Pty(pty(80, 24)), ["1\n2\n3\n4\n", ""]),
        ] {
            let (out, mut passed) = tokio::io::duplex(64);
            let (err, mut passed_err) = tokio::io::duplex(64);
            let spawn = Spawn::new("it", sh(IN_TURNS)).unwrap();
            let process = spawn
                .tee(out, err)
                .output(mode.clone())
                .start(&hub)
                .unwrap();
            let (mut stdout, mut stderr) = (String::new(), String::new());
            let (_, _, report) = tokio::join!(
                passed.read_to_string(&mut stdout),
                passed_err.read_to_string(&mut stderr),
                process.wait(),
            );
            assert_eq!([stdout, stderr], expected, "{mode:?}");
            assert_eq!(report.code, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_pseudo_terminal_is_one_for_the_process_with_the_size_that_was_given() {
    bounded(async {
        let script = "test -t 1 && echo out; test -t 2 && echo err; test -t 0 || echo no in; \
                      stty size < /dev/tty; exit 3";
        let (lines, code) = lines_of(script, OutputMode::Pty(pty(100, 30))).await;
        assert_eq!(lines, ["out", "err", "no in", "30 100"]);
        assert_eq!(code, 3);
        let default = OutputMode::Pty(Pty::new(WindowSize::default()));
        let (lines, _) = lines_of("stty size < /dev/tty; printf last", default).await;
        assert_eq!(lines, ["40 120", "last"]);
    })
    .await;
}

#[tokio::test]
async fn a_process_in_a_pseudo_terminal_is_told_of_a_new_size() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let terminal = pty(80, 24);
        let script =
            "trap 'stty size < /dev/tty; exit' WINCH; echo ready; while :; do sleep 0.02; done";
        let process = Spawn::new("it", sh(script))
            .unwrap()
            .output(OutputMode::Pty(terminal.clone()))
            .start(&hub)
            .unwrap();
        client.until_line("ready").await;
        terminal.resize(WindowSize {
            columns: 133,
            rows: 50,
        });
        assert_eq!(client.line().await, "50 133");
        assert_eq!(process.wait().await.code, 0);
        assert_eq!(terminal.size().columns, 133);
    })
    .await;
}

#[tokio::test]
async fn what_is_typed_reaches_the_process_and_ctrl_c_its_group() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let mut command = Command::new("sh");
        command.args([
            "-c",
            // `noflsh`: else the system may discard what the trap writes with what Ctrl-C discards.
            "stty -echo noflsh; echo ready; read line; echo got $line; \
             trap 'echo caught; exit 4' INT; echo set; while :; do sleep 0.02; done",
        ]);
        let mut process = Spawn::new("it", command)
            .unwrap()
            .output(OutputMode::Pty(pty(80, 24).with_stdin()))
            .start(&hub)
            .unwrap();
        let mut keyboard = process.take_pty_input().expect("the terminal is its input");
        assert!(process.take_pty_input().is_none());
        client.until_line("ready").await;
        keyboard.write_all(b"hello\n").await.unwrap();
        client.until_line("got hello").await;
        client.until_line("set").await;
        keyboard.write_all(b"\x03").await.unwrap();
        client.until_line("caught").await;
        assert_eq!(process.wait().await.code, 4);
    })
    .await;
}

#[tokio::test]
async fn the_output_of_a_pseudo_terminal_is_read_to_its_end() {
    bounded(async {
        let script = "seq 1 5000; echo end >&2; printf 'no newline'";
        let (lines, code) = lines_of(script, OutputMode::Pty(pty(80, 24))).await;
        assert_eq!(lines.len(), 5002);
        assert!(
            lines[..5000]
                .iter()
                .map(|line| line.parse::<u32>().unwrap())
                .eq(1..=5000)
        );
        assert_eq!(lines[5000..], ["end", "no newline"]);
        assert_eq!(code, 0);
    })
    .await;
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group_in_a_pseudo_terminal() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let script = "trap 'wait; echo outer; exit 3' TERM; \
                      (trap 'echo inner; exit' TERM; echo ready; while :; do sleep 0.02; done) & \
                      while :; do sleep 0.02; done";
        let process = Spawn::new("it", sh(script))
            .unwrap()
            .output(OutputMode::Pty(pty(80, 24)))
            // The process leads its session all the same.
            .own_group(false)
            .start(&hub)
            .unwrap();
        client.until_line("ready").await;
        process.signal(Signal::Terminate).unwrap();
        client.until_line("inner").await;
        client.until_line("outer").await;
        assert_eq!(process.wait().await.code, 3);
    })
    .await;
}

#[tokio::test]
async fn each_run_of_a_supervised_process_has_a_pseudo_terminal() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let program = Program::shell("test -t 1 && stty size < /dev/tty; exec sleep 3600");
        let terminal = pty(90, 20);
        let it = Supervised::new("it", program)
            .unwrap()
            .output(OutputMode::Pty(terminal.clone()));
        let supervisor = Supervisor::builder().process(it).start(&hub).unwrap();
        assert_eq!(client.line().await, "20 90");
        terminal.resize(WindowSize {
            columns: 91,
            rows: 21,
        });
        supervisor.control().restart("it").await.unwrap();
        assert_eq!(client.line().await, "21 91");
        supervisor.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_program_writes_to_a_pseudo_terminal_at_once() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        // `grep` collects its output for a pipe until its input ends, which here it never does.
        let mut process = Spawn::new("it", {
            let mut grep = Command::new("grep");
            grep.arg("line").stdin(Stdio::piped());
            grep
        })
        .unwrap()
        .output(OutputMode::Pty(pty(80, 24)))
        .start(&hub)
        .unwrap();
        let mut stdin = process.take_stdin().expect("it is piped");
        for line in ["line 1", "line 2"] {
            stdin
                .write_all(format!("{line}\n").as_bytes())
                .await
                .unwrap();
            assert_eq!(client.line().await, line);
        }
        drop(stdin);
        assert_eq!(process.wait().await.code, 0);
    })
    .await;
}

#[tokio::test]
async fn the_terminal_type_is_set_where_nothing_says_one() {
    bounded(async {
        for (term, expected) in [(None, "xterm-256color"), (Some("dumb"), "dumb")] {
            let hub = Hub::new();
            let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
            let mut command = sh("echo $TERM");
            match term {
                Some(term) => command.env("TERM", term),
                None => command.env_remove("TERM"),
            };
            Spawn::new("it", command)
                .unwrap()
                .output(OutputMode::Pty(pty(80, 24)))
                .start(&hub)
                .unwrap();
            assert_eq!(client.line().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_that_cannot_start_in_a_pseudo_terminal_has_the_code_of_a_shell() {
    bounded(async {
        let error = Spawn::new("it", Command::new("/no/such/program"))
            .unwrap()
            .output(OutputMode::Pty(pty(80, 24)))
            .start(&Hub::new())
            .unwrap_err();
        assert_eq!(error.code(), 127);
    })
    .await;
}
