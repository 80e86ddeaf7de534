//! `outrace pipe`, watched over real sockets.

use std::process::Stdio;

use futures_util::SinkExt;
use outrace_testkit::{JsonClient, bounded};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::program::{Outrace, not_executable, outrace};

#[tokio::test]
async fn standard_input_is_streamed_and_its_end_is_the_exit() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "it"]).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        // Each line is seen before the next is written, so that the pipe becomes readable anew for
        // every write.
        for i in 0..50 {
            server.say(format!("line {i}\n")).await;
            assert_eq!(client.line().await, format!("line {i}"));
        }
        server.say("split ").await;
        server.say("in two\r\nlast").await;
        assert_eq!(server.code().await, Some(0));
        let (lines, status) = client.final_status().await;
        assert_eq!(lines, ["split in two", "last"]);
        assert_eq!(status, ("exited".into(), 0));
        assert_eq!(client.message_or_end().await, None);
    })
    .await;
}

#[tokio::test]
async fn no_message_is_longer_than_a_client_of_go_ws_reads_unless_the_bound_is_raised() {
    bounded(async {
        let lines = [
            "x".repeat(100_000),
            "\0".repeat(60_000),
            "\"é".repeat(40_000),
        ];
        for (more, most) in [
            (vec![], 65_536),
            (vec!["--max-outgoing-message", "1MiB"], 1 << 20),
        ] {
            let arguments = ["pipe", "--id", "it"].into_iter().chain(more);
            let mut server = Outrace::serving(&arguments.collect::<Vec<_>>()).await;
            let mut client = JsonClient::subscribed(&server.url, "process:it").await;
            for line in &lines {
                server.say(format!("{line}\nend\n")).await;
                let (mut joined, mut longest) = (String::new(), 0);
                loop {
                    let text = client.text().await;
                    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                    if message["data"] == "end" {
                        break;
                    }
                    longest = text.len().max(longest);
                    joined.push_str(message["data"].as_str().unwrap());
                }
                assert!(joined == *line);
                assert!(longest <= most, "{longest} bytes");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_joins_in_the_middle_of_a_line_gets_the_whole_line() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "it"]).await;
        server.say("begun while nobody watched, ").await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.say("ended later\n").await;
        assert_eq!(
            client.line().await,
            "begun while nobody watched, ended later"
        );
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_slow_the_writer_down() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "it"]).await;
        let (mut stuck, _) = tokio_tungstenite::connect_async(&server.url).await.unwrap();
        stuck
            .send(Message::text(
                r#"{"type":"subscribe","channel":"process:it"}"#,
            ))
            .await
            .unwrap();
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        // 24 MB is far more than all buffers on the way to the client that does not read. If the
        // program waited for that client, the test would hang.
        let chunk = "a line of a hundred bytes and ".repeat(3) + "no more..\n";
        let chunk = chunk.repeat(10_000);
        let writing = async {
            for _ in 0..24 {
                server.say(&chunk).await;
            }
            server.code().await
        };
        let (code, (_, status)) = tokio::join!(writing, client.final_status());
        assert_eq!(code, Some(0));
        assert_eq!(status, ("exited".into(), 0));
        drop(stuck);
    })
    .await;
}

#[tokio::test]
async fn a_file_is_read_to_its_end() {
    bounded(async {
        let file = std::fs::File::open(not_executable()).unwrap();
        let output = outrace(&["pipe", "--quiet", "--listen", "127.0.0.1:0", "--id", "it"])
            .stdin(Stdio::from(file))
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_directory_is_refused_in_one_sentence() {
    bounded(async {
        let directory = std::fs::File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
        let output = outrace(&["pipe", "--quiet", "--listen", "127.0.0.1:0", "--id", "it"])
            .stdin(Stdio::from(directory))
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("outrace: cannot read standard input"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_signal_ends_the_pipe_after_the_lines_already_written() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "it"]).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.say("whole\nunfinished").await;
        server.signal(Signal::TERM);
        // Standard input stays open.
        let (lines, status) = client.final_status().await;
        assert_eq!(lines, ["whole", "unfinished"]);
        assert_eq!(status, ("stopped".into(), 0));
        assert_eq!(server.child.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn the_programs_standard_input_stays_in_blocking_mode() {
    bounded(async {
        let (reader, writer) = std::io::pipe().unwrap();
        let ours = reader.try_clone().unwrap();
        let mut child = outrace(&["pipe", "--listen", "127.0.0.1:0", "--id", "it"])
            .stdin(Stdio::from(reader))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = tokio::io::BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut stderr, &mut said)
            .await
            .unwrap();
        let url = said
            .split([' ', ','])
            .find(|word| word.starts_with("ws://"))
            .unwrap();
        let mut client = JsonClient::subscribed(url, "process:it").await;
        let mut writer =
            tokio::fs::File::from_std(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
        writer.write_all(b"it reads\n").await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(client.line().await, "it reads");
        let flags = rustix::fs::fcntl_getfl(&ours).unwrap();
        assert!(
            !flags.contains(rustix::fs::OFlags::NONBLOCK),
            "the mode of a shared pipe was changed"
        );
        drop(writer);
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn without_listen_a_taken_port_gives_way_to_the_next_free_one_and_serve_refuses() {
    bounded(async {
        // Taken by this test or by anything else: both are as good.
        let _taken = tokio::net::TcpListener::bind("127.0.0.1:7223").await;
        let mut pipe = Outrace::start(&["pipe", "--id", "it"]);
        let said = pipe.complaint().await;
        assert!(
            said.starts_with("outrace: port 7223 is taken: using 72"),
            "{said}"
        );
        pipe.complaint_with("listening on ws://127.0.0.1:72").await;
        assert_eq!(pipe.code().await, Some(0));
        for arguments in [
            &["serve"][..],
            &["pipe", "--id", "it", "--listen", "127.0.0.1:7223"],
        ] {
            let (code, _, said) = crate::program::run(arguments).await;
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("cannot listen on 127.0.0.1:7223"), "{said}");
        }
    })
    .await;
}
