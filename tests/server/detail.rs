//! The subscribe option `detail`: the number of each message, and what is known of its line.

use outrace::{Hub, Lines, Message, OutputStream, Status};
use outrace_testkit::{Server, Socket};
use serde_json::{Value, json};

/// Connects a client and subscribes it to `process:web` with options.
#[track_caller]
fn subscribe(server: &Server, options: Value) -> (Socket, Value) {
    let mut socket = server.connect();
    socket.send_json(json!({"type": "subscribe", "channel": "process:web", "options": options}));
    let subscribed = socket.json();
    assert_eq!(subscribed["type"], "subscribed");
    (socket, subscribed)
}

fn lines(texts: &[&str]) -> Lines {
    texts.iter().collect()
}

/// Returns a message without the text of its timestamp.
fn normal(text: &str) -> String {
    let start = text.find(r#""timestamp":""#).unwrap() + r#""timestamp":""#.len();
    format!("{}T{}", &text[..start], &text[start + 24..])
}

#[test]
fn each_message_goes_on_after_its_timestamp_with_its_number_and_what_applies() {
    let server = Server::new();
    let (mut socket, subscribed) = subscribe(&server, json!({"detail": true}));
    assert_eq!(
        subscribed["seq"],
        Value::Null,
        "it has no number of its own"
    );
    let hub = &server.hub;
    hub.send_process_output("web", "one").unwrap();
    hub.send_process_lines("web", lines(&["two"]).with_stream(OutputStream::Stdout))
        .unwrap();
    hub.send_process_lines("web", lines(&["three"]).with_stream(OutputStream::Stderr))
        .unwrap();
    let pieces = lines(&["fo", "ur"])
        .with_stream(OutputStream::Stderr)
        .with_continued(vec![0]);
    hub.send_process_lines("web", pieces).unwrap();
    hub.send_process_lines("web", lines(&["old"]).with_past())
        .unwrap();
    hub.send_process_status("web", Status::Exited, 3).unwrap();
    hub.send_to_channel("process:web", Message::error("no"))
        .unwrap();
    let head = r#"{"type":"process_output","channel":"process:web","processId":"web","data":"#;
    for expected in [
        format!(r#"{head}"one","timestamp":"T","seq":1}}"#),
        format!(r#"{head}"two","timestamp":"T","seq":2}}"#),
        format!(r#"{head}"three","timestamp":"T","seq":3,"stream":"stderr"}}"#),
        format!(r#"{head}"fo","timestamp":"T","seq":4,"stream":"stderr","continued":true}}"#),
        format!(r#"{head}"ur","timestamp":"T","seq":5,"stream":"stderr"}}"#),
        format!(r#"{head}"old","timestamp":"T","seq":6,"past":true}}"#),
        r#"{"type":"process_status","channel":"process:web","processId":"web","data":{"status":"exited","exitCode":3},"timestamp":"T","seq":7}"#.to_owned(),
        r#"{"type":"error","channel":"process:web","data":"no","timestamp":"T","seq":8}"#.to_owned(),
    ] {
        assert_eq!(normal(&socket.text()), expected);
    }
}

#[test]
fn a_client_without_the_option_sees_none_of_it() {
    let server = Server::new();
    let mut plain = server.subscriber("process:web");
    let (mut gaps, _) = subscribe(&server, json!({"gaps": true}));
    let (mut off, _) = subscribe(&server, json!({"detail": false}));
    let (mut with, _) = subscribe(&server, json!({"detail": true}));
    let run = lines(&["x"]).with_stream(OutputStream::Stderr).with_past();
    server.hub.send_process_lines("web", run).unwrap();
    let expected = r#"{"type":"process_output","channel":"process:web","processId":"web","data":"x","timestamp":"T"}"#;
    for socket in [&mut plain, &mut gaps, &mut off] {
        assert_eq!(normal(&socket.text()), expected);
    }
    assert_eq!(with.json()["seq"], 1);
}

#[test]
fn the_number_is_the_one_that_subscribed_and_gaps_count_by() {
    let server = Server::with(Hub::builder().history(10).queue(4));
    for n in 1..=6 {
        server
            .hub
            .send_process_output("web", n.to_string())
            .unwrap();
    }
    let (mut socket, subscribed) =
        subscribe(&server, json!({"detail": true, "tail": 3, "gaps": true}));
    assert_eq!(subscribed["data"]["seq"], 3);
    for n in 4..=6 {
        let message = socket.json();
        assert_eq!(
            (&message["data"], &message["seq"]),
            (&json!(n.to_string()), &json!(n))
        );
    }
    // A burst beyond the queue: every number is either a message's or a gap's.
    let burst: Lines = (7..=500).map(|n: u64| n.to_string()).collect();
    server.hub.send_process_lines("web", burst).unwrap();
    let mut next = 7;
    while next <= 500 {
        let message = socket.json();
        if message["type"] == "gap" {
            assert_eq!(
                (&message["data"]["from"], &message["seq"]),
                (&json!(next), &Value::Null)
            );
            next = message["data"]["to"].as_u64().unwrap() + 1;
        } else {
            assert_eq!(
                (&message["data"], &message["seq"]),
                (&json!(next.to_string()), &json!(next))
            );
            next += 1;
        }
    }
}

#[test]
fn a_batch_holds_lines_of_one_stream_and_its_last_line_may_go_on() {
    let server = Server::with(Hub::builder().history(100));
    let hub = &server.hub;
    let publisher = hub.publisher("process:web").unwrap();
    let stderr = |texts: &[&str]| lines(texts).with_stream(OutputStream::Stderr);
    publisher.send_lines(lines(&["a", "b"]));
    publisher.send_lines(lines(&["c"]).with_stream(OutputStream::Stdout));
    publisher.send_lines(stderr(&["d", "e", "f"]).with_continued(vec![1]));
    publisher.send_lines(lines(&["g", "h"]).with_past());
    publisher.send_status("exited", 0);
    let (mut socket, _) = subscribe(&server, json!({"detail": true, "batch": true, "tail": 99}));
    let mut seen = Vec::new();
    loop {
        let message = socket.json();
        if message["type"] == "process_status" {
            assert_eq!(message["seq"], 9);
            break;
        }
        assert_eq!(message["type"], "process_output_batch");
        let first = message["seq"].as_u64().unwrap();
        let texts = message["data"].as_array().unwrap();
        for (index, text) in (0..).zip(texts) {
            let last = index + 1 == texts.len() as u64;
            seen.push((
                first + index,
                text.as_str().unwrap().to_owned(),
                message["stream"] == "stderr",
                last && message["continued"] == true,
                message["past"] == true,
            ));
        }
    }
    let line =
        |seq, text: &str, stderr, continued, past| (seq, text.to_owned(), stderr, continued, past);
    assert_eq!(
        seen,
        [
            line(1, "a", false, false, false),
            line(2, "b", false, false, false),
            line(3, "c", false, false, false),
            line(4, "d", true, false, false),
            line(5, "e", true, true, false),
            line(6, "f", true, false, false),
            line(7, "g", false, false, true),
            line(8, "h", false, false, true),
        ]
    );
}

#[test]
fn a_batch_with_detail_has_the_documented_shape() {
    let server = Server::new();
    let (mut socket, _) = subscribe(&server, json!({"detail": true, "batch": true}));
    let run = lines(&["a", "b"])
        .with_stream(OutputStream::Stderr)
        .with_continued(vec![1]);
    server.hub.send_process_lines("web", run).unwrap();
    assert_eq!(
        normal(&socket.text()),
        r#"{"type":"process_output_batch","channel":"process:web","processId":"web","data":["a","b"],"seq":1,"timestamp":"T","stream":"stderr","continued":true}"#
    );
}

#[test]
fn a_range_that_is_sent_again_has_its_old_numbers() {
    let server = Server::with(Hub::builder().history(10));
    let (mut socket, subscribed) = subscribe(&server, json!({"detail": true}));
    let run = lines(&["a", "b", "c"]).with_stream(OutputStream::Stderr);
    server.hub.send_process_lines("web", run).unwrap();
    let first: Vec<Value> = (0..3).map(|_| socket.json()).collect();
    socket.send_json(
        json!({"type": "subscribe", "channel": "process:web", "options":
        {"range": {"epoch": subscribed["data"]["epoch"], "from": 2, "to": 3}}}),
    );
    assert_eq!(socket.json()["type"], "replay");
    assert_eq!([socket.json(), socket.json()][..], first[1..]);
    assert_eq!(socket.json()["type"], "replayed");
}

#[test]
fn an_option_of_the_wrong_type_is_refused() {
    let server = Server::new();
    for options in [
        json!({"detail": 1}),
        json!({"detail": null}),
        json!({"partial": "yes"}),
    ] {
        let mut socket = server.connect();
        socket
            .send_json(json!({"type": "subscribe", "channel": "process:web", "options": options}));
        assert_eq!(socket.json()["data"], "Subscribe: invalid options");
    }
}

#[test]
fn a_lossless_publisher_keeps_what_is_known_of_its_lines() {
    let server = Server::with(Hub::builder().queue(8));
    let (mut socket, _) = subscribe(&server, json!({"detail": true}));
    let publisher = server.hub.publisher("process:web").unwrap();
    let lossless = outrace::Lossless::new(publisher, outrace_testkit::TIMEOUT);
    let reader = std::thread::spawn(move || (0..42).map(|_| socket.json()).collect::<Vec<_>>());
    let long = "x".repeat(100_000);
    let texts = (0..40).map(|n| n.to_string()).chain([long.clone()]);
    let mut run = texts
        .collect::<Lines>()
        .with_stream(OutputStream::Stderr)
        .with_continued(vec![30]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(lossless.send_lines(&mut run));
    assert!(run.is_empty());
    let messages = outrace_testkit::join("the reader", reader);
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(
            (&message["seq"], &message["stream"]),
            (&json!(index + 1), &json!("stderr"))
        );
        assert_eq!(
            message["continued"] == true,
            [30, 40].contains(&index),
            "{index}"
        );
    }
    let text = |index: usize| messages[index]["data"].as_str().unwrap();
    assert_eq!([text(40), text(41)].concat(), long);
}
