//! Messages that are no commands, and messages that the application sends to one client.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use outrace::{Client, ClientMessage, Hub, HubBuilder, Lines};
use outrace_testkit::socket::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT, masked};
use outrace_testkit::{Server, Socket, TIMEOUT, until};
use proptest::prelude::*;

fn echo() -> HubBuilder {
    Hub::builder().on_message(|client, message| {
        let _sent = match message {
            ClientMessage::Text(text) => client.send_text(text),
            ClientMessage::Binary(bytes) => client.send_binary(bytes),
            _ => false,
        };
    })
}

#[test]
fn the_hub_gets_the_commands_and_the_application_all_other_messages() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let server = Server::with(Hub::builder().on_message(move |client, message| {
        let kind = matches!(message, ClientMessage::Text(_));
        ears.lock()
            .unwrap()
            .push((client.id(), kind, message.as_bytes().to_vec()));
    }));
    let mut socket = server.subscriber("process:p");
    let id = server.client(&socket).id();
    let others: [&[u8]; 4] = [
        b"",
        b"hello",
        b"{\"type\":\"move\",\"x\":1}",
        "[\"\u{fffd}\"".as_bytes(),
    ];
    for message in others {
        socket.send_frame(TEXT, message);
        socket.send_frame(BINARY, message);
    }
    socket.send_frame(BINARY, b"\xff\xfe");
    socket.send_frame(BINARY, br#"{"type":"subscribe","channel":"process:q"}"#);
    assert!(socket.ping().is_empty());
    let mut expected: Vec<_> = others
        .iter()
        .flat_map(|m| [(id, true, m.to_vec()), (id, false, m.to_vec())])
        .collect();
    expected.push((id, false, b"\xff\xfe".to_vec()));
    assert_eq!(*heard.lock().unwrap(), expected);
    assert_eq!(server.hub.stats().ignored, 0);
    assert_eq!(server.hub.channel_subscriber_count("process:q"), 1);
}

#[test]
fn a_panic_over_a_message_ends_that_connection_alone_and_handles_no_more_of_it() {
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let server = Server::with(Hub::builder().on_message(move |_, message| {
        seen.lock().unwrap().push(message.as_bytes().to_vec());
        assert_ne!(message, ClientMessage::Text("bad"), "as the test wants it");
    }));
    let mut other = server.subscriber("process:p");
    let mut socket = server.connect();
    let pipelined = [&b"good"[..], b"bad", b"never"]
        .map(|text| masked(0x80 | TEXT, text))
        .concat();
    socket.send_bytes(&pipelined);
    assert_eq!(socket.close_code(), 1011);
    assert_eq!(
        *handled.lock().unwrap(),
        [b"good".to_vec(), b"bad".to_vec()]
    );
    server.hub.send_process_output("p", "still here").unwrap();
    assert_eq!(other.json()["data"], "still here");
    until("it is counted", || {
        server.hub.stats().closed.get("internal error") == Some(&1)
    });
}

#[test]
fn messages_to_one_client_arrive_whole_and_in_order_among_all_others() {
    let server = Server::with(Hub::builder().queue(10_000));
    let (mut socket, mut other) = (
        server.subscriber("process:p"),
        server.subscriber("process:p"),
    );
    let client = server.client(&socket);
    let long = "x".repeat(70_000);
    for n in 0..500 {
        assert!(client.send_text(&format!("text {n}")));
        assert!(client.send_binary(&[n as u8, 0xff]));
        server
            .hub
            .send_process_output("p", format!("0:{n}"))
            .unwrap();
    }
    assert!(client.send_text(&long) && client.send_text("") && client.send_binary(b""));
    let frames: Vec<Frame> = (0..1503).map(|_| socket.frame()).collect();
    let (lines, own): (Vec<_>, Vec<_>) = frames
        .into_iter()
        .partition(|frame| frame.payload.starts_with(b"{\"type\":\"process_output\""));
    assert_eq!(lines.len(), 500);
    for (n, pair) in own[..1000].chunks(2).enumerate() {
        assert_eq!(
            pair[0],
            Frame {
                opcode: TEXT,
                payload: format!("text {n}").into()
            }
        );
        assert_eq!(
            pair[1],
            Frame {
                opcode: BINARY,
                payload: vec![n as u8, 0xff]
            }
        );
    }
    assert_eq!(own[1000].text(), long);
    assert_eq!(
        own[1001..],
        [(TEXT, vec![]), (BINARY, vec![])].map(|(opcode, payload)| Frame { opcode, payload })
    );
    assert_eq!(other.ping().len(), 500, "nobody else gets them");
    server.settle();
}

#[test]
fn a_client_that_does_not_read_is_spared_and_one_that_is_gone_gets_nothing_and_all_is_counted() {
    let server = Server::with(Hub::builder().queue(10));
    let stalled = server.subscriber("process:p");
    let client = server.client(&stalled);
    let big = vec![7; 100_000];
    let mut sent = 0;
    while client.send_binary(&big) {
        sent += 1;
    }
    assert!(!client.send_text("no room for this either"));
    assert!(client.queued() <= 10, "its bound holds");
    assert_eq!(client.skipped(), 2);
    let before = server.hub.stats();
    assert_eq!(
        (before.skipped, before.offered),
        (2, sent + 3),
        "and a pong"
    );
    stalled.reset();
    until("it is gone", || server.hub.client_count() == 0);
    assert!(!client.send_text("late"));
    server.settle();
    let Server { ref hub, .. } = server;
    assert_eq!(hub.stats().offered, sent + 4);
    assert!(hub.stats().discarded > 0);
    drop(server);
    assert!(!client.send_text("the hub may be gone by now"));
}

#[test]
fn messages_before_a_close_or_a_violation_are_answered_before_it() {
    let server = Server::with(echo());
    for (last, code) in [
        (masked(0x88, &1000_u16.to_be_bytes()), 1000),
        (masked(0xc1, b"reserved bit"), 1002),
    ] {
        let mut socket = server.connect();
        socket.send_bytes(&[masked(0x81, b"one"), masked(0x82, b"two"), last].concat());
        assert_eq!(
            socket.frame(),
            Frame {
                opcode: TEXT,
                payload: b"one".to_vec()
            }
        );
        assert_eq!(
            socket.frame(),
            Frame {
                opcode: BINARY,
                payload: b"two".to_vec()
            }
        );
        assert_eq!(socket.close_code(), code);
    }
    server.settle();
}

#[test]
fn a_close_frame_is_answered_though_much_waits_and_the_peer_reads_late() {
    let server = Server::with(Hub::builder().queue(100_000).queue_bytes(1 << 30));
    let mut socket = server.narrow_subscriber("process:p");
    let client = server.client(&socket);
    while client.queued() < 100 {
        server
            .hub
            .send_process_output("p", "x".repeat(10_000))
            .unwrap();
    }
    socket.send_frame(CLOSE, &1000_u16.to_be_bytes());
    until("the server has begun to close", || {
        server.hub.client_count() == 0
    });
    assert_eq!(socket.close_code(), 1000);
    server.settle();
}

#[test]
fn a_stream_over_http_carries_its_channel_and_neither_broadcasts_nor_frames() {
    let server = Server::new();
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    (&stream)
        .write_all(b"GET /api/channels/process:p/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
    until("it is subscribed", || {
        server.hub.channel_subscriber_count("process:p") == 1
    });
    let client: Arc<Client> = server.hub.subscribers("process:p").next().unwrap();
    let mut watching = server.subscriber("process:q");
    assert!(!client.send_text("not on its channel"));
    assert_eq!(server.hub.send_error("to all"), 2);
    assert_eq!(watching.json()["data"], "to all");
    server.hub.send_process_output("p", "the line").unwrap();
    let mut body = Vec::new();
    let mut reader = BufReader::new(stream);
    while !body.ends_with(b"the line\n") {
        reader.read_until(b'\n', &mut body).unwrap();
    }
    assert!(body.is_ascii(), "{:?}", String::from_utf8_lossy(&body));
    let body = String::from_utf8(body).unwrap();
    assert!(
        !body.contains("to all") && !body.contains("not on its channel"),
        "{body}"
    );
    server.settle();
}

/// Sends a message in fragments, with pings between them.
fn send_in_pieces(socket: &mut Socket, text: &[u8], cuts: &[usize]) {
    let mut start = 0;
    let mut opcode = TEXT;
    for &cut in cuts {
        let cut = cut % (text.len() + 1);
        if cut >= start {
            socket.send_part(opcode, &text[start..cut]);
            socket.send_frame(PING, b"between");
            (start, opcode) = (cut, CONTINUATION);
        }
    }
    socket.send_frame(opcode, &text[start..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_back_whole_however_it_is_cut(text in "\\PC{0,300}", cuts in prop::collection::vec(0..1300_usize, 0..6)) {
        let server = Server::with(echo());
        let mut socket = server.connect();
        send_in_pieces(&mut socket, text.as_bytes(), &cuts);
        loop {
            let frame = socket.frame();
            if frame.opcode == PONG {
                prop_assert_eq!(frame.payload, b"between");
                continue;
            }
            prop_assert_eq!(frame.text(), text);
            break;
        }
    }
}

#[test]
fn a_weak_handle_does_not_keep_its_hub() {
    let hub = Hub::new();
    let weak = hub.downgrade();
    assert!(weak.upgrade().is_some());
    drop(hub);
    assert!(weak.upgrade().is_none());
}

#[test]
fn the_lines_of_a_run_are_iterated_by_reference() {
    let lines = Lines::split("one\ntwo\nthree\n");
    let mut seen = Vec::new();
    for line in &lines {
        seen.push(line);
    }
    assert_eq!(seen, [&b"one"[..], b"two", b"three"]);
    assert_eq!(
        (lines.iter().len(), lines.iter().nth(2)),
        (3, Some(&b"three"[..]))
    );
}

#[test]
fn events_of_processes_may_be_runs_of_lines_and_statuses_of_the_application() {
    let hub = Hub::builder().history(10).build().unwrap();
    let id = outrace::ProcessId::lossy("web/1");
    for event in [
        outrace::ProcessEvent::Lines {
            id: id.clone(),
            lines: Lines::split("a\nb\n"),
        },
        outrace::ProcessEvent::Status {
            id: id.clone(),
            status: "draining".into(),
            code: 0,
        },
    ] {
        assert_eq!(event.id(), &id);
        hub.publish_event(event);
    }
    let past = hub.history("process:web-1", 10);
    assert_eq!(
        past.iter()
            .filter_map(outrace::Event::text)
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(matches!(
        &past[2],
        outrace::Event::Status { status: outrace::Status::Other(name), .. } if name == "draining"
    ));
}
