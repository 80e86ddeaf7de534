//! `outrace watch`.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use outrace::Hub;
use outrace_testkit::{Terminal, bounded, serve};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::program::{Outrace, run};

/// Waits until a channel has a subscriber.
async fn subscribed(hub: &Hub, channel: &str) {
    while hub.channel_subscriber_count(channel) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn lines_come_one_by_one_and_statuses_apart_from_them() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        for line in ["one", "two \"quoted\" \u{2028} 😀", ""] {
            hub.send_process_output("a", line).unwrap();
            assert_eq!(watcher.printed().await, format!("{line}\n"));
        }
        hub.send_process_status("a", "exited", 3).unwrap();
        assert_eq!(
            watcher.complaint().await,
            "outrace: process:a exited with code 3"
        );
        hub.send_error("beware");
        assert_eq!(
            watcher.complaint().await,
            "outrace: the server says: beware"
        );
    })
    .await;
}

#[tokio::test]
async fn the_pieces_of_a_long_line_are_printed_as_one_line() {
    bounded(async {
        let hub = Hub::builder().build().unwrap();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:a", "process:b"]);
        subscribed(&hub, "process:b").await;
        subscribed(&hub, "process:a").await;
        for line in ["x".repeat(100_000), "\0".repeat(60_000), "é".repeat(70_000)] {
            hub.send_process_output("a", &line).unwrap();
            assert!(watcher.printed().await == format!("process:a: {line}\n"));
        }
        let publisher = hub.publisher("process:a").unwrap();
        let begun = ["begun"].iter().collect::<outrace::Lines>();
        publisher.send_lines(begun.with_continued(vec![0]));
        hub.send_process_output("b", "another").unwrap();
        publisher.send_line("ended");
        for line in [
            "process:a: begun\n",
            "process:b: another\n",
            "process:a: ended\n",
        ] {
            assert_eq!(watcher.printed().await, line);
        }
    })
    .await;
}

#[tokio::test]
async fn on_a_terminal_an_unfinished_line_is_replaced_until_it_is_whole_and_stderr_is_marked() {
    bounded(async {
        let hub = Hub::new();
        let url = serve(&hub).await;
        let program = env!("CARGO_BIN_EXE_outrace");
        let terminal = Terminal::start(
            80,
            24,
            &[
                "env",
                "-u",
                "NO_COLOR",
                "TERM=xterm",
                program,
                "watch",
                &url,
                "process:a",
            ],
        );
        subscribed(&hub, "process:a").await;
        let publisher = hub.publisher("process:a").unwrap();
        publisher.show_partial(b"importing 10%");
        terminal.until_shown("importing 10%").await;
        publisher.show_partial(b"importing 10%\rimporting 20%");
        terminal
            .until_shown("importing 10%\r\x1b[Kimporting 20%")
            .await;
        let warning = ["a warning"].iter().collect::<outrace::Lines>();
        publisher.send_lines(warning.with_stream(outrace::OutputStream::Stderr));
        terminal
            .until_shown("\r\x1b[K\x1b[31m!\x1b[0m a warning\r\nimporting 20%")
            .await;
        publisher.send_line("importing 10%\rimporting 20%, done");
        terminal
            .until_shown("importing 20%\r\x1b[Kimporting 10%\rimporting 20%, done\r\n")
            .await;
        publisher.show_partial(b"");
        publisher.send_line("after");
        terminal
            .until_shown("importing 20%, done\r\nafter\r\n")
            .await;
    })
    .await;
}

#[tokio::test]
async fn several_channels_are_told_apart() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&[
            "watch",
            &serve(&hub).await,
            "process:a",
            "process:b",
            "process:a",
        ]);
        subscribed(&hub, "process:b").await;
        hub.send_process_output("a", "from a").unwrap();
        assert_eq!(watcher.printed().await, "process:a: from a\n");
        hub.send_process_output("b", "from b").unwrap();
        assert_eq!(watcher.printed().await, "process:b: from b\n");
    })
    .await;
}

#[tokio::test]
async fn json_is_every_message_as_it_came() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&["watch", "--json", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "x").unwrap();
        hub.send_event("deployed", &1).unwrap();
        let subscribed = watcher.printed().await;
        assert!(
            subscribed
                .starts_with(r#"{"type":"subscribed","channel":"process:a","data":{"epoch":""#),
            "{subscribed}"
        );
        let line = watcher.printed().await;
        assert!(line.starts_with(
            r#"{"type":"process_output","channel":"process:a","processId":"a","data":"x","#
        ));
        let event = watcher.printed().await;
        assert!(
            event.starts_with(
                r#"{"type":"event","data":{"event":"deployed","data":1},"timestamp":"#
            ),
            "{event}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_watcher_reconnects_after_the_server_was_gone() {
    bounded(async {
        let (hub, address, stop, serving) = serve_until("127.0.0.1:0").await;
        let mut watcher = Outrace::start(&["watch", &format!("ws://{address}/ws"), "process:a"]);
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "before").unwrap();
        assert_eq!(watcher.printed().await, "before\n");
        stop.send(()).unwrap();
        serving.await.unwrap();
        let said = watcher.complaint().await;
        assert!(said.contains("going away; trying again in"), "{said}");

        let (hub, ..) = serve_until(&address).await;
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "after").unwrap();
        assert_eq!(watcher.printed().await, "after\n");
    })
    .await;
}

async fn serve_until(
    address: &str,
) -> (
    Hub,
    String,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let hub = Hub::new();
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let hub = hub.clone();
        async move {
            // If the sender is dropped, the server runs for as long as the test.
            let stopped = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            outrace::server::serve(listener, hub, stopped)
                .await
                .unwrap();
        }
    });
    (hub, address, stop, serving)
}

#[tokio::test]
async fn a_first_connection_that_fails_is_tried_again() {
    bounded(async {
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = held.local_addr().unwrap().to_string();
        drop(held);
        let mut watcher = Outrace::start(&["watch", &format!("ws://{address}/ws"), "process:a"]);
        let said = watcher.complaint().await;
        assert!(
            said.contains("cannot connect") && said.contains("trying again in"),
            "{said}"
        );
        let (hub, ..) = serve_until(&address).await;
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "at last").unwrap();
        assert_eq!(watcher.printed().await, "at last\n");
    })
    .await;
}

#[tokio::test]
async fn without_retry_it_ends_with_1_and_a_sentence() {
    bounded(async {
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", held.local_addr().unwrap());
        drop(held);
        let (code, _, stderr) = run(&["watch", "--no-retry", &url, "process:a"]).await;
        assert_eq!(code, Some(1));
        assert!(
            stderr.contains(&url) && stderr.contains("cannot connect"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_address_or_name_ends_with_2() {
    bounded(async {
        for arguments in [
            &["watch", "ftp://127.0.0.1:1/ws", "process:a"][..],
            &["watch", "127.0.0.1:1", "process:a"],
            &["watch", "ws://127.0.0.1:1/ws", "process:"],
        ] {
            let (code, _, stderr) = run(arguments).await;
            assert_eq!(code, Some(2), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_ends_the_watcher_quietly() {
    bounded(async {
        let hub = Hub::new();
        let Outrace {
            mut child,
            stdout,
            mut stderr,
            ..
        } = Outrace::start(&["watch", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        drop(stdout);
        hub.send_process_output("a", "to nobody").unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
        assert_eq!(stderr.next_line().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn ctrl_c_ends_the_watcher_by_the_signal() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:a"]);
        subscribed(&hub, "process:a").await;
        watcher.signal(Signal::INT);
        let ended = watcher.child.wait().await.unwrap().signal();
        assert_eq!(ended, Some(Signal::INT.as_raw()));
    })
    .await;
}

#[tokio::test]
async fn an_address_of_a_browser_or_without_a_path_means_the_socket_of_that_server() {
    bounded(async {
        let hub = Hub::new();
        let url = serve(&hub).await;
        let browser = url.replace("ws://", "http://");
        for url in [
            url.trim_end_matches("/ws"),
            browser.as_str(),
            browser.trim_end_matches("ws"),
            browser.trim_end_matches("/ws"),
        ] {
            while hub.channel_subscriber_count("process:a") != 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut watcher = Outrace::start(&["watch", url, "process:a"]);
            subscribed(&hub, "process:a").await;
            hub.send_process_output("a", "line").unwrap();
            assert_eq!(watcher.printed().await, "line\n");
            watcher.child.kill().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_channel_every_channel_is_watched() {
    bounded(async {
        let hub = Hub::builder().history(10).build().unwrap();
        hub.send_process_output("a", "early").unwrap();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await]);
        subscribed(&hub, "process:a").await;
        hub.send_process_output("a", "line").unwrap();
        assert_eq!(watcher.printed().await, "process:a: line\n");
    })
    .await;
}

#[tokio::test]
async fn a_process_that_appears_is_seen_whole_lines_and_status() {
    bounded(async {
        let hub = Hub::builder().history(1000).build().unwrap();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:*"]);
        // It connects after it has asked for the channels there are.
        while hub.client_count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut command = tokio::process::Command::new("sh");
        command.args([
            "-c",
            "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep .03; done; exit 1",
        ]);
        hub.spawn("short", command).unwrap().wait().await;
        for n in 1..=10 {
            assert_eq!(
                watcher.printed().await,
                format!("process:short: line {n}\n")
            );
        }
        assert_eq!(watcher.complaint().await, "outrace: process:short running");
        assert_eq!(
            watcher.complaint().await,
            "outrace: process:short exited with code 1"
        );
    })
    .await;
}

#[tokio::test]
async fn of_a_process_that_appears_what_is_not_kept_is_told_as_skipped() {
    bounded(async {
        let hub = Hub::builder().history(4).build().unwrap();
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:*"]);
        while hub.client_count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // At one go, so that the watcher comes when all is over.
        hub.send_process_status("short", "running", 0).unwrap();
        for n in 1..=10 {
            hub.send_process_output("short", n.to_string()).unwrap();
        }
        hub.send_process_status("short", "exited", 1).unwrap();
        // The running status and seven lines.
        assert_eq!(
            watcher.printed().await,
            "process:short: … 8 lines skipped …\n"
        );
        for n in 8..=10 {
            assert_eq!(watcher.printed().await, format!("process:short: {n}\n"));
        }
        assert_eq!(
            watcher.complaint().await,
            "outrace: process:short exited with code 1"
        );
    })
    .await;
}

#[tokio::test]
async fn a_page_or_a_404_in_place_of_a_server_is_one_sentence() {
    bounded(async {
        let page = |status: &'static str| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut asked = Vec::new();
                    while !asked.ends_with(b"\r\n\r\n") {
                        asked.push(stream.read_u8().await.unwrap());
                    }
                    let body = "<!doctype html>\n<html>\n<body>Not here</body>\n</html>\n";
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\
                         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            address
        };
        for status in ["200 OK", "404 Not Found", "302 Found"] {
            let address = page(status).await;
            for channel in ["process:a", "process:*"] {
                let url = format!("http://{address}/docs");
                let (code, _, stderr) = run(&["watch", &url, channel]).await;
                assert_eq!(code, Some(1), "{stderr}");
                assert_eq!(
                    stderr,
                    format!(
                        "outrace: ws://{address}/docs: cannot connect: there is no WebSocket: the \
                         server answers {status} at /docs, {status} at /docs/ws, {status} at /ws\n"
                    )
                );
            }
        }
        // What is no page is shown, if it is a line.
        let address = page("503 Service Unavailable").await;
        let (_, _, stderr) = run(&["watch", "--no-retry", &format!("http://{address}")]).await;
        assert_eq!(
            stderr,
            format!(
                "outrace: ws://{address}/ws: cannot connect: the server answers 503 Service \
                 Unavailable\n"
            )
        );
    })
    .await;
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_named_as_such() {
    bounded(async {
        /// A server that reads a little and answers this.
        async fn serving(answer: &'static [u8]) -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        stream.read_u8().await.unwrap();
                        stream.write_all(answer).await.unwrap();
                        // Whatever it is sent, it goes on to read, so that its answer arrives.
                        while stream.read_u8().await.is_ok() {}
                    });
                }
            });
            address
        }
        const OLD: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        const SHELL: &[u8] = b"SSH-2.0-OpenSSH_9.6\r\n";
        const ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x32";
        let not_tls = "the answer is not TLS; a server without TLS is reached with ws://";
        let not_http = "the answer is not HTTP; a server with TLS is reached with wss://";
        for (scheme, answer, told) in [
            (
                "http",
                OLD,
                "there is no WebSocket: the server answers in HTTP/1.0 at /a, in HTTP/1.0 at \
                 /a/ws, in HTTP/1.0 at /ws",
            ),
            ("http", SHELL, not_http),
            ("http", ALERT, not_http),
            ("https", OLD, not_tls),
            ("https", SHELL, not_tls),
        ] {
            let address = serving(answer).await;
            let url = format!("{scheme}://{address}/a");
            let (code, _, stderr) = run(&["watch", &url, "process:a"]).await;
            assert_eq!(code, Some(1), "{stderr}");
            let told = format!("cannot connect: {told}\n");
            assert!(stderr.ends_with(&told), "{scheme}: {stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_an_address_the_server_at_the_usual_port_is_meant() {
    bounded(async {
        // Where something listens there already, it is asked, and has no such channels.
        for arguments in [
            &["watch", "--no-retry", "process:none"][..],
            &["watch", "--no-retry"],
        ] {
            let mut watcher = Outrace::start(arguments);
            let told = tokio::time::timeout(Duration::from_secs(2), watcher.complaint()).await;
            if let Ok(told) = told {
                assert!(
                    told.starts_with("outrace: ws://127.0.0.1:7223/ws: cannot connect: "),
                    "{told}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn more_channels_than_the_server_lets_one_client_watch_are_told_once() {
    bounded(async {
        let hub = Hub::builder()
            .history(10)
            .max_subscriptions(2)
            .build()
            .unwrap();
        for id in ["a", "b", "c", "d"] {
            hub.send_process_output(id, id).unwrap();
        }
        let mut watcher = Outrace::start(&["watch", &serve(&hub).await, "process:*", "-n", "1"]);
        let mut lines = [watcher.printed().await, watcher.printed().await];
        lines.sort();
        assert_eq!(lines, ["process:a: a\n", "process:b: b\n"]);
        let told = watcher.complaint().await;
        assert!(
            told.contains("more channels than the server lets"),
            "{told}"
        );
        hub.send_error("the next word");
        assert_eq!(
            watcher.complaint().await,
            "outrace: the server says: the next word"
        );
    })
    .await;
}
