//! `outrace run`: the order of both streams, terminals for the processes, and terminals to run in.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use outrace_testkit::{JsonClient, Scratch, Terminal, bounded, eventually};
use rustix::process::Signal;
use serde_json::json;

use crate::program::{Outrace, PATH, outrace, run};

const IN_TURNS: &str = "echo 1; echo 2 >&2; echo 3; echo 4 >&2";

/// Returns the arguments of a quiet run, with these options and behind them a command or commands.
fn run_with<'a>(options: &[&'a str], commands: &[&'a str]) -> Vec<&'a str> {
    [
        &["run", "--quiet", "--listen", "127.0.0.1:0"],
        options,
        commands,
    ]
    .concat()
}

/// Starts the program in a terminal of 100 x 30.
fn in_terminal(options: &[&str], commands: &[&str]) -> Terminal {
    let arguments = run_with(options, commands);
    Terminal::start(100, 30, &[&[PATH], &arguments[..]].concat())
}

#[tokio::test]
async fn in_a_terminal_both_streams_keep_their_order() {
    bounded(async {
        for commands in [
            &["--", "sh", "-c", IN_TURNS][..],
            &["a=echo 1; echo 2 >&2; echo 3; echo 4 >&2"],
        ] {
            for _ in 0..5 {
                let mut terminal = in_terminal(&[], commands);
                assert!(terminal.ended().await.success());
                let shown = terminal.shown();
                let digits: String = shown
                    .lines()
                    .filter_map(|line| line.trim_end().chars().last())
                    .filter(char::is_ascii_digit)
                    .collect();
                assert_eq!(digits, "1234", "{shown:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn into_one_file_both_streams_keep_their_order() {
    bounded(async {
        let scratch = Scratch::new();
        let path = scratch.path("both");
        let file = std::fs::File::create(&path).unwrap();
        let status = outrace(&run_with(&[], &["--", "sh", "-c", IN_TURNS]))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status()
            .await
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1\n2\n3\n4\n");
    })
    .await;
}

#[tokio::test]
async fn standard_error_into_a_file_works_as_without_outrace() {
    bounded(async {
        let scratch = Scratch::new();
        let path = scratch.path("errors");
        for commands in [
            &["--", "sh", "-c", IN_TURNS][..],
            &["a=echo 1; echo 2 >&2; echo 3; echo 4 >&2"],
        ] {
            let output = outrace(&run_with(&[], commands))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(std::fs::File::create(&path).unwrap())
                .spawn()
                .unwrap()
                .wait_with_output()
                .await
                .unwrap();
            let digits = |text: &str| text.lines().filter_map(|l| l.chars().last()).collect();
            let (out, err): (String, String) = (
                digits(std::str::from_utf8(&output.stdout).unwrap()),
                digits(&std::fs::read_to_string(&path).unwrap()),
            );
            assert_eq!((out.as_str(), err.as_str()), ("13", "24"));
        }
    })
    .await;
}

#[tokio::test]
async fn merge_keeps_the_order_and_split_the_streams_whatever_the_destination() {
    bounded(async {
        let script = ["--", "sh", "-c", IN_TURNS];
        for _ in 0..5 {
            let (code, out, err) = run(&run_with(&["--merge"], &script)).await;
            assert_eq!(
                (code, out.as_str(), err.as_str()),
                (Some(0), "1\n2\n3\n4\n", "")
            );
        }
        let (code, out, err) = run(&run_with(&["--split"], &script)).await;
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (Some(0), "1\n3\n", "2\n4\n")
        );
    })
    .await;
}

#[tokio::test]
async fn only_one_way_to_connect_the_output_can_be_chosen() {
    bounded(async {
        for options in [
            ["--pty", "--split"],
            ["--pty", "--merge"],
            ["--split", "--merge"],
        ] {
            let (code, _, err) = run(&run_with(&options, &["--", "true"])).await;
            assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_watcher_sees_the_order_of_a_merged_process() {
    bounded(async {
        let script = format!("read go; {IN_TURNS}");
        let arguments = ["run", "--merge", "--id", "it", "--", "sh", "-c", &script];
        let mut server = Outrace::serving(&arguments).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.say("go\n").await;
        assert_eq!(client.final_status().await.0, ["1", "2", "3", "4"]);
    })
    .await;
}

#[tokio::test]
async fn with_split_a_watcher_is_told_which_lines_came_from_standard_error() {
    bounded(async {
        let script = format!("read go; {IN_TURNS}");
        let arguments = ["run", "--split", "--id", "it", "--", "sh", "-c", &script];
        let mut server = Outrace::serving(&arguments).await;
        let mut client = JsonClient::connect(&server.url).await;
        client
            .subscribe("process:it", json!({"detail": true}))
            .await;
        server.say("go\n").await;
        let mut lines = Vec::new();
        while lines.len() < 4 {
            let message = client.message().await;
            if message["type"] == "process_output" {
                let line = message["data"].as_str().unwrap().to_owned();
                lines.push((line, message["stream"] == "stderr"));
            }
        }
        lines.sort_unstable();
        let of = |line: &str, is_error| (line.to_owned(), is_error);
        let expected = [of("1", false), of("2", true), of("3", false), of("4", true)];
        assert_eq!(lines, expected);
    })
    .await;
}

#[tokio::test]
async fn a_prompt_is_shown_to_watchers_of_one_command_of_several_and_of_a_pipe() {
    bounded(async {
        let ask = "it=printf 'Password: '; exec sleep 3600";
        for arguments in [
            &[
                "run",
                "--id",
                "it",
                "--",
                "sh",
                "-c",
                "printf 'Password: '; cat",
            ][..],
            &[
                "run",
                "--pty",
                "--id",
                "it",
                "--",
                "sh",
                "-c",
                "printf 'Password: '; cat",
            ],
            &["run", ask],
            &["pipe", "--id", "it"],
        ] {
            let mut server = Outrace::serving(arguments).await;
            let mut client = JsonClient::connect(&server.url).await;
            client
                .subscribe("process:it", json!({"partial": true}))
                .await;
            if arguments[0] == "pipe" {
                server.say("Password: ").await;
            }
            loop {
                let message = client.message().await;
                if message["type"] == "process_partial" {
                    assert_eq!(message["data"], "Password: ", "{arguments:?}");
                    break;
                }
            }
            server.signal(Signal::TERM);
            server.child.wait().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_terminal_those_of_the_processes_have_120_columns_and_40_rows() {
    bounded(async {
        let script = "test -t 1 && test -t 2 && stty size < /dev/tty";
        let (code, out, err) = run(&run_with(&["--pty"], &["--", "sh", "-c", script])).await;
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (Some(0), "40 120\n", "")
        );
        let several = format!("a={script}");
        let (code, out, err) = run(&run_with(&["--pty"], &[&several])).await;
        assert_eq!((code, out.as_str()), (Some(0), "a | 40 120\n"), "{err}");
    })
    .await;
}

#[tokio::test]
async fn the_processes_terminals_have_the_size_of_the_terminal_and_follow_it() {
    bounded(async {
        let script = "trap 'stty size < /dev/tty; exit' WINCH; stty size < /dev/tty; echo ready; \
                      while :; do sleep 0.02; done";
        let several = format!("a={script}");
        for commands in [&["--", "sh", "-c", script][..], &[&several]] {
            let mut terminal = in_terminal(&["--pty"], commands);
            terminal.until_shown("30 100").await;
            terminal.until_shown("ready").await;
            terminal.resize(133, 50);
            assert!(terminal.ended().await.success());
            assert!(terminal.shown().contains("50 133"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_in_a_terminal_of_its_own_gets_the_keys_and_the_mode_comes_back() {
    bounded(async {
        // `noflsh`: else the system may discard what the trap writes with what Ctrl-C discards.
        let script = "test -t 0 && echo reads; stty -echo noflsh; echo ready; read line; \
                      echo got $line; trap 'echo caught; exit 4' INT; echo set; \
                      while :; do sleep 0.02; done";
        let mut terminal = in_terminal(&["--pty"], &["--", "sh", "-c", script]);
        terminal.until_shown("reads").await;
        terminal.until_shown("ready").await;
        eventually(|| !terminal.echoes()).await;
        terminal.type_text("secret\r");
        terminal.until_shown("got secret").await;
        assert_eq!(terminal.shown().matches("secret").count(), 1, "no echo");
        terminal.until_shown("set").await;
        terminal.type_text("\x03");
        assert_eq!(terminal.ended().await.code(), Some(4));
        assert!(terminal.shown().contains("caught"));
        assert!(terminal.echoes(), "the mode is as before");
    })
    .await;
}

#[tokio::test]
async fn each_run_in_a_terminal_of_its_own_gets_the_keys_until_ctrl_c() {
    bounded(async {
        let script = "test -t 0 && echo reads; read line; echo got $line; read more; exit 3";
        let named = format!("it={script}");
        for (options, commands) in [
            (&["--control"][..], &["--", "sh", "-c", script][..]),
            (&["--stdin", "it"], &[&named, "other=sleep 1000"]),
        ] {
            let options = [
                &["--pty", "--restart", "always", "--restart-delay", "1ms"],
                options,
            ]
            .concat();
            let mut terminal = in_terminal(&options, commands);
            for run in 1..=2 {
                let count = |text: &str| terminal.shown().matches(text).count();
                eventually(|| count("reads") == run).await;
                let key = format!("key {run}\r");
                terminal.type_text(&key);
                terminal.until_shown(&format!("got key {run}")).await;
                if run == 1 {
                    terminal.type_text("end\r");
                }
            }
            terminal.type_text("\x03");
            let ended = terminal.ended().await;
            assert_eq!(ended.signal(), Some(Signal::INT.as_raw()), "{commands:?}");
            assert!(terminal.echoes(), "the mode is as before");
        }
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_to_a_command_in_a_terminal_of_its_own_ends_the_loop_around_it() {
    bounded(async {
        for options in ["--pty", "--pty --restart always"] {
            let script = format!(
                "for i in 1 2 3; do echo round $i; {PATH} run --quiet --listen 127.0.0.1:0 \
                 {options} -- sh -c 'echo ready; exec sleep 1000'; done; echo on"
            );
            let mut terminal = Terminal::start(80, 24, &["bash", "-c", &script]);
            terminal.until_shown("ready").await;
            eventually(|| !terminal.echoes()).await;
            terminal.type_text("\x03");
            let ended = terminal.ended().await.signal();
            assert_eq!(ended, Some(Signal::INT.as_raw()), "{options}");
            assert!(!terminal.shown().contains("round 2"), "{options}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_command_in_a_terminal_of_its_own_ignores_none_of_that_terminals_signals() {
    bounded(async {
        let script = format!(
            "trap '' INT QUIT TSTP TTIN TTOU; exec {PATH} run --quiet --listen 127.0.0.1:0 --pty \
             -- grep SigIgn: /proc/self/status"
        );
        let output = tokio::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .await
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let (_, ignored) = shown.trim().split_once('\t').unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        let ignores = |signal: &Signal| ignored >> (signal.as_raw() - 1) & 1 == 1;
        let of_terminal = [
            Signal::INT,
            Signal::QUIT,
            Signal::TSTP,
            Signal::TTIN,
            Signal::TTOU,
        ];
        assert!(!of_terminal.iter().any(ignores), "{shown}");
    })
    .await;
}

#[tokio::test]
async fn a_signal_to_outrace_reaches_a_command_in_a_terminal_and_the_mode_comes_back() {
    bounded(async {
        let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.02; done";
        let mut terminal = in_terminal(&["--pty"], &["--", "sh", "-c", script]);
        terminal.until_shown("ready").await;
        eventually(|| !terminal.echoes()).await;
        let pid = terminal.child.id().unwrap().cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(terminal.ended().await.code(), Some(5));
        assert!(terminal.echoes(), "the mode is as before");
    })
    .await;
}

#[tokio::test]
async fn a_line_of_a_python_script_reaches_watchers_at_once_with_pty() {
    bounded(async {
        let scratch = Scratch::new();
        // It writes a line, as one does each 0.7 s, and goes on when the line was seen.
        let script = scratch.file(
            "w.py",
            "for i in range(3):\n    print('line', i)\n    input()\n",
        );
        let arguments = ["run", "--pty", "--id", "w", "--", "python3", &script];
        let mut server = Outrace::serving(&arguments).await;
        let mut client = JsonClient::subscribed(&server.url, "process:w").await;
        // The first line may have come before the subscription.
        server.say("go\n").await;
        for line in ["line 1", "line 2"] {
            client.until_line(line).await;
            server.say("go\n").await;
        }
        assert_eq!(client.final_status().await.1, ("exited".into(), 0));
    })
    .await;
}

#[tokio::test]
async fn a_command_asks_its_controlling_terminal_and_gets_the_answer() {
    bounded(async {
        let script = "printf 'Password: ' > /dev/tty; read it < /dev/tty; echo got $it";
        let mut terminal = in_terminal(&["--pty"], &["--", "sh", "-c", script]);
        terminal.until_shown("Password: ").await;
        terminal.type_text("x\r");
        terminal.until_shown("got x").await;
        assert!(terminal.ended().await.success());
    })
    .await;
}

#[tokio::test]
async fn in_the_background_of_a_terminal_a_command_with_pty_runs_and_reads_no_key() {
    bounded(async {
        let run = run_with(&["--pty"], &["--", "sh", "-c", "'test -t 0 && echo runs'"]).join(" ");
        // `-m`: the job has a process group of its own, which is not in the foreground.
        let script = format!("{PATH} {run} & wait $!; echo ended $?; read key; echo got $key");
        let mut terminal = Terminal::start(80, 24, &["sh", "-mc", &script]);
        terminal.until_shown("runs\r\n").await;
        terminal.until_shown("ended 0").await;
        assert!(terminal.echoes(), "the mode is the shell's");
        terminal.type_text("k\r");
        terminal.until_shown("got k").await;
        assert!(terminal.ended().await.success());
    })
    .await;
}

#[tokio::test]
async fn a_command_in_a_terminal_of_its_own_reads_a_piped_input() {
    bounded(async {
        let script = "test -t 0 || cat; test -t 1 && echo shown";
        let arguments = ["run", "--pty", "--id", "it", "--", "sh", "-c", script];
        let mut server = Outrace::serving(&arguments).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.say("one\ntwo\n").await;
        assert_eq!(client.line().await, "one");
        drop(server.stdin.take());
        assert_eq!(client.final_status().await.0, ["two", "shown"]);
        assert_eq!(server.output().await, b"one\ntwo\nshown\n");
    })
    .await;
}

/// Returns a shell's wait for a file.
fn until_exists(path: &str) -> String {
    format!("while ! test -e {path}; do sleep 0.02; done")
}

#[tokio::test]
async fn a_prompt_of_one_of_several_is_shown_and_lines_of_others_do_not_cut_it() {
    bounded(async {
        let scratch = Scratch::new();
        let (line, answer) = (scratch.path("line"), scratch.path("answer"));
        let ask = format!(
            "ask=printf 'Password: '; {}; echo given",
            until_exists(&answer)
        );
        let other = format!("other={}; echo a line", until_exists(&line));
        let program = ["env", "TERM=xterm", "NO_COLOR=1", PATH];
        let arguments = run_with(&[], &[&ask, &other]);
        let mut terminal = Terminal::start(80, 24, &[&program, &arguments[..]].concat());
        let row = "\x1b[?7lask   | Password: \x1b[0m\x1b[?7h";
        terminal.until_shown(row).await;
        scratch.append("line", "");
        // The row is cleared, the line is written, and the row is shown again below it.
        terminal
            .until_shown(&format!("{row}\r\x1b[Jother | a line\r\n{row}"))
            .await;
        scratch.append("answer", "");
        assert!(terminal.ended().await.success());
        let shown = terminal.shown();
        assert!(
            shown.contains("\r\x1b[Jask   | Password: given\r\n"),
            "{shown:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_progress_bar_of_one_of_several_grows_in_its_row() {
    bounded(async {
        let bar =
            "bar=for i in 1 2 3 4 5; do printf '\\r%s0%%' $i; sleep 0.1; done; printf '\\rdone\\n'";
        let program = ["env", "TERM=xterm", "NO_COLOR=1", PATH];
        let arguments = run_with(&[], &[bar]);
        let mut terminal = Terminal::start(80, 24, &[&program, &arguments[..]].concat());
        assert!(terminal.ended().await.success());
        let shown = terminal.shown();
        let rows = shown.matches("\x1b[?7lbar | ").count();
        assert!((2..=6).contains(&rows), "{shown:?}");
        assert!(
            shown.contains("\x1b[?7lbar | 50%\x1b[0m\x1b[?7h"),
            "{shown:?}"
        );
        assert!(shown.ends_with("\x1b[Jbar | done\r\n"), "{shown:?}");
    })
    .await;
}

#[tokio::test]
async fn unfinished_lines_wait_for_their_end_where_nothing_can_show_them() {
    bounded(async {
        let process = "a=printf 'Password: '; sleep 0.2; echo given";
        let (_, out, _) = run(&run_with(&[], &[process])).await;
        assert_eq!(out, "a | Password: given\n");
        let program = ["env", "TERM=dumb", PATH];
        let arguments = run_with(&[], &[process]);
        let mut terminal = Terminal::start(80, 24, &[&program, &arguments[..]].concat());
        assert!(terminal.ended().await.success());
        let shown = terminal.shown();
        assert!(shown.contains("Password: given\r\n"), "{shown:?}");
        assert_eq!(shown.matches("Password").count(), 1, "{shown:?}");
    })
    .await;
}
