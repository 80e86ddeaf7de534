//! The subscribe option `partial`: the line that a process is still writing.

use std::time::{Duration, Instant};

use outrace::{Hub, Lines, OutputStream};
use outrace_testkit::{Server, Socket, until, without_timestamp};
use serde_json::{Value, json};

#[track_caller]
fn subscribe(server: &Server, options: Value) -> Socket {
    let mut socket = server.connect();
    socket.send_json(json!({"type": "subscribe", "channel": "process:web", "options": options}));
    assert_eq!(socket.json()["type"], "subscribed");
    socket
}

fn partial() -> Value {
    json!({"partial": true})
}

/// Reads messages until one is the partial line `text`. Returns those before it.
#[track_caller]
fn until_partial(socket: &mut Socket, text: &str) -> Vec<Value> {
    let mut before = Vec::new();
    loop {
        let message = socket.json();
        if message["type"] == "process_partial" && message["data"] == text {
            return before;
        }
        before.push(message);
    }
}

#[test]
fn a_prompt_without_a_newline_is_seen_and_then_the_whole_line_and_that_there_is_none_any_more() {
    let server = Server::new();
    let mut socket = subscribe(&server, partial());
    let web = server.hub.publisher("process:web").unwrap();
    assert!(web.shows_partial());
    web.show_partial(b"Password: ");
    assert_eq!(
        without_timestamp(&socket.text()),
        r#"{"type":"process_partial","channel":"process:web","processId":"web","data":"Password: "}"#
    );
    web.send_line("Password: ****");
    web.show_partial(b"");
    assert_eq!(socket.json()["data"], "Password: ****");
    assert_eq!(
        without_timestamp(&socket.text()),
        r#"{"type":"process_partial","channel":"process:web","processId":"web","data":""}"#
    );
}

#[test]
fn a_progress_bar_shows_what_stands_behind_its_last_carriage_return() {
    let server = Server::new();
    let mut socket = subscribe(&server, partial());
    let web = server.hub.publisher("process:web").unwrap();
    web.show_partial(b"10%\r20%\r30%\r");
    assert_eq!(socket.json()["data"], "30%");
    web.show_partial(b"10%\r20%\r30%\r40%");
    assert_eq!(socket.json()["data"], "40%");
}

#[test]
fn a_hundred_changes_come_as_ten_a_second_at_most_and_the_last_one_comes() {
    let server = Server::new();
    let mut socket = subscribe(&server, partial());
    let web = server.hub.publisher("process:web").unwrap();
    let start = Instant::now();
    let mut shown = 0;
    while start.elapsed() < Duration::from_millis(450) || shown <= 100 {
        shown += 1;
        web.show_partial(format!("{shown}").as_bytes());
        std::thread::yield_now();
    }
    web.show_partial(b"last");
    let seen = until_partial(&mut socket, "last").len() as u128 + 1;
    let intervals = start.elapsed().as_millis() / 100 + 1;
    assert!(
        shown > 100 && seen <= intervals,
        "{seen} of {shown} in {intervals} intervals"
    );
    assert!(seen >= 2, "the first and the last");
}

#[test]
fn a_late_subscriber_gets_the_current_one_and_one_without_the_option_none() {
    let server = Server::new();
    let web = server.hub.publisher("process:web").unwrap();
    web.show_partial(b"Continue? [y/N] ");
    assert!(!web.shows_partial());
    let mut plain = server.subscriber("process:web");
    let mut socket = subscribe(&server, partial());
    assert_eq!(socket.json()["data"], "Continue? [y/N] ");
    let mut another = subscribe(
        &server,
        json!({"partial": true, "batch": true, "detail": true}),
    );
    let message = another.json();
    assert_eq!(
        (&message["type"], &message["seq"]),
        (&json!("process_partial"), &Value::Null)
    );
    web.send_line("Continue? [y/N] y");
    assert_eq!(plain.json()["data"], "Continue? [y/N] y");
    web.show_partial(b"");
    until_partial(&mut socket, "");
    // Nothing to tell: it sees no text.
    let mut later = subscribe(&server, partial());
    assert!(later.ping().is_empty());
    drop((socket, another, later));
    until("the last one has left", || !web.shows_partial());
}

#[test]
fn it_has_no_number_and_is_in_no_history() {
    let server = Server::with(Hub::builder().history(10));
    let mut socket = subscribe(&server, json!({"partial": true, "detail": true}));
    let web = server.hub.publisher("process:web").unwrap();
    web.send_line("one");
    web.show_partial(b"tw");
    assert_eq!(socket.json()["seq"], 1);
    until_partial(&mut socket, "tw");
    web.send_line("two");
    assert_eq!(socket.json()["seq"], 2);
    let mut late = server.connect();
    late.send_json(json!({"type": "subscribe", "channel": "process:web", "options": {"tail": 10}}));
    let answer = late.json();
    assert_eq!(
        (&answer["data"]["replayed"], &answer["data"]["lost"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(
        [late.json()["data"].clone(), late.json()["data"].clone()],
        ["one", "two"]
    );
    assert!(late.ping().is_empty());
}

#[test]
fn behind_a_full_queue_waits_the_latest_and_the_counters_agree() {
    let server = Server::with(Hub::builder().queue(4).max_flush_interval(Duration::ZERO));
    let mut socket = Socket::connect_narrow(server.address);
    socket.send_json(json!({"type": "subscribe", "channel": "process:web",
        "options": {"partial": true, "gaps": true}}));
    assert_eq!(socket.json()["type"], "subscribed");
    let client = server.client(&socket);
    let web = server.hub.publisher("process:web").unwrap();
    until("the queue is full", || {
        web.send_lines(["x".repeat(60_000)].iter().collect::<Lines>());
        client.skipped() > 0
    });
    web.show_partial(b"1");
    web.show_partial(b"12");
    web.show_partial(b"123");
    let seen = until_partial(&mut socket, "123");
    let partials = seen
        .iter()
        .filter(|message| message["type"] == "process_partial")
        .count();
    assert!(partials <= 1, "{partials} older ones");
    let (mut next, mut lines) = (1, 0);
    for message in &seen {
        if message["type"] == "gap" {
            assert_eq!(message["data"]["from"], next);
            next = message["data"]["to"].as_u64().unwrap() + 1;
        } else if message["type"] == "process_output" {
            next += 1;
            lines += 1;
        }
    }
    assert!(lines > 0);
    server.settle();
}

#[test]
fn the_end_of_a_process_ends_its_partial_line() {
    let server = Server::new();
    let mut socket = subscribe(&server, partial());
    let web = server.hub.publisher("process:web").unwrap();
    web.show_partial(b"half a li");
    until_partial(&mut socket, "half a li");
    server.hub.send_process_status("web", "exited", 1).unwrap();
    let before = until_partial(&mut socket, "");
    assert_eq!(before[0]["data"]["status"], "exited");
}

#[test]
fn the_end_of_a_process_that_nobody_watches_ends_its_partial_line_too() {
    let server = Server::new();
    let web = server.hub.publisher("process:web").unwrap();
    web.show_partial(b"half a li");
    web.send_status("crashed", 139);
    let mut socket = subscribe(&server, partial());
    assert!(socket.ping().is_empty());
    web.show_partial(b"anew");
    assert_eq!(socket.json()["data"], "anew");
}

#[test]
fn a_long_partial_line_of_any_bytes_fits_into_a_message() {
    let server = Server::new();
    let mut socket = subscribe(&server, partial());
    let web = server.hub.publisher("process:web").unwrap();
    for text in [
        vec![0; 60_000],
        vec![0xff; 200_000],
        "é".repeat(50_000).into_bytes(),
    ] {
        web.show_partial(&text);
        let frame = socket.text();
        assert!(frame.len() <= 65_536, "{} bytes", frame.len());
        let message: Value = serde_json::from_str(&frame).unwrap();
        let shown = message["data"].as_str().unwrap();
        assert!(!shown.is_empty());
        assert!(String::from_utf8_lossy(&text).starts_with(shown));
    }
}

#[test]
fn lines_of_another_stream_do_not_end_it() {
    let server = Server::new();
    let mut socket = subscribe(&server, json!({"partial": true, "detail": true}));
    let web = server.hub.publisher("process:web").unwrap();
    web.show_partial(b"50%");
    until_partial(&mut socket, "50%");
    web.send_lines(
        ["warning"]
            .iter()
            .collect::<Lines>()
            .with_stream(OutputStream::Stderr),
    );
    assert_eq!(socket.json()["stream"], "stderr");
    assert!(socket.ping().is_empty(), "it is still shown");
}
