//! `outrace tail` of patterns, and of files that the system does not report the changes of.

use std::fs;
use std::process::Stdio;

use outrace_testkit::{JsonClient, Scratch, bounded};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::program::{Outrace, PATH};
use crate::tail::history;

#[tokio::test]
async fn a_pattern_stands_for_files_that_come_later_and_not_for_rotated_ones() {
    bounded(async {
        let scratch = Scratch::new();
        scratch.append("a.log", "one\ntwo\n");
        scratch.append("no match", "nothing\n");
        fs::create_dir(scratch.path("folder.log")).unwrap();
        let pattern = scratch.path("*.log*");
        let mut server = Outrace::serving(&["tail", "-n", "1", &pattern]).await;
        let a = scratch.path("a.log");
        assert_eq!(
            server.complaint().await,
            format!("outrace: {a} is followed, channel file:a.log")
        );
        assert_eq!(history(&server.url, "file:a.log", 1).await, ["two"]);
        // The rotated file matches too, and is known.
        let mut client = JsonClient::subscribed(&server.url, "file:a.log").await;
        fs::rename(&a, scratch.path("a.log.1")).unwrap();
        scratch.append("a.log", "three\n");
        assert_eq!(client.line().await, "three");
        drop(client);
        scratch.append("b.log", "from its\nbeginning\n");
        let said = server.complaint_with("is followed").await;
        assert!(
            said.ends_with("b.log is followed, channel file:b.log"),
            "{said}"
        );
        assert_eq!(
            history(&server.url, "file:b.log", 2).await,
            ["from its", "beginning"]
        );
        server.signal(Signal::TERM);
        assert_eq!(server.child.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn files_of_one_name_in_several_folders_have_channels_of_their_own() {
    bounded(async {
        let scratch = Scratch::new();
        for folder in ["x", "y"] {
            fs::create_dir(scratch.path(folder)).unwrap();
            scratch.append(&format!("{folder}/it.log"), &format!("in {folder}\n"));
        }
        let pattern = scratch.path("*/it.log");
        let server = Outrace::serving(&["tail", "-n", "+1", &pattern]).await;
        for (channel, line) in [("file:it.log", "in x"), ("file:y-it.log", "in y")] {
            assert_eq!(history(&server.url, channel, 1).await, [line]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_tail_begins_with_the_line_of_a_number() {
    bounded(async {
        let scratch = Scratch::new();
        scratch.append("it.log", "one\ntwo\nthree\n");
        let path = scratch.path("it.log");
        for (number, expected) in [("+2", &["two", "three"][..]), ("-1", &["three"])] {
            let server = Outrace::serving(&["tail", "-n", number, &path]).await;
            let lines = history(&server.url, "file:it.log", expected.len()).await;
            assert_eq!(lines, expected);
        }
    })
    .await;
}

/// Limits of a namespace are set, where the system lets a user make one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn files_are_polled_without_inotify_and_that_is_said_once() {
    bounded(async {
        for limit in ["max_inotify_instances", "max_inotify_watches"] {
            let scratch = Scratch::new();
            scratch.append("a.log", "one\n");
            scratch.append("b.log", "one\n");
            let set = format!("echo 0 > /proc/sys/user/{limit}");
            let can = ["-Ur", "sh", "-c", &set];
            let can = Command::new("unshare").args(can).output().await;
            if !can.is_ok_and(|output| output.status.success()) {
                eprintln!("skipped: this system lets nobody make a namespace");
                return;
            }
            let script = format!(
                "{set} && exec {PATH} tail --listen 127.0.0.1:0 {} {}",
                scratch.path("a.log"),
                scratch.path("b.log"),
            );
            let mut child = Command::new("unshare")
                .args(["-Ur", "sh", "-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
            let listening = said.next_line().await.unwrap().unwrap();
            let (_, url) = listening.split_once("listening on ").unwrap();
            let url = url.split(',').next().unwrap().to_owned();
            let polled = said.next_line().await.unwrap().unwrap();
            assert!(polled.contains("checked every 250 ms"), "{limit}: {polled}");
            assert_eq!(history(&url, "file:a.log", 1).await, ["one"]);
            let mut client = JsonClient::subscribed(&url, "file:a.log").await;
            scratch.append("a.log", "two\n");
            client.until_line("two").await;
            drop(client);
            let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
            rustix::process::kill_process(pid, Signal::TERM).unwrap();
            assert_eq!(child.wait().await.unwrap().code(), Some(0));
            assert_eq!(said.next_line().await.unwrap(), None);
        }
    })
    .await;
}
