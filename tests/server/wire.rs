//! The wire contract, byte for byte, over real sockets: messages, commands, refusals and
//! violations.

use outrace::{Admission, Data, Hub, Message, MessageType, ProcessEvent, ProcessId, Status};
use outrace_testkit::socket::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, handshake, masked};
use outrace_testkit::{Server, Socket, http, until, without_timestamp};
use serde_json::{Value, json};

/// Publishes one message, and returns it without its timestamp as a subscriber of `process:web-1`
/// gets it.
#[track_caller]
fn published(publish: impl FnOnce(&Hub)) -> String {
    let server = Server::new();
    let mut socket = server.subscriber("process:web-1");
    publish(&server.hub);
    without_timestamp(&socket.text())
}

// Section 1: messages, server to client.

#[test]
fn a_line_of_a_process_has_the_documented_shape() {
    let line = r#"{"type":"process_output","channel":"process:web-1","processId":"web-1","data":"the line"}"#;
    assert_eq!(
        published(|hub| assert_eq!(hub.send_process_output("web-1", "the line"), Ok(1))),
        line
    );
    let event = ProcessEvent::Output {
        id: ProcessId::parse("web-1").unwrap(),
        line: "the line".into(),
    };
    assert_eq!(
        published(|hub| assert_eq!(hub.publish_event(event), 1)),
        line
    );
    assert_eq!(
        published(|hub| _ = hub
            .publisher("process:web-1")
            .unwrap()
            .send_line("the line")),
        line
    );
    let lines = [&b"the line"[..]].into_iter().collect();
    assert_eq!(
        published(|hub| assert_eq!(hub.send_process_lines("web-1", lines), Ok(1))),
        line
    );
    assert_eq!(
        published(|hub| _ = hub.send_to_channel("process:web-1", Message::output("the line"))),
        line
    );
}

#[test]
fn a_status_has_the_documented_shape() {
    for (status, given, sent) in [
        ("exited", 3, 3),
        ("exited", -1, -1),
        ("crashed", 139, 139),
        ("stopped", 0, 0),
        ("running", 7, 0),
        ("re-\"starting\"", 0, 0),
    ] {
        let name = serde_json::to_string(status).unwrap();
        assert_eq!(
            published(|hub| assert_eq!(hub.send_process_status("web-1", status, given), Ok(1))),
            format!(
                r#"{{"type":"process_status","channel":"process:web-1","processId":"web-1","data":{{"status":{name},"exitCode":{sent}}}}}"#
            )
        );
    }
}

#[test]
fn process_events_become_statuses() {
    let id = ProcessId::parse("web-1").unwrap();
    for (event, status, code) in [
        (ProcessEvent::Started { id: id.clone() }, Status::Running, 0),
        (
            ProcessEvent::Exited {
                id: id.clone(),
                code: 2,
            },
            Status::Exited,
            2,
        ),
        (
            ProcessEvent::Crashed {
                id: id.clone(),
                code: 137,
            },
            Status::Crashed,
            137,
        ),
        (ProcessEvent::Stopped { id: id.clone() }, Status::Stopped, 0),
    ] {
        let message: Value =
            serde_json::from_str(&published(|hub| _ = hub.publish_event(event))).unwrap();
        assert_eq!(
            message["data"],
            json!({"status": status.as_str(), "exitCode": code})
        );
    }
}

#[test]
fn events_and_errors_go_to_all_clients_and_name_no_channel() {
    let server = Server::new();
    let mut sockets = [server.subscriber("a"), server.connect()];
    sockets[1].ping();
    assert_eq!(
        server
            .hub
            .send_event("deployed", &json!({"rev": "abc", "n": [1, null]}))
            .unwrap(),
        2
    );
    assert_eq!(server.hub.send_event("tick", &()).unwrap(), 2);
    assert_eq!(server.hub.send_error("disk \"full\""), 2);
    assert_eq!(
        server
            .hub
            .broadcast(Message::new(MessageType::from("notice")).with_text("all")),
        2
    );
    let named =
        Message::new(MessageType::Event).in_channel(outrace::ChannelName::parse("news").unwrap());
    assert_eq!(server.hub.broadcast(named), 2);
    for socket in &mut sockets {
        for expected in [
            r#"{"type":"event","data":{"event":"deployed","data":{"n":[1,null],"rev":"abc"}}}"#,
            r#"{"type":"event","data":{"event":"tick","data":null}}"#,
            r#"{"type":"error","data":"disk \"full\""}"#,
            r#"{"type":"notice","data":"all"}"#,
            r#"{"type":"event","channel":"news"}"#,
        ] {
            assert_eq!(without_timestamp(&socket.text()), expected);
        }
    }
}

#[test]
fn a_pong_is_a_type_and_a_timestamp() {
    let server = Server::new();
    let mut socket = server.connect();
    socket.send_text(r#"{"type":"ping"}"#);
    assert_eq!(without_timestamp(&socket.text()), r#"{"type":"pong"}"#);
}

#[test]
fn keys_stand_in_order_and_are_left_out_when_empty() {
    let server = Server::new();
    let mut socket = server.subscriber("news");
    let kind = || MessageType::from("custom");
    let id = || ProcessId::parse("p.1").unwrap();
    for (message, expected) in [
        (
            Message::new(kind()),
            r#"{"type":"custom","channel":"news"}"#,
        ),
        (
            Message::new(kind()).with_process(id()),
            r#"{"type":"custom","channel":"news","processId":"p.1"}"#,
        ),
        (
            Message::new(kind()).with_process(id()).with_text("x"),
            r#"{"type":"custom","channel":"news","processId":"p.1","data":"x"}"#,
        ),
        (
            Message::new(MessageType::from("a\"b")),
            r#"{"type":"a\"b","channel":"news"}"#,
        ),
    ] {
        assert_eq!(server.hub.send_to_channel("news", message), Ok(1));
        assert_eq!(without_timestamp(&socket.text()), expected);
    }
}

#[test]
fn data_is_left_out_only_when_there_is_none() {
    let server = Server::new();
    let mut socket = server.subscriber("news");
    for data in [
        r#""""#,
        "0",
        "false",
        "{}",
        "null",
        "[]",
        "-1.5e300",
        r#"{"a":{"b":[true]}}"#,
    ] {
        let raw = serde_json::value::RawValue::from_string(data.to_owned()).unwrap();
        server
            .hub
            .send_to_channel("news", Message::new(MessageType::Event).with_raw_json(raw))
            .unwrap();
        assert_eq!(
            without_timestamp(&socket.text()),
            format!(r#"{{"type":"event","channel":"news","data":{data}}}"#)
        );
    }
    let message = Message::new(MessageType::Event);
    assert_eq!(message.data(), &Data::None);
    server.hub.send_to_channel("news", message).unwrap();
    assert_eq!(
        without_timestamp(&socket.text()),
        r#"{"type":"event","channel":"news"}"#
    );
    let pretty =
        serde_json::value::RawValue::from_string("{ \"a b\" :\n [1,\t2] }".to_owned()).unwrap();
    server
        .hub
        .send_to_channel(
            "news",
            Message::new(MessageType::Event).with_raw_json(pretty),
        )
        .unwrap();
    assert_eq!(
        without_timestamp(&socket.text()),
        r#"{"type":"event","channel":"news","data":{"a b":[1,2]}}"#
    );
}

#[test]
fn every_byte_and_every_awkward_text_reads_back_as_it_was() {
    let server = Server::with(Hub::builder().queue(2048));
    let mut socket = server.subscriber("process:p");
    let mut lines: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    lines.extend(
        (0..=255)
            .map(|byte| [b"left ", &[byte][..], b" right, long enough for wide steps"].concat()),
    );
    lines.extend(
        [
            &b""[..],
            b"\"\\/\"",
            br#"{"type":"pong"}"#,
            "U+2028 \u{2028} U+2029 \u{2029} NEL \u{85} BOM \u{feff}".as_bytes(),
            "emoji 🦀 👩‍👩‍👧 café 漢字 \u{10ffff}".as_bytes(),
            b"cut \xf0\x9f\xa6",
            b"cut \xf0\x9f\xa6 within \xe2\x82",
            b"surrogate \xed\xa0\x80 overlong \xc0\xaf \xf5\x80\x80\x80",
        ]
        .map(<[u8]>::to_vec),
    );
    server
        .hub
        .send_process_lines("p", lines.iter().collect())
        .unwrap();
    for line in &lines {
        let text = socket.text();
        assert!(
            text.bytes().all(|byte| byte >= 0x20),
            "no raw control byte: {text:?}"
        );
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            message["data"],
            String::from_utf8_lossy(line).as_ref(),
            "{line:?}"
        );
    }
}

#[test]
fn the_usual_escapes_are_the_short_ones() {
    let line = published(|hub| {
        _ = hub.send_process_output("web-1", b"\" \\ / \n \r \t \x08 \x0c \x01 \x1f \x7f \xff")
    });
    let data = r#""\" \\ / \n \r \t \b \f \u0001 \u001f "#.to_owned() + "\u{7f} \u{fffd}\"";
    assert_eq!(
        line,
        format!(
            r#"{{"type":"process_output","channel":"process:web-1","processId":"web-1","data":{data}}}"#
        )
    );
}

#[test]
fn the_timestamp_is_utc_with_milliseconds_and_never_runs_back() {
    let server = Server::new();
    let mut socket = server.subscriber("process:p");
    let mut last = String::new();
    for _ in 0..50 {
        server.hub.send_process_output("p", "x").unwrap();
        let text = socket.text();
        without_timestamp(&text);
        let stamp = text[text.len() - 26..].to_owned();
        assert!(stamp >= last, "{stamp} after {last}");
        last = stamp;
    }
}

#[test]
fn a_flood_is_one_json_per_message() {
    let server = Server::with(Hub::builder().queue(1 << 16));
    let mut socket = server.subscriber("process:p");
    let publisher = server.hub.publisher("process:p").unwrap();
    let flood = std::thread::spawn(move || {
        for n in 0..10_000 {
            publisher.send_line(format!("0:{n}"));
        }
    });
    for n in 0..10_000 {
        // `JSON.parse(event.data)` needs one value and nothing after it.
        assert_eq!(outrace_testkit::labelled(&socket.json()), Some((0, n)));
    }
    flood.join().unwrap();
}

#[test]
fn lines_of_any_length_arrive_whole_where_messages_may_be_as_long() {
    let server = Server::with(Hub::builder().max_outgoing_message(1 << 30));
    let mut socket = server.subscriber("process:p");
    for length in [
        0, 1, 20, 30, 100, 125, 126, 127, 1000, 65_000, 65_535, 65_536, 300_000, 6_000_000,
    ] {
        let line = "x".repeat(length);
        server.hub.send_process_output("p", &line).unwrap();
        assert_eq!(socket.json()["data"], *line);
    }
}

// Section 2: messages, client to server.

#[test]
fn both_spellings_of_subscribe_and_unsubscribe_are_equal() {
    let server = Server::new();
    let mut socket = server.connect();
    for key in ["channel", "data"] {
        socket.send_json(json!({"type": "subscribe", key: "process:web-1"}));
        assert_eq!(socket.ping(), [""; 0], "success has no reply");
        assert_eq!(server.hub.channel_subscriber_count("process:web-1"), 1);
        server.hub.send_process_output("web-1", key).unwrap();
        assert_eq!(socket.json()["data"], key);
        socket.send_json(json!({"type": "unsubscribe", key: "process:web-1"}));
        assert_eq!(socket.ping(), [""; 0]);
        assert_eq!(server.hub.send_process_output("web-1", "nobody"), Ok(0));
    }
    // The channel is the non-empty `channel`, else `data`.
    socket.send_json(json!({"type": "subscribe", "channel": "a", "data": "b"}));
    socket.send_json(json!({"type": "subscribe", "channel": "", "data": "c"}));
    socket.ping();
    assert_eq!(
        server
            .client(&socket)
            .subscriptions()
            .map(|c| c.to_string())
            .collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn binary_messages_and_fragments_are_treated_like_text() {
    let server = Server::new();
    let mut socket = server.connect();
    socket.send_frame(BINARY, br#"{"type":"subscribe","channel":"a"}"#);
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(server.hub.channel_subscriber_count("a"), 1);
    socket.send_part(TEXT, br#"{"type":"sub"#);
    socket.send_frame(PING, b"between");
    socket.send_part(CONTINUATION, br#"scribe","chan"#);
    socket.send_frame(CONTINUATION, br#"nel":"b"}"#);
    assert_eq!(
        (
            socket.frame().opcode,
            server.hub.channel_subscriber_count("a")
        ),
        (PONG, 1)
    );
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(server.hub.channel_subscriber_count("b"), 1);
}

#[test]
fn commands_in_one_packet_are_handled_in_order() {
    let server = Server::new();
    let mut socket = server.connect();
    let mut packet = Vec::new();
    for (kind, channel) in [
        ("subscribe", "a"),
        ("subscribe", "b"),
        ("unsubscribe", "a"),
        ("ping", ""),
        ("subscribe", "c"),
        ("ping", ""),
    ] {
        packet.extend(masked(
            0x80 | TEXT,
            json!({"type": kind, "channel": channel})
                .to_string()
                .as_bytes(),
        ));
    }
    socket.send_bytes(&packet);
    assert_eq!(socket.json()["type"], "pong");
    assert_eq!(socket.json()["type"], "pong");
    let names = server
        .client(&socket)
        .subscriptions()
        .map(|c| c.to_string())
        .collect::<Vec<_>>();
    assert_eq!(names, ["b", "c"]);
}

#[test]
fn messages_sent_with_the_handshake_are_not_lost() {
    let server = Server::new();
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let mut packet = handshake("").into_bytes();
    packet.extend(masked(
        0x80 | TEXT,
        br#"{"type":"subscribe","channel":"early"}"#,
    ));
    std::io::Write::write_all(&mut stream, &packet).unwrap();
    until("the early subscription counts", || {
        server.hub.channel_subscriber_count("early") == 1
    });
}

#[test]
fn subscribing_twice_is_free_and_unsubscribing_from_nothing_is_a_no_op() {
    let server = Server::with(Hub::builder().max_subscriptions(1));
    let mut socket = server.connect();
    for _ in 0..3 {
        socket.send_json(json!({"type": "subscribe", "channel": "a"}));
    }
    for channel in ["b", "", "not valid!", "process:"] {
        socket.send_json(json!({"type": "unsubscribe", "channel": channel}));
    }
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(
        (
            server.hub.channel_subscriber_count("a"),
            server.hub.channel_count()
        ),
        (1, 1)
    );
    server
        .hub
        .send_to_channel("a", Message::output("once"))
        .unwrap();
    assert_eq!(socket.ping().len(), 1);
    socket.send_json(json!({"type": "unsubscribe", "channel": "a"}));
    socket.send_json(json!({"type": "unsubscribe", "channel": "a"}));
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(
        (
            server.hub.channel_subscriber_count("a"),
            server.hub.channel_count()
        ),
        (0, 0)
    );
    assert!(server.hub.stats().refused.is_empty());
}

#[test]
fn a_message_that_is_no_command_is_ignored_and_counted_and_the_connection_stays() {
    let server = Server::new();
    let mut socket = server.connect();
    let silent = [
        "",
        " ",
        "{",
        "nonsense",
        "null",
        "7",
        "[]",
        r#"[{"type":"subscribe","channel":"a"}]"#,
        "{}",
        r#"{"channel":"a"}"#,
        r#"{"type":null,"channel":"a"}"#,
        r#"{"type":7,"channel":"a"}"#,
        r#"{"type":"Subscribe","channel":"a"}"#,
        r#"{"type":"unheard_of","channel":"a"}"#,
        r#"{"type":"process_output","channel":"a","data":"x"}"#,
        r#"{"type":"subscribe","channel":7}"#,
        r#"{"type":"subscribe","channel":["a"]}"#,
        r#"{"type":"subscribe","channel":{"a":1},"data":"a"}"#,
        r#"{"type":"ping"}{"type":"ping"}"#,
        r#"{"type":"ping","x":}"#,
        // They name no channel.
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","channel":"","data":""}"#,
        r#"{"type":"subscribe","data":["a"]}"#,
        r#"{"type":"subscribe","data":7,"options":{"gaps":7}}"#,
        r#"{"type":"unsubscribe","channel":null}"#,
        "\u{feff}{\"type\":\"ping\"}",
    ];
    for message in silent {
        socket.send_text(message);
    }
    socket.send_frame(BINARY, b"\xff{\"type\":\"ping\"}");
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(server.hub.stats().ignored, silent.len() as u64 + 1);
    assert_eq!(
        (server.hub.channel_count(), server.hub.stats().refused.len()),
        (0, 0)
    );
    // Unknown keys do not matter.
    socket.send_text(
        r#"{"later":[1,{}],"type":"subscribe","channel":"a","options":{"encoding":"deflate"}}"#,
    );
    socket.send_text(r#"{"type":"ping","data":{"deep":[[[]]]},"processId":7}"#);
    while socket.json()["type"] != "pong" {}
    assert_eq!(server.hub.channel_subscriber_count("a"), 1);
    assert_eq!(server.hub.stats().ignored, silent.len() as u64 + 1);
}

#[test]
fn what_go_reads_is_read() {
    let server = Server::new();
    let mut socket = server.connect();
    for (message, channel) in [
        (r#"{"Type":"subscribe","CHANNEL":"any-case"}"#, "any-case"),
        (
            r#"{"type":"subscribe","data":123456789012345678901234567890,"channel":"number"}"#,
            "number",
        ),
        (
            r#"{"type":"subscribe","channel":"surrogate","note":"\ud800"}"#,
            "surrogate",
        ),
        (
            r#"{"type":"subscribe","channel":"x","channel":"later"}"#,
            "later",
        ),
        (
            r#"{"type":"subscribe","channel":"null","channel":null}"#,
            "null",
        ),
    ] {
        socket.send_text(message);
        assert_eq!(socket.ping(), [""; 0], "{message}");
        assert_eq!(server.hub.channel_subscriber_count(channel), 1, "{message}");
    }
    socket.send_frame(
        BINARY,
        b"{\"type\":\"subscribe\",\"channel\":\"binary\",\"note\":\"\xff\"}",
    );
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(server.hub.channel_subscriber_count("binary"), 1);
    assert_eq!(server.hub.stats().ignored, 0);
    // Replaced in a name, they make it invalid.
    socket.send_text(r#"{"type":"subscribe","channel":"\udc00"}"#);
    socket.send_frame(BINARY, b"{\"type\":\"subscribe\",\"channel\":\"\xff\"}");
    let answers = socket.ping();
    assert_eq!(answers.len(), 2);
    assert!(
        answers
            .iter()
            .all(|answer| answer.contains("invalid channel name"))
    );
}

#[test]
fn names_are_judged_by_the_documented_rules() {
    const CHANNEL: &str = "Subscribe: invalid channel name";
    const PROCESS: &str = "Subscribe: invalid process ID";
    let longest_channel = "c".repeat(256);
    let too_long_channel = "c".repeat(257);
    let longest_process = format!("process:{}", "p".repeat(128));
    let longest_channel_and_more = format!("process:{longest_channel}");
    let too_long_process = format!("process:{}", "p".repeat(129));
    let cases = [
        ("a", None),
        ("A9_.:-", None),
        (":", None),
        ("process", None),
        ("processes:a:b", None),
        ("x:process:", None),
        ("process:a", None),
        ("process:A9_.-", None),
        (&*longest_channel, None),
        (&*longest_process, None),
        (&*too_long_channel, Some(CHANNEL)),
        ("a b", Some(CHANNEL)),
        ("a/b", Some(CHANNEL)),
        ("a\n", Some(CHANNEL)),
        ("a\0", Some(CHANNEL)),
        ("é", Some(CHANNEL)),
        ("*", Some(CHANNEL)),
        ("process:a b", Some(CHANNEL)),
        ("process:a/b", Some(CHANNEL)),
        ("process:é", Some(CHANNEL)),
        (&*longest_channel_and_more, Some(CHANNEL)),
        ("process:", Some(PROCESS)),
        ("process:a:b", Some(PROCESS)),
        (&*too_long_process, Some(PROCESS)),
    ];
    let server = Server::new();
    let mut socket = server.connect();
    let mut refused = 0;
    for (name, refusal) in cases {
        socket.send_json(json!({"type": "subscribe", "channel": name}));
        let answers: Vec<String> = socket
            .ping()
            .iter()
            .map(|answer| without_timestamp(answer))
            .collect();
        match refusal {
            None => {
                assert_eq!(answers, [""; 0], "{name:?}");
                assert_eq!(server.hub.channel_subscriber_count(name), 1, "{name:?}");
                server
                    .hub
                    .send_to_channel(name, Message::output("x"))
                    .unwrap();
                assert_eq!(socket.json()["channel"], name);
            }
            Some(text) => {
                assert_eq!(
                    answers,
                    [format!(r#"{{"type":"error","data":"{text}"}}"#)],
                    "{name:?}"
                );
                assert!(
                    server
                        .hub
                        .send_to_channel(name, Message::output("x"))
                        .is_err(),
                    "{name:?}"
                );
                assert!(server.hub.publisher(name).is_err(), "{name:?}");
                refused += 1;
            }
        }
    }
    assert_eq!(server.hub.stats().refused["invalid name"], refused);
    for id in ["", "a:b", "a b", &*"p".repeat(129), "é", "a/b"] {
        assert!(server.hub.send_process_output(id, "x").is_err(), "{id:?}");
        assert!(
            server.hub.send_process_status(id, "exited", 0).is_err(),
            "{id:?}"
        );
        assert!(
            server
                .hub
                .send_process_lines(id, outrace::Lines::split("x"))
                .is_err(),
            "{id:?}"
        );
    }
    assert!(
        server
            .hub
            .send_process_output(&"p".repeat(128), "x")
            .is_ok()
    );
}

#[test]
fn a_refusal_goes_to_that_client_alone() {
    let server = Server::new();
    let mut other = server.subscriber("a");
    let mut socket = server.connect();
    socket.send_json(json!({"type": "subscribe", "channel": "a b"}));
    assert_eq!(socket.ping().len(), 1);
    assert_eq!(other.ping(), [""; 0]);
}

#[test]
fn the_application_may_refuse_a_subscription() {
    let server =
        Server::with(Hub::builder().on_subscribe(|_, channel| channel.as_str() != "secret"));
    let mut socket = server.connect();
    socket.subscribe("open");
    socket.send_json(json!({"type": "subscribe", "channel": "secret"}));
    let answers = socket.ping();
    assert_eq!(answers.len(), 1);
    assert_eq!(
        without_timestamp(&answers[0]),
        r#"{"type":"error","data":"Subscribe: subscription unauthorised"}"#
    );
    assert_eq!(server.hub.channel_subscriber_count("secret"), 0);
}

#[test]
fn the_subscription_limit_is_1024_or_what_was_configured() {
    for (server, limit) in [
        (Server::new(), 1024),
        (Server::with(Hub::builder().max_subscriptions(3)), 3),
    ] {
        let mut socket = server.connect();
        for n in 0..limit {
            socket.send_json(json!({"type": "subscribe", "channel": format!("c{n}")}));
        }
        assert_eq!(socket.ping(), [""; 0]);
        assert_eq!(server.hub.channel_count(), limit);
        socket.send_json(json!({"type": "subscribe", "channel": "one-more"}));
        socket.send_json(json!({"type": "subscribe", "channel": "c0"}));
        let answers = socket.ping();
        assert_eq!(answers.len(), 1, "one had is no further one");
        assert_eq!(
            without_timestamp(&answers[0]),
            r#"{"type":"error","data":"subscription limit exceeded"}"#
        );
        socket.send_json(json!({"type": "unsubscribe", "channel": "c0"}));
        socket.subscribe("one-more");
        assert_eq!(server.hub.channel_count(), limit);
        drop(socket);
        until("the channels have vanished", || {
            server.hub.channel_count() == 0
        });
    }
}

#[test]
fn inbound_messages_may_have_64_kib_and_not_a_byte_more() {
    let server = Server::new();
    let mut socket = server.connect();
    let padded = |length: usize| {
        let frame = r#"{"type":"ping","data":""}"#;
        frame.replace(
            r#""""#,
            &format!("\"{}\"", "x".repeat(length - frame.len())),
        )
    };
    socket.send_text(&padded(64 * 1024));
    assert_eq!(socket.json()["type"], "pong");
    socket.send_text(&padded(64 * 1024 + 1));
    assert_eq!(socket.close_code(), 1009);
    // The bound is the same for a message in fragments.
    let mut socket = server.connect();
    let half = padded(80 * 1024);
    let (head, tail) = half.as_bytes().split_at(40 * 1024);
    socket.send_part(TEXT, head);
    socket.send_frame(CONTINUATION, tail);
    assert_eq!(socket.close_code(), 1009);
    // A claimed length is enough, without the bytes.
    let mut socket = server.connect();
    socket.send_bytes(&[
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ]);
    assert!(matches!(socket.close_code(), 1009 | 1002));
    until("all are counted", || {
        server.hub.stats().closed.get("message too big") >= Some(&2)
    });
    assert_eq!(server.hub.client_count(), 0);
}

#[test]
fn invalid_utf8_in_a_text_message_closes_with_1007() {
    let server = Server::new();
    for text in [
        &b"\xff"[..],
        b"{\"type\":\"ping\",\"data\":\"\xed\xa0\x80\"}",
        b"cut \xf0\x9f\xa6",
    ] {
        let mut socket = server.subscriber("a");
        socket.send_frame(TEXT, text);
        assert_eq!(socket.close_code(), 1007, "{text:?}");
    }
    let mut socket = server.connect();
    socket.send_part(TEXT, b"first \xf0\x9f");
    socket.send_frame(CONTINUATION, b"\xff");
    assert_eq!(socket.close_code(), 1007);
    // A fragment may end within a UTF-8 sequence.
    let mut socket = server.connect();
    socket.send_part(TEXT, b"{\"type\":\"ping\",\"data\":\"\xf0\x9f");
    socket.send_frame(CONTINUATION, b"\xa6\x80\"}");
    assert_eq!(socket.json()["type"], "pong");
}

#[test]
fn a_protocol_violation_closes_with_1002_and_the_close_frame_arrives() {
    let ping = br#"{"type":"ping"}"#;
    let unmasked = [&[0x81, ping.len() as u8][..], ping].concat();
    let cases: &[(&str, Vec<u8>)] = &[
        ("an unmasked frame", unmasked),
        ("a reserved bit", masked(0xc0 | TEXT, ping)),
        ("another reserved bit", masked(0xa0 | TEXT, ping)),
        ("the third reserved bit", masked(0x90 | TEXT, ping)),
        ("a reserved opcode", masked(0x83, ping)),
        ("a reserved control opcode", masked(0x8b, ping)),
        ("a fragmented control frame", masked(PING, b"x")),
        (
            "a control frame over 125 bytes",
            masked(0x80 | PING, &[b'x'; 126]),
        ),
        ("a continuation of nothing", masked(0x80, ping)),
        (
            "a message within a fragmented one",
            [masked(TEXT, b"{"), masked(0x80 | TEXT, ping)].concat(),
        ),
    ];
    let server = Server::new();
    for (what, bytes) in cases {
        let mut socket = server.subscriber("process:p");
        socket.send_bytes(bytes);
        // Bytes that are still on their way in must not make the kernel reset the connection and
        // lose the close frame.
        socket.send_bytes(&masked(0x80 | TEXT, ping).repeat(200));
        let (_, closed) = socket
            .drain()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            closed.unwrap_or_else(|| panic!("{what}: no close frame")).0,
            1002,
            "{what}"
        );
    }
    until("all are counted", || {
        server.hub.stats().closed.get("protocol violation") == Some(&(cases.len() as u64))
    });
    assert_eq!(
        (server.hub.client_count(), server.hub.channel_count()),
        (0, 0)
    );
}

#[test]
fn a_violation_amid_a_flood_still_ends_with_its_close_frame() {
    let server = Server::new();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (publisher, stop) = (
            server.hub.publisher("process:p").unwrap(),
            std::sync::Arc::clone(&stop),
        );
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.send_line("x".repeat(200));
            }
        })
    };
    for _ in 0..5 {
        let mut socket = server.subscriber("process:p");
        socket.send_bytes(&masked(0x83, b"x"));
        assert_eq!(socket.close_code(), 1002);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
}

#[test]
fn a_close_is_answered_with_its_code() {
    let server = Server::new();
    for (payload, answered) in [
        (&[0x03, 0xe8][..], Some(1000)),
        (b"\x0f\xa0bye", Some(4000)),
        (b"", None),
    ] {
        let mut socket = server.subscriber("a");
        socket.send_frame(CLOSE, payload);
        let frame = socket.frame();
        assert_eq!(frame.opcode, CLOSE);
        match answered {
            Some(code) => assert_eq!(frame.close().0, code),
            None => assert_eq!(frame.payload, b""),
        }
        assert_eq!(socket.try_frame().unwrap(), None, "then the stream ends");
    }
    until("all are counted", || {
        server.hub.stats().closed.get("peer closed") == Some(&3)
    });
}

// Section 4: refusals over HTTP before the upgrade.

#[test]
fn refused_handshakes_are_answered_in_plain_text() {
    let server = Server::with(Hub::builder().on_upgrade(|uri, headers| {
        if uri.query() == Some("token=good") || headers.get("authorization").is_some() {
            Admission::Admit
        } else if uri.query() == Some("token=banned") {
            Admission::Forbidden
        } else {
            Admission::Unauthorized
        }
    }));
    let ask = |request: String| http::exchange(server.address, request.as_bytes());
    let path = |path: &str, more: &str| handshake(more).replace("/ws", path);
    ask(path("/ws", "")).assert_refusal(401, "Unauthorised");
    ask(path("/ws?token=banned", "")).assert_refusal(403, "Forbidden");
    let foreign = "Origin: http://evil.example\r\n";
    ask(path("/ws?token=good", foreign)).assert_refusal(403, "Forbidden");
    ask(path("/ws?token=good", "Origin: null\r\n")).assert_refusal(403, "Forbidden");
    assert_eq!(
        ask(path("/ws?token=good", "Origin: http://localhost:3000\r\n")).status,
        101
    );
    assert_eq!(ask(path("/ws?token=good", "")).status, 101);
    assert_eq!(ask(path("/ws", "Authorization: Bearer x\r\n")).status, 101);
    until("the admitted are clients or gone", || {
        server.hub.stats().connected == 3
    });
}

#[test]
fn requests_that_are_no_handshake_are_refused_as_such() {
    let server = Server::new();
    let plain = "text/plain; charset=utf-8";
    for (request, status) in [
        ("GET /ws HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426),
        (handshake("").replace("GET", "POST"), 405),
        (handshake("").replace("Version: 13", "Version: 8"), 426),
        (
            handshake("").replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            400,
        ),
        (
            handshake("").replace("Upgrade: websocket", "Upgrade: h2c"),
            426,
        ),
    ] {
        let answer = http::exchange(server.address, request.as_bytes());
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some(plain)),
            "{request}"
        );
        if status == 426 {
            assert_eq!(answer.header("upgrade"), Some("websocket"));
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
    }
    assert_eq!(server.hub.stats().connected, 0);
}

#[test]
fn one_connection_too_many_is_refused_until_another_ends() {
    let server = Server::with(Hub::builder().max_connections(2));
    let (first, _second) = (server.subscriber("a"), server.subscriber("a"));
    let answer = http::exchange(server.address, handshake("").as_bytes());
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    drop(first);
    until("a place is free", || {
        http::exchange(server.address, handshake("").as_bytes()).status == 101
    });
}

#[test]
fn handshakes_while_stopping_are_refused_with_503() {
    // Only the hub stops. The listener still accepts, as it does when the hub is mounted in another
    // server.
    let server = Server::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(server.hub.shutdown());
    let answer = http::exchange(server.address, handshake("").as_bytes());
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(http::get(server.address, "/healthz").status, 503);
    assert_eq!(server.hub.stats().connected, 0);
}

#[test]
fn every_other_path_is_404_and_lists_the_paths_there_are() {
    let server = Server::new();
    for path in ["/", "/ws/more", "/api", "/favicon.ico"] {
        let answer = http::get(server.address, path);
        assert_eq!(answer.status, 404);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        for known in [
            "/ws",
            "/api/actions",
            "/api/stats",
            "/api/channels",
            "/healthz",
        ] {
            assert!(
                answer.body.contains(known),
                "{known} is named in {}",
                answer.body
            );
        }
    }
    let health = http::get(server.address, "/healthz");
    assert_eq!((health.status, &*health.body), (200, "ok\n"));
}

#[test]
fn statistics_and_channels_can_be_read_over_http() {
    let server = Server::new();
    let mut sockets: Vec<Socket> = (0..3).map(|_| server.subscriber("process:p")).collect();
    server.hub.send_process_output("p", "x").unwrap();
    for socket in &mut sockets {
        socket.text();
    }
    server.settle();
    let stats = http::get(server.address, "/api/stats").json();
    assert_eq!(
        (&stats["clients"], &stats["channels"], &stats["subscribers"]),
        (&json!(3), &json!(1), &json!(3))
    );
    assert_eq!(
        (&stats["offered"], &stats["written"]),
        (&json!(6), &json!(6)),
        "three pongs, three lines"
    );
    let channels = http::get(server.address, "/api/channels").json();
    let epoch = &channels[0]["epoch"];
    assert!(
        epoch.as_str().is_some_and(|epoch| !epoch.is_empty()),
        "{channels}"
    );
    assert_eq!(
        channels,
        json!([{
            "channel": "process:p", "subscribers": 3, "published": 1, "skipped": 0, "dropped": 0,
            "epoch": epoch, "seq": 1, "kept_bytes": 0, "status": null,
        }])
    );
    server.hub.send_process_status("p", "exited", 7).unwrap();
    let channels = http::get(server.address, "/api/channels").json();
    assert_eq!(
        channels[0]["status"],
        json!({"status": "exited", "exitCode": 7})
    );
}

#[test]
fn a_channel_with_a_publisher_is_listed_once_it_has_a_status_and_says_the_last_one() {
    let hub = outrace::Hub::new();
    let job = hub.publisher("process:job").unwrap();
    job.send_line("a line alone does not list it");
    assert_eq!(hub.channels().len(), 0);
    job.send_status("running", 0);
    job.send_status("draining", 3);
    // An invalid status leaves the last one in place.
    job.send(outrace::Message::new(outrace::MessageType::ProcessStatus).with_text("nonsense"));
    let status = hub.channels().next().unwrap().status.unwrap();
    assert_eq!((status.status.as_str(), status.code), ("draining", 3));
    drop(job);
    assert_eq!(hub.channels().len(), 0);
}

#[test]
fn nothing_follows_the_answer_to_a_close_frame_whatever_is_published_meanwhile() {
    let server = Server::new();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (hub, over) = (server.hub.clone(), std::sync::Arc::clone(&done));
    let storm = std::thread::spawn(move || {
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            hub.send_to_channel("a", Message::output("on and on"))
                .unwrap();
        }
    });
    for _ in 0..100 {
        let mut socket = server.connect();
        socket.send_json(json!({"type": "subscribe", "channel": "a"}));
        socket.text();
        socket.send_frame(CLOSE, &[0x03, 0xe8]);
        // `close_code` panics if a frame follows the close frame.
        assert_eq!(socket.close_code(), 1000);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    outrace_testkit::join("the storm", storm);
}

#[test]
fn a_handshake_of_http_1_0_is_refused_with_400_and_a_sentence() {
    let server = Server::new();
    let old = outrace_testkit::socket::handshake("").replace("HTTP/1.1", "HTTP/1.0");
    http::exchange(server.address, old.as_bytes()).assert_refusal(
        400,
        "A WebSocket handshake needs HTTP/1.1; a proxy may have to be told to use it.",
    );
    assert_eq!(server.hub.stats().refused["not a handshake"], 1);
}

#[test]
fn a_compressed_body_is_refused_with_415() {
    let server = Server::new();
    let body = r#"{"action":"ws.stats"}"#;
    for (coding, status) in [
        ("gzip", 415),
        ("GZIP", 415),
        ("br", 415),
        ("deflate, gzip", 415),
        ("identity, zstd", 415),
        ("identity\r\nContent-Encoding: gzip", 415),
        ("identity", 200),
        ("identity, identity", 200),
        ("", 200),
        ("Identity", 200),
    ] {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
        let answer = http::post(server.address, "/api/actions", &headers, body);
        assert_eq!(answer.status, status, "{coding}: {answer:?}");
        if status == 415 {
            answer.assert_refusal(
                415,
                "The body is sent as it is, without a Content-Encoding.",
            );
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
}

#[test]
fn a_wrong_query_of_a_stream_is_refused_with_a_sentence_and_counted() {
    let server = Server::new();
    let mut count = 0;
    for stream in ["stream", "events"] {
        for query in [
            "tail=x",
            "tail=-1",
            "tail=",
            "tail=1&tail=2",
            "keep_alive=0",
            "keep_alive=30s",
            "keep_alive=65536",
            "tail=5&keep_alive=0.5",
        ] {
            http::get(server.address, &format!("/api/channels/c/{stream}?{query}")).assert_refusal(
                400,
                "The query takes tail, a number of lines, and keep_alive, a number of seconds from \
                 1 to 65535, each at most once, such as ?tail=100&keep_alive=30.",
            );
            count += 1;
            assert_eq!(
                server.hub.stats().refused["invalid options"],
                count,
                "{query}"
            );
        }
    }
}

#[test]
fn a_body_that_is_compressed_for_the_transfer_is_refused_with_501() {
    let server = Server::new();
    let post = |coding: &str| {
        let body = r#"{"action":"ws.stats"}"#;
        let request = format!(
            "POST /api/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: {coding}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        http::exchange(server.address, request.as_bytes())
    };
    assert_eq!(post("chunked").status, 200);
    assert_eq!(post("Chunked").status, 200);
    for coding in [
        "gzip, chunked",
        "deflate,chunked",
        "br\r\nTransfer-Encoding: chunked",
    ] {
        post(coding).assert_refusal(
            501,
            "The body is sent as it is: the only Transfer-Encoding is chunked.",
        );
    }
}

#[test]
fn every_response_forbids_the_browser_to_guess_its_content_type() {
    let hub = Hub::new();
    let router = hub.router().merge(outrace::server::viewer());
    let server = Server::with_router(hub, router, Default::default());
    let handshake = outrace_testkit::socket::handshake("");
    let mut answers = vec![
        http::exchange(server.address, handshake.as_bytes()),
        http::exchange(
            server.address,
            b"PUT /ws HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        http::exchange(
            server.address,
            b"PUT /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        http::exchange(
            server.address,
            b"GET /ws HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        ),
        http::exchange(
            server.address,
            b"GET /api/stats HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        ),
        http::act(server.address, "nonsense"),
        http::act(server.address, r#"{"action":"ws.stats"}"#),
    ];
    for path in [
        "/",
        "/outrace.js",
        "/viewer/main.js",
        "/nowhere",
        "/ws",
        "/healthz",
        "/metrics",
        "/api/stats",
        "/api/channels",
        "/api/processes",
        "/api/channels/a%20b/stream",
        "/api/channels/a/stream",
        "/api/channels/a/events",
        "/api/channels/a/stream?tail=x",
    ] {
        answers.push(http::get(server.address, path));
    }
    for answer in answers {
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{answer:?}"
        );
    }
}
