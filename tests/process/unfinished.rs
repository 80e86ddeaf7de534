//! What subscriptions with `detail` and `partial` see of a process.

use std::process::Stdio;

use outrace::Hub;
use outrace::process::{LinePublisher, OutputMode, Pty, Spawn, WindowSize};
use outrace_testkit::{JsonClient, bounded, serve};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Returns a shell with a script and a piped standard input.
fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped());
    command
}

/// Connects a client that subscribes to the process `it` with these options.
async fn subscribed(hub: &Hub, options: Value) -> JsonClient {
    let mut client = JsonClient::connect(&serve(hub).await).await;
    client.subscribe("process:it", options).await;
    assert_eq!(client.message().await["type"], "subscribed");
    client
}

/// Returns the next message that is no status.
async fn output(client: &mut JsonClient) -> Value {
    loop {
        let message = client.message().await;
        if message["type"] != "process_status" {
            return message;
        }
    }
}

/// Reads up to the line `end`, and returns the texts of unfinished lines and of lines, each line
/// with its type's first letter (`p` or `o`) before it.
async fn until_line(client: &mut JsonClient, end: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let message = output(client).await;
        let text = message["data"].as_str().unwrap();
        match message["type"].as_str().unwrap() {
            "process_partial" => seen.push(format!("p {text}")),
            "process_output" => seen.push(format!("o {text}")),
            other => panic!("{other}"),
        }
        if seen.last().unwrap() == &format!("o {end}") {
            return seen;
        }
    }
}

#[tokio::test]
async fn split_lines_have_their_stream_and_merged_ones_none() {
    bounded(async {
        for (mode, streams) in [
            (OutputMode::Split, ["stdout", "stderr"]),
            (OutputMode::Merged, ["", ""]),
        ] {
            let hub = Hub::new();
            let mut client = subscribed(&hub, json!({"detail": true})).await;
            let spawn = Spawn::new("it", sh("echo out; echo err >&2")).unwrap();
            spawn.output(mode).start(&hub).unwrap();
            for _ in 0..2 {
                let line = output(&mut client).await;
                let expected = if line["data"] == "out" {
                    streams[0]
                } else {
                    streams[1]
                };
                // Standard output is what a line without a stream comes from.
                let stream = line["stream"].as_str().unwrap_or_default();
                assert!(stream == expected || expected == "stdout", "{line}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_pieces_of_a_long_line_are_marked_and_none_comes_twice() {
    bounded(async {
        let hub = Hub::builder().queue_bytes(8 << 20).build().unwrap();
        let mut client = subscribed(&hub, json!({"detail": true})).await;
        let script = "seq -w 1 50000 | tr -d '\\n'; echo; echo next";
        Spawn::new("it", sh(script)).unwrap().start(&hub).unwrap();
        let expected: String = (1..=50_000).map(|i| format!("{i:05}")).collect();
        let mut line = String::new();
        loop {
            let piece = output(&mut client).await;
            line += piece["data"].as_str().unwrap();
            assert_eq!(
                piece["continued"] == json!(true),
                line.len() < expected.len()
            );
            if piece["continued"] != json!(true) {
                break;
            }
        }
        assert!(line == expected, "the pieces do not make up the line");
        assert_eq!(output(&mut client).await["data"], "next");
    })
    .await;
}

#[tokio::test]
async fn a_prompt_is_shown_and_goes_when_it_is_answered() {
    bounded(async {
        for mode in [
            OutputMode::Merged,
            OutputMode::Split,
            OutputMode::Pty(Pty::new(WindowSize::default())),
        ] {
            let hub = Hub::new();
            let mut client = subscribed(&hub, json!({"partial": true})).await;
            let script = "printf 'Password: ' >&2; read it; echo got $it; echo end";
            let spawn = Spawn::new("it", sh(script)).unwrap();
            let mut process = spawn.output(mode).start(&hub).unwrap();
            let prompt = output(&mut client).await;
            assert_eq!(prompt["type"], "process_partial");
            assert_eq!(prompt["data"], "Password: ");
            assert_eq!(prompt["processId"], "it");
            let mut stdin = process.take_stdin().unwrap();
            stdin.write_all(b"x\n").await.unwrap();
            let mut rest = Vec::new();
            // An empty text says that there is no prompt any more, here or after the lines.
            while let Some(message) = client.message_or_end().await {
                if message["type"] == "process_status" && message["data"]["status"] != "running" {
                    break;
                }
                rest.push(message["data"].clone());
            }
            let partials = rest.iter().filter(|data| **data == json!(""));
            assert!(partials.count() <= 1);
            let lines: String = rest.iter().filter_map(Value::as_str).collect();
            assert!(lines.contains("got x") && lines.contains("end"), "{rest:?}");
            assert_eq!(lines.matches("Password").count(), 1, "{rest:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_comes_while_a_prompt_waits_sees_it() {
    bounded(async {
        let hub = Hub::new();
        let mut first = subscribed(&hub, json!({"partial": true})).await;
        let mut process = Spawn::new("it", sh("printf 'Password: '; read it"))
            .unwrap()
            .start(&hub)
            .unwrap();
        assert_eq!(output(&mut first).await["data"], "Password: ");
        let mut second = subscribed(&hub, json!({"partial": true})).await;
        assert_eq!(output(&mut second).await["data"], "Password: ");
        drop(process.take_stdin());
        process.wait().await;
    })
    .await;
}

#[tokio::test]
async fn a_progress_bar_is_shown_as_it_grows_and_comes_whole_at_the_end() {
    bounded(async {
        let hub = Hub::new();
        let mut client = subscribed(&hub, json!({"partial": true})).await;
        // Each part waits for the word that the one before was seen.
        let script = "printf '\\r10%%'; read w; printf '\\r\\033[32m20%%\\033[0m'; read w; \
                      printf '\\r30%%\\r'; read w; echo; echo end; read w";
        let mut process = Spawn::new("it", sh(script)).unwrap().start(&hub).unwrap();
        let mut stdin = process.take_stdin().unwrap();
        for shown in ["10%", "\x1b[32m20%\x1b[0m", "30%"] {
            let partial = output(&mut client).await;
            assert_eq!(partial["type"], "process_partial");
            assert_eq!(partial["data"], shown);
            stdin.write_all(b"go\n").await.unwrap();
        }
        let seen = until_line(&mut client, "end").await;
        let whole = "o \r10%\r\x1b[32m20%\x1b[0m\r30%";
        assert!(seen[0].starts_with(whole), "{seen:?}");
        let last = output(&mut client).await;
        assert_eq!(
            (&last["type"], &last["data"]),
            (&json!("process_partial"), &json!(""))
        );
        drop(stdin);
        process.wait().await;
    })
    .await;
}

#[tokio::test]
async fn whole_lines_leave_nothing_unfinished_to_show() {
    bounded(async {
        let hub = Hub::builder().queue(100_000).build().unwrap();
        let mut client = subscribed(&hub, json!({"partial": true})).await;
        let script = "seq 1 20000; echo end";
        Spawn::new("it", sh(script)).unwrap().start(&hub).unwrap();
        let seen = until_line(&mut client, "end").await;
        let lines = seen.iter().filter(|text| text.starts_with('o'));
        assert_eq!(lines.count(), 20_001);
    })
    .await;
}

#[tokio::test]
async fn an_unfinished_line_goes_with_its_process() {
    bounded(async {
        let hub = Hub::new();
        let mut client = subscribed(&hub, json!({"partial": true})).await;
        let process = Spawn::new("it", sh("printf half; exec sleep 3600"))
            .unwrap()
            .start(&hub)
            .unwrap();
        assert_eq!(output(&mut client).await["data"], "half");
        process.signal(outrace::process::Signal::Kill).unwrap();
        assert_eq!(until_line(&mut client, "half").await, ["o half"]);
    })
    .await;
}

#[tokio::test]
async fn a_line_publisher_shows_its_unfinished_line_when_it_is_due() {
    bounded(async {
        let hub = Hub::new();
        let mut client = subscribed(&hub, json!({"partial": true})).await;
        let mut lines = LinePublisher::new(hub.publisher("process:it").unwrap());
        assert_eq!(lines.partial_due(), None);
        lines.push(b"one\nPassword: ");
        let due = lines.partial_due().expect("a line is unfinished");
        tokio::time::sleep_until(due).await;
        lines.show_partial();
        assert_eq!(lines.partial_due(), None, "it is shown");
        assert_eq!(output(&mut client).await["data"], "one");
        assert_eq!(output(&mut client).await["data"], "Password: ");
        lines.finish();
        assert_eq!(until_line(&mut client, "Password: ").await.len(), 1);
        assert_eq!(output(&mut client).await["data"], "");
    })
    .await;
}
