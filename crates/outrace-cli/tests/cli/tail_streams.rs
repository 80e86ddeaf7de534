//! `outrace tail` of FIFOs, pipes and standard input.

use std::process::Stdio;

use outrace_testkit::{JsonClient, Scratch, bounded};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::program::{Outrace, PATH};

#[tokio::test]
async fn a_fifo_is_read_and_its_writers_do_not_hang_and_a_signal_ends_in_time() {
    bounded(async {
        let scratch = Scratch::new();
        let fifo = scratch.path("fifo");
        mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        let mut server = Outrace::serving(&["tail", &fifo]).await;
        let mut client = JsonClient::subscribed(&server.url, "file:fifo").await;
        for line in ["one", "two"] {
            let script = format!("echo {line} > {fifo}");
            let written = Command::new("sh").args(["-c", &script]).status().await;
            assert!(written.unwrap().success());
            assert_eq!(client.line().await, line);
        }
        drop(client);
        server.signal(Signal::TERM);
        assert_eq!(server.child.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn standard_input_is_read_to_its_end_and_that_ends_the_program() {
    bounded(async {
        for name in ["-", "/dev/stdin"] {
            let mut server = Outrace::serving(&["tail", name]).await;
            let mut client = JsonClient::subscribed(&server.url, "file:stdin").await;
            server.say("one\ntwo").await;
            assert_eq!(client.line().await, "one");
            drop(server.stdin.take());
            let (lines, status) = client.final_status().await;
            assert_eq!((lines, status), (vec!["two".into()], ("exited".into(), 0)));
            assert!(client.message_or_end().await.is_none());
            drop(client);
            assert_eq!(server.code().await, Some(0));
            assert_eq!(server.complaint().await, "outrace: /dev/stdin has ended");
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_substitution_is_read_to_its_end_and_stay_goes_on_serving() {
    bounded(async {
        let script = format!("exec {PATH} tail --stay --listen 127.0.0.1:0 <(cat)");
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut stderr = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stderr));
        let said = stderr.next_line().await.unwrap().unwrap();
        let (_, url) = said.split_once("listening on ").unwrap();
        let (url, rest) = url.split_once(", channel ").unwrap();
        let channel = rest.split(',').next().unwrap();
        let mut client = JsonClient::subscribed(url, channel).await;
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"one\n").await.unwrap();
        drop(stdin);
        assert_eq!(client.final_status().await.0, ["one"]);
        client.ping().await;
        drop(client);
        let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
    })
    .await;
}
