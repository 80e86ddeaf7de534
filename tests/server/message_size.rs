//! The bound of a message's size: nothing that a client gets is longer, in any encoding.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use outrace::{Data, Hub, Lines, Message, MessageType, OutputStream};
use outrace_testkit::http::act;
use outrace_testkit::{Server, Socket, without_timestamp};
use serde_json::{Value, json};

/// What go-ws's client reads of one message.
const MAX_MESSAGE: usize = 65_536;

/// Publishes, then reads all that a subscriber gets up to the line `end`.
#[track_caller]
fn received(server: &Server, socket: &mut Socket, publish: impl FnOnce(&Hub)) -> Vec<String> {
    publish(&server.hub);
    server.hub.send_process_output("web", "end").unwrap();
    let mut texts = Vec::new();
    loop {
        let text = socket.text();
        let message: Value = serde_json::from_str(&text).unwrap();
        let is_end = message["data"] == "end"
            || message["data"]
                .as_array()
                .is_some_and(|lines| lines.last() == Some(&json!("end")));
        texts.push(text);
        if is_end {
            return texts;
        }
    }
}

/// Joins the lines of messages. The last one, `end`, is left out.
fn joined(texts: &[String]) -> String {
    let mut lines = Vec::new();
    for text in texts {
        let message: Value = serde_json::from_str(text).unwrap();
        match &message["data"] {
            Value::Array(batch) => {
                lines.extend(batch.iter().map(|line| line.as_str().unwrap().to_owned()))
            }
            line => lines.push(line.as_str().unwrap().to_owned()),
        }
    }
    assert_eq!(lines.pop().as_deref(), Some("end"));
    lines.concat()
}

/// Lines that are too long, each with what it reads as.
fn long_lines() -> Vec<(Vec<u8>, String)> {
    [
        vec![b'x'; 100_000],
        vec![0; 60_000],
        vec![b'"'; 65_536],
        vec![0xff; 40_000],
        "\u{2028}".repeat(30_000).into_bytes(),
        "é€😀".repeat(10_000).into_bytes(),
        [&[b'a'; 65_400][..], "😀".repeat(50).as_bytes()].concat(),
        [&[0xe2, 0x80][..]; 40_000].concat(),
    ]
    .into_iter()
    .map(|line| {
        let text = String::from_utf8_lossy(&line).into_owned();
        (line, text)
    })
    .collect()
}

#[test]
fn a_long_line_of_any_bytes_comes_in_pieces_that_fit_and_join_to_it() {
    for options in [
        None,
        Some(json!({"detail": true})),
        Some(json!({"batch": true})),
        Some(json!({"batch": true, "detail": true})),
    ] {
        let server = Server::new();
        let mut socket = server.connect();
        socket.send_json(match &options {
            None => json!({"type": "subscribe", "channel": "process:web"}),
            Some(options) => {
                json!({"type": "subscribe", "channel": "process:web", "options": options})
            }
        });
        socket.ping();
        for (line, text) in long_lines() {
            for publish in [
                &(|hub: &Hub| _ = hub.send_process_output("web", &line)) as &dyn Fn(&Hub),
                &|hub: &Hub| {
                    let lines = [&line].into_iter().collect::<Lines>();
                    _ = hub.send_process_lines("web", lines.with_stream(OutputStream::Stderr));
                },
                &|hub: &Hub| _ = hub.publisher("process:web").unwrap().send_line(&line),
                &|hub: &Hub| {
                    let message = Message::output(line.clone());
                    _ = hub.send_to_channel("process:web", message);
                },
            ] {
                let texts = received(&server, &mut socket, publish);
                assert!(texts.len() > 2, "{options:?}");
                for text in &texts {
                    assert!(
                        text.len() <= MAX_MESSAGE,
                        "{} bytes, {options:?}",
                        text.len()
                    );
                }
                assert!(joined(&texts) == text, "{options:?}, {} bytes", line.len());
            }
        }
    }
}

#[test]
fn a_line_that_fits_is_whole_to_the_byte_and_pieces_are_numbered_messages() {
    let server = Server::with(Hub::builder().history(100));
    let mut socket = server.connect();
    socket.send_json(json!({
        "type": "subscribe", "channel": "process:web", "options": {"detail": true}
    }));
    assert_eq!(socket.json()["type"], "subscribed");
    server
        .hub
        .send_process_output("web", "x".repeat(100_000))
        .unwrap();
    server
        .hub
        .send_process_output("web", "y".repeat(65_000))
        .unwrap();
    let messages = [(); 3].map(|()| socket.json());
    let tell = |message: &Value| {
        (
            message["seq"].as_u64().unwrap(),
            message["continued"] == true,
            message["data"].as_str().unwrap().chars().next().unwrap(),
        )
    };
    assert_eq!(
        messages.each_ref().map(tell),
        [(1, true, 'x'), (2, false, 'x'), (3, false, 'y')]
    );
    assert_eq!(messages[2]["data"].as_str().unwrap().len(), 65_000);
    // A replay of the pieces is the same as they were.
    let mut late = server.connect();
    late.send_json(json!({
        "type": "subscribe", "channel": "process:web", "options": {"detail": true, "tail": 3}
    }));
    assert_eq!(late.json()["data"]["replayed"], 3);
    assert_eq!([(); 3].map(|()| late.json()), messages);
}

#[test]
fn the_bound_can_be_set_and_then_holds_for_batches_too() {
    let server = Server::with(Hub::builder().max_outgoing_message(4096));
    for options in [
        json!({}),
        json!({"batch": true}),
        json!({"batch": true, "detail": true}),
    ] {
        let mut socket = server.connect();
        socket
            .send_json(json!({"type": "subscribe", "channel": "process:web", "options": options}));
        socket.ping();
        let texts = received(&server, &mut socket, |hub| {
            let lines = (0..200).map(|n| format!("{n} {}", "\t".repeat(100)));
            _ = hub.send_process_lines("web", lines.collect());
            _ = hub.send_process_output("web", "z".repeat(10_000));
        });
        assert!(texts.iter().all(|text| text.len() <= 4096));
        assert!(joined(&texts).ends_with(&"z".repeat(10_000)));
    }
    let server = Server::with(Hub::builder().max_outgoing_message(1 << 20));
    let mut socket = server.subscriber("process:web");
    let texts = received(&server, &mut socket, |hub| {
        _ = hub.send_process_output("web", "x".repeat(500_000));
    });
    assert_eq!(texts.len(), 2);
    assert!(texts[0].len() > 500_000);
    let refused = Hub::builder()
        .max_outgoing_message(1000)
        .build()
        .unwrap_err();
    assert!(
        refused.to_string().contains("max_outgoing_message"),
        "{refused}"
    );
}

#[test]
fn a_message_that_cannot_be_cut_is_not_sent_but_counted() {
    let server = Server::new();
    let mut socket = server.subscriber("process:web");
    let hub = &server.hub;
    let long = "x".repeat(70_000);
    assert_eq!(hub.send_event("big", &long).unwrap(), 0);
    assert_eq!(hub.send_error(&long), 0);
    assert_eq!(hub.send_error(&"\0".repeat(20_000)), 0);
    assert_eq!(hub.send_process_status("web", &*long, 0), Ok(0));
    let of_long_type = Message::new(MessageType::from(&*long));
    assert_eq!(hub.send_to_channel("process:web", of_long_type), Ok(0));
    let json = Message::new(MessageType::ProcessOutput)
        .with_json(&[&long])
        .unwrap();
    assert_eq!(hub.send_to_channel("process:web", json), Ok(0));
    assert_eq!(hub.stats().refused["message too long"], 6);
    let fits = "x".repeat(65_000);
    assert_eq!(hub.send_event("big", &fits).unwrap(), 1);
    let text = socket.text();
    assert!(text.contains(&fits) && text.len() <= MAX_MESSAGE);
    assert_eq!(hub.channels().next().unwrap().published, 0);
}

#[test]
fn a_broadcast_line_that_names_a_process_is_cut_too() {
    let server = Server::new();
    let mut socket = server.subscriber("a");
    let line = "x".repeat(100_000);
    server.hub.broadcast(
        Message::output(line.clone())
            .in_channel(outrace::ChannelName::parse("process:web").unwrap()),
    );
    let pieces = [socket.text(), socket.text()];
    assert!(pieces.iter().all(|piece| piece.len() <= MAX_MESSAGE));
    let texts = pieces.map(|piece| {
        let message: Value = serde_json::from_str(&piece).unwrap();
        assert_eq!(message["channel"], "process:web");
        message["data"].as_str().unwrap().to_owned()
    });
    assert_eq!(texts.concat(), line);
}

#[test]
fn an_action_that_is_too_long_refuses_the_whole_request_and_a_long_line_is_cut() {
    let server = Server::new();
    let mut socket = server.subscriber("process:web");
    let long = "x".repeat(70_000);
    for (name, action) in [
        (
            "ws.send_event",
            json!({"action": "ws.send_event", "event": "e", "data": long}),
        ),
        (
            "ws.send_error",
            json!({"action": "ws.send_error", "message": long}),
        ),
        (
            "ws.broadcast",
            json!({"action": "ws.broadcast", "type": "event", "data": long}),
        ),
        (
            "ws.send_channel",
            json!({"action": "ws.send_channel", "channel": "process:web", "type": "event",
                "data": {"a": long}}),
        ),
        (
            "ws.send_process_status",
            json!({"action": "ws.send_process_status", "process_id": "web", "status": long}),
        ),
    ] {
        let small = json!({"action": "ws.send_error", "message": "small"});
        let response = act(server.address, &json!([small, action]).to_string());
        response.assert_refusal(
            400,
            &format!("{name}: the message must have at most 65536 bytes with its envelope"),
        );
    }
    let line = json!({"action": "ws.send_process_output", "process_id": "web", "output": long});
    assert_eq!(act(server.address, &line.to_string()).status, 200);
    let pieces = [(); 2].map(|()| socket.json()["data"].as_str().unwrap().to_owned());
    assert_eq!(
        pieces.concat(),
        long,
        "and nothing of the refused requests came before it"
    );
    let line = json!({"action": "ws.send_channel", "channel": "process:web",
        "type": "process_output", "data": long});
    assert_eq!(act(server.address, &line.to_string()).status, 200);
    let pieces = [(); 2].map(|()| socket.json()["data"].as_str().unwrap().to_owned());
    assert_eq!(pieces.concat(), long);
}

/// Opens a stream over HTTP and returns it after the header.
fn stream(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        header.push(byte[0]);
    }
    stream
}

#[test]
fn a_stream_of_text_has_the_long_line_whole_and_one_of_events_its_pieces_by_number() {
    let server = Server::with(Hub::builder().history(100));
    let line = "x".repeat(100_000);
    server.hub.send_process_output("web", &line).unwrap();
    server.hub.send_process_output("web", "end").unwrap();
    let read = |path: &str, end: &str| {
        let mut stream = stream(&server, path);
        let mut body = Vec::new();
        while !String::from_utf8_lossy(&body).contains(end) {
            let mut chunk = [0; 16 * 1024];
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the stream goes on");
            body.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8(body).unwrap()
    };
    let text = read("/api/channels/process:web/stream?tail=9", "end\n");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains('x')).collect();
    // A line of the body may begin behind the size of a chunk.
    let count = text.matches('x').count();
    assert_eq!(
        (
            count,
            lines.iter().filter(|line| line.len() > 60_000).count() > 0
        ),
        (100_000, true)
    );
    assert!(!text.contains("x\nx"), "the pieces are joined");
    let events = read("/api/channels/process:web/events?tail=9", "\"end\"");
    assert_eq!(
        events.matches("\nid: ").count() + usize::from(events.starts_with("id: ")),
        4
    );
    for (place, message) in events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .enumerate()
    {
        assert!(message.len() <= MAX_MESSAGE, "event {place}");
    }
}

/// Reads a stream of text from its beginning up to the line `end`.
fn text_to_the_end(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let path = "/api/channels/process:web/stream?tail=99";
    // In this version the body has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"end\n") {
        let mut chunk = [0; 16 * 1024];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the stream goes on");
        response.extend_from_slice(&chunk[..n]);
    }
    let response = String::from_utf8(response).unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

#[test]
fn a_stream_of_text_joins_the_pieces_that_were_read_one_after_another() {
    // Without an interval each piece is a block of its own.
    let hub = Hub::builder()
        .history(100)
        .max_flush_interval(Duration::ZERO);
    let server = Server::with(hub);
    let piece = |text: &'static str, stream: Option<OutputStream>, continued: bool| {
        let lines = Lines::split(text).with_continued(if continued { vec![0] } else { vec![] });
        let lines = match stream {
            Some(stream) => lines.with_stream(stream),
            None => lines,
        };
        server.hub.send_process_lines("web", lines).unwrap();
    };
    let (out, err) = (Some(OutputStream::Stdout), Some(OutputStream::Stderr));
    piece("a", None, true);
    piece("b", None, true);
    server
        .hub
        .send_process_status("web", "a status is no line", 0)
        .unwrap();
    piece("c", None, false);
    piece("alone", None, false);
    piece("o1", out, true);
    piece("e1", err, true);
    piece("e2", err, false);
    piece("o2", out, true);
    piece("o3", out, false);
    server.hub.send_process_output("web", "end").unwrap();
    assert_eq!(
        text_to_the_end(&server),
        "abc\nalone\no1\ne1e2\no2o3\nend\n"
    );
}

#[test]
fn a_short_line_has_the_same_bytes_as_ever() {
    let server = Server::new();
    let mut socket = server.subscriber("process:web");
    server.hub.send_process_output("web", "short").unwrap();
    assert_eq!(
        without_timestamp(&socket.text()),
        r#"{"type":"process_output","channel":"process:web","processId":"web","data":"short"}"#
    );
    let Data::Text(text) = Message::output("short").data().clone() else {
        panic!("a text")
    };
    assert_eq!(text, "short");
}
