//! Standard input and the terminal under `outrace run`.
#![cfg(target_os = "linux")]

use std::process::Stdio;
use std::time::Duration;

use outrace_testkit::{bounded, http};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::sleep;

use crate::ownership::{Family, state};
use crate::program::{Outrace, PATH, in_terminal, run};

const QUIET: [&str; 4] = ["run", "--quiet", "--listen", "127.0.0.1:0"];

#[tokio::test]
async fn a_single_command_reads_standard_input_in_every_mode() {
    bounded(async {
        for mode in [&[][..], &["--restart", "on-failure"], &["--control"]] {
            let script = ["--", "sh", "-c", "read x; echo got $x"];
            let arguments = [&["run"], mode, &script].concat();
            let mut server = Outrace::serving(&arguments).await;
            server.say("hello\n").await;
            assert_eq!(server.printed().await, "got hello\n", "{mode:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn several_have_an_empty_input_and_one_may_have_outraces() {
    bounded(async {
        let mut server =
            Outrace::serving(&["run", "--stdin", "b", "a=wc -c", "b=read x; echo got $x"]).await;
        assert_eq!(server.printed().await, "a | 0\n");
        server.say("hello\n").await;
        assert_eq!(server.printed().await, "b | got hello\n");
        assert_eq!(server.code().await, Some(0));

        let (code, _, stderr) = run(&[&QUIET[..], &["--stdin", "c", "a=true"]].concat()).await;
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains("no process c"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn an_input_that_is_kept_open_has_no_end() {
    bounded(async {
        for command in [
            &["it=cat; echo ended"][..],
            &["--", "sh", "-c", "cat; echo ended"],
        ] {
            let script = [&["run", "--keep-stdin-open"], command].concat();
            let mut server = Outrace::serving(&script).await;
            drop(server.stdin.take());
            // The reader waits for input while there is none and no end.
            let reads = async {
                loop {
                    let body = http::get(server.address(), "/api/channels")
                        .json()
                        .to_string();
                    if body.contains(r#""status":"running""#) {
                        return;
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            };
            reads.await;
            let mut line = String::new();
            let ended = tokio::time::timeout(
                Duration::from_millis(300),
                server.stdout.read_line(&mut line),
            );
            assert!(ended.await.is_err(), "its input ended: {line}");
            server.signal(rustix::process::Signal::TERM);
            server.child.wait().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_that_stops_for_the_terminal_is_told_in_the_terminal_and_in_its_status() {
    bounded(async {
        let (mut terminal, mut keyboard, mut screen) =
            in_terminal("run --listen 127.0.0.1:0 in='cat < /dev/tty' out='stty -echo < /dev/tty'");
        let (mut address, mut told) = (None, Vec::new());
        while told.len() < 2 {
            let line = screen.next_line().await.unwrap().expect("it goes on");
            if let Some((_, rest)) = line.split_once("ws://") {
                address = Some(rest.split('/').next().unwrap().parse().unwrap());
            }
            if line.contains("is suspended") {
                told.push(line);
            }
        }
        told.sort_unstable();
        assert!(
            told[0].contains("in is suspended") && told[0].contains("SIGTTIN"),
            "{told:?}"
        );
        assert!(told[0].contains("--stdin in"), "{told:?}");
        assert!(
            told[1].contains("out is suspended") && told[1].contains("SIGTTOU"),
            "{told:?}"
        );
        let address = address.unwrap();
        for path in ["/api/processes", "/api/channels"] {
            let body = http::get(address, path).json().to_string();
            assert!(
                body.contains("suspended: wants to read the terminal"),
                "{body}"
            );
            assert!(
                body.contains("suspended: wants to use the terminal"),
                "{body}"
            );
        }
        keyboard.write_all(b"\x03").await.unwrap();
        terminal.wait().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_terminals_input_goes_to_the_process_that_was_named() {
    bounded(async {
        let (mut terminal, mut keyboard, mut screen) = in_terminal(
            "run --quiet --listen 127.0.0.1:0 --stdin a a='read x; echo got $x' b='wc -c'",
        );
        keyboard.write_all(b"hello\n").await.unwrap();
        let mut seen = Vec::new();
        while let Some(line) = screen.next_line().await.unwrap() {
            seen.push(line);
        }
        assert!(
            seen.iter().any(|line| line.contains("got hello")),
            "{seen:?}"
        );
        assert_eq!(terminal.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn ctrl_z_with_several_suspends_all_and_fg_continues_them() {
    bounded(async {
        let family = Family::new();
        let (group, session) = (family.sleeper("group"), family.sleeper("session"));
        let quote = |script: &str| script.replace('\'', r"'\''");
        let command = format!(
            "{PATH} run --listen 127.0.0.1:0 a='{}' b='setsid {}'\n",
            quote(&group),
            quote(&session)
        );
        // A shell with job control is needed.
        let mut terminal = Command::new("script")
            .args(["-qec", "bash --norc --noprofile -i", "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script(1) is installed");
        let mut keyboard = terminal.stdin.take().unwrap();
        let mut screen = BufReader::new(terminal.stdout.take().unwrap()).lines();
        keyboard.write_all(command.as_bytes()).await.unwrap();
        let pids = [family.pid("group").await, family.pid("session").await];
        let all = async |expected: char| {
            for pid in pids {
                while state(pid) != Some(expected) {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        };
        all('S').await;
        keyboard.write_all(b"\x1a").await.unwrap();
        all('T').await;
        while !screen
            .next_line()
            .await
            .unwrap()
            .expect("a job")
            .contains("Stopped")
        {}
        keyboard.write_all(b"fg\n").await.unwrap();
        all('S').await;
        keyboard.write_all(b"\x03").await.unwrap();
        family.gone(&["group", "session"]).await;
    })
    .await;
}
