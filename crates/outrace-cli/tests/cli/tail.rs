//! `outrace tail`, watched over real sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use outrace_testkit::{JsonClient, Scratch, bounded};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::program::{Outrace, outrace, run};

/// Returns the first lines of the history of a channel.
pub(crate) async fn history(url: &str, channel: &str, lines: usize) -> Vec<String> {
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /api/channels/{channel}/stream?tail=1000 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    loop {
        let text = String::from_utf8(reply.clone()).unwrap();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // The lines that hold the size of a chunk are left out.
        let found: Vec<_> = body
            .lines()
            .filter(|line| !line.is_empty() && usize::from_str_radix(line, 16).is_err())
            .map(str::to_owned)
            .collect();
        if found.len() >= lines {
            return found;
        }
        assert_ne!(
            stream.read_buf(&mut reply).await.unwrap(),
            0,
            "the stream ended: {body}"
        );
    }
}

#[tokio::test]
async fn files_are_streamed_from_their_last_lines_through_a_rotation_to_a_signal() {
    bounded(async {
        let scratch = Scratch::new();
        scratch.append("it.log", "line zero\nline one\nline two\n");
        let mut server = Outrace::serving(&[
            "tail",
            "-n",
            "2",
            &scratch.path("it.log"),
            &scratch.path("late.log"),
        ])
        .await;
        let late = scratch.path("late.log");
        assert_eq!(
            server.complaint().await,
            format!("outrace: {late} is not there; waiting for it")
        );
        assert_eq!(
            history(&server.url, "file:it.log", 2).await,
            ["line one", "line two"]
        );

        let mut client = JsonClient::subscribed(&server.url, "file:it.log").await;
        scratch.append("it.log", "before\n");
        assert_eq!(client.line().await, "before");
        fs::rename(scratch.path("it.log"), scratch.path("it.log.1")).unwrap();
        scratch.append("it.log.1", "late\n");
        scratch.append("it.log", "after\nunfinished");
        assert_eq!(
            [client.line().await, client.line().await],
            ["late", "after"]
        );
        while !server
            .complaint()
            .await
            .ends_with("it.log is another file now")
        {}

        scratch.append("late.log", "it is here\n");
        assert_eq!(
            history(&server.url, "file:late.log", 1).await,
            ["it is here"]
        );

        server.signal(Signal::TERM);
        let mut rest = Vec::new();
        while let Some(message) = client.message_or_end().await {
            rest.push(match message["data"].as_str() {
                Some(line) => line.to_owned(),
                None => message["data"]["status"].as_str().unwrap().to_owned(),
            });
        }
        // Between the two files the program may have found no file.
        rest.retain(|what| what != "missing" && what != "running");
        assert_eq!(rest, ["unfinished", "stopped"]);
        assert_eq!(server.child.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_comes_back_unreadable_after_a_rotation_is_told_until_it_can_be_read() {
    /// A user without rights, for tests that run as root.
    const NOBODY: u32 = 65534;
    bounded(async {
        let scratch = Scratch::new();
        let (path, folder) = (scratch.path("it.log"), scratch.path(""));
        scratch.append("it.log", "one\n");
        let mut command = outrace(&["tail", "--listen", "127.0.0.1:0", &path]);
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
            command.uid(NOBODY);
        }
        let mut child = command
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = said.next_line().await.unwrap().unwrap();
        let (_, url) = listening.split_once("listening on ").unwrap();
        let url = url.split(',').next().unwrap();
        assert_eq!(history(url, "file:it.log", 1).await, ["one"]);
        let mut client = JsonClient::subscribed(url, "file:it.log").await;
        // Moved into place at once, so that there is no time without a file.
        let new = scratch.path("new");
        fs::write(&new, "two\n").unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o000)).unwrap();
        fs::rename(&new, &path).unwrap();
        let told = said.next_line().await.unwrap().unwrap();
        let expected = format!("outrace: {path} cannot be read: permission denied; waiting for it");
        assert_eq!(told, expected);
        assert_eq!(client.final_status().await.1.0, "unreadable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let told = said.next_line().await.unwrap().unwrap();
        assert_eq!(told, format!("outrace: {path} can be read now"));
        assert_eq!(client.message().await["data"]["status"], "running");
        assert_eq!(client.line().await, "two");
    })
    .await;
}

#[tokio::test]
async fn channels_are_named_by_the_files_or_by_ids() {
    bounded(async {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("b")).unwrap();
        for name in ["x.log", "b/x.log"] {
            scratch.append(name, "a line of it\n");
        }
        let (x, other) = (scratch.path("x.log"), scratch.path("b/x.log"));
        let server = Outrace::serving(&["tail", &x, &other]).await;
        assert_eq!(
            history(&server.url, "file:x.log", 1).await,
            ["a line of it"]
        );
        assert_eq!(
            history(&server.url, "file:b-x.log", 1).await,
            ["a line of it"]
        );
        let server = Outrace::serving(&["tail", "--id", "web", "--from-start", &x, &other]).await;
        assert_eq!(history(&server.url, "file:web", 1).await, ["a line of it"]);
        assert_eq!(
            history(&server.url, "file:x.log", 1).await,
            ["a line of it"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_wrong_command_line_gives_one_sentence() {
    bounded(async {
        let scratch = Scratch::new();
        let folder = scratch.path("");
        let socket = scratch.path("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (arguments, code, part) in [
            (&["tail"][..], 2, "FILE"),
            (
                &["tail", "--id", "a", "--id", "b", "x"],
                2,
                "2 --id for 1 files",
            ),
            (&["tail", "--id", "no id", "x"], 2, "process id"),
            (&["tail", "-n", "3", "--from-start", "x"], 2, "--from-start"),
            (&["tail", "-n", "+x", "x"], 2, "a line number"),
            (&["tail", "-", "-"], 2, "read once"),
            (&["tail", "[x", "x"], 2, "the pattern [x"),
            (&["tail", "--id", "a", "*.nothing"], 2, "is a pattern"),
            (&["tail", &socket], 1, "is a socket"),
            (&["tail", &folder], 1, "is a folder"),
        ] {
            let (ended, _, stderr) = run(arguments).await;
            assert_eq!(
                (ended, stderr.lines().count()),
                (Some(code), 1),
                "{arguments:?}: {stderr}"
            );
            assert!(
                stderr.starts_with("outrace: ") && stderr.contains(part),
                "{stderr}"
            );
        }
    })
    .await;
}
