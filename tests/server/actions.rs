//! Actions over HTTP (section 6 of the wire contract).

use outrace_testkit::http::{act, get, post};
use outrace_testkit::{Server, until, without_timestamp};
use serde_json::json;

#[test]
fn each_action_has_its_documented_effect() {
    let server = Server::new();
    let mut socket = server.subscriber("process:web");
    socket.subscribe("news");
    for (body, sent) in [
        (
            r#"{"action":"ws.send_process_output","process_id":"web","output":"a \"line\""}"#,
            r#"{"type":"process_output","channel":"process:web","processId":"web","data":"a \"line\""}"#,
        ),
        (
            r#"{"action":"ws.send_process_output","process_id":"web","output":""}"#,
            r#"{"type":"process_output","channel":"process:web","processId":"web","data":""}"#,
        ),
        (
            r#"{"action":"ws.send_process_status","process_id":"web","status":"exited","exit_code":3}"#,
            r#"{"type":"process_status","channel":"process:web","processId":"web","data":{"status":"exited","exitCode":3}}"#,
        ),
        (
            r#"{"action":"ws.send_process_status","process_id":"web","status":"running"}"#,
            r#"{"type":"process_status","channel":"process:web","processId":"web","data":{"status":"running","exitCode":0}}"#,
        ),
        (
            r#"{"action":"ws.send_channel","channel":"news","type":"event","process_id":"web","data":{"a": 1}}"#,
            r#"{"type":"event","channel":"news","processId":"web","data":{"a":1}}"#,
        ),
        (
            r#"{"action":"ws.send_channel","channel":"news","type":"mine"}"#,
            r#"{"type":"mine","channel":"news"}"#,
        ),
        (
            r#"{"action":"ws.broadcast","type":"event","channel":"elsewhere","data":"x"}"#,
            r#"{"type":"event","channel":"elsewhere","data":"x"}"#,
        ),
        (
            r#"{"action":"ws.broadcast","type":"event","process_id":"web","data":null}"#,
            r#"{"type":"event","processId":"web","data":null}"#,
        ),
        (
            r#"{"action":"ws.send_event","event":"deployed","data":[1, 2]}"#,
            r#"{"type":"event","data":{"event":"deployed","data":[1,2]}}"#,
        ),
        (
            r#"{"action":"ws.send_event","event":"tick"}"#,
            r#"{"type":"event","data":{"event":"tick","data":null}}"#,
        ),
        (
            r#"{"action":"ws.send_error","message":"disk full"}"#,
            r#"{"type":"error","data":"disk full"}"#,
        ),
    ] {
        let answer = act(server.address, body);
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"subscribers": 1})),
            "{body}"
        );
        assert_eq!(without_timestamp(&socket.text()), sent);
    }
}

#[test]
fn counts_are_answered() {
    let server = Server::new();
    let mut sockets = [
        server.subscriber("a"),
        server.subscriber("a"),
        server.connect(),
    ];
    sockets[0].subscribe("b");
    sockets[2].ping();
    for (body, reply) in [
        (r#"{"action":"ws.client_count"}"#, json!({"count": 3})),
        (r#"{"action":"ws.channel_count"}"#, json!({"count": 2})),
        (
            r#"{"action":"ws.subscriber_count","channel":"a"}"#,
            json!({"count": 2}),
        ),
        (
            r#"{"action":"ws.subscriber_count","channel":"nobody"}"#,
            json!({"count": 0}),
        ),
        (
            r#"{"action":"ws.stats"}"#,
            json!({"clients": 3, "channels": 2, "subscribers": 3}),
        ),
        (
            r#"{"action":"ws.send_channel","channel":"nobody","type":"event"}"#,
            json!({"subscribers": 0}),
        ),
        (
            r#"{"action":"ws.send_process_output","process_id":"nobody","output":"x"}"#,
            json!({"subscribers": 0}),
        ),
    ] {
        let answer = act(server.address, body);
        assert_eq!((answer.status, answer.json()), (200, reply), "{body}");
    }
}

#[test]
fn an_array_is_answered_with_one_result_each_in_order() {
    let server = Server::new();
    let mut socket = server.subscriber("process:p");
    let lines: Vec<_> = (0..100)
        .map(|n| json!({"action": "ws.send_process_output", "process_id": "p", "output": format!("0:{n}")}))
        .chain([json!({"action": "ws.client_count"})])
        .collect();
    let replies = act(server.address, &json!(lines).to_string()).json();
    assert_eq!(replies.as_array().unwrap().len(), 101);
    assert_eq!(
        (&replies[0], &replies[100]),
        (&json!({"subscribers": 1}), &json!({"count": 1}))
    );
    for n in 0..100 {
        assert_eq!(outrace_testkit::labelled(&socket.json()), Some((0, n)));
    }
    assert_eq!(act(server.address, " [ ] ").json(), json!([]));
    assert_eq!(
        act(server.address, r#"[{"action":"ws.channel_count"}]"#).json(),
        json!([{"count": 1}])
    );
}

#[test]
fn a_missing_key_is_named() {
    let server = Server::new();
    for (body, text) in [
        (
            r#"{"action":"ws.broadcast"}"#,
            "ws.broadcast: type is required",
        ),
        (
            r#"{"action":"ws.send_channel","type":"event"}"#,
            "ws.send_channel: channel is required",
        ),
        (
            r#"{"action":"ws.send_channel","channel":"a"}"#,
            "ws.send_channel: type is required",
        ),
        (
            r#"{"action":"ws.send_channel","channel":"","type":"event"}"#,
            "ws.send_channel: channel is required",
        ),
        (
            r#"{"action":"ws.send_event"}"#,
            "ws.send_event: event is required",
        ),
        (
            r#"{"action":"ws.send_error"}"#,
            "ws.send_error: message is required",
        ),
        (
            r#"{"action":"ws.send_error","message":null}"#,
            "ws.send_error: message is required",
        ),
        (
            r#"{"action":"ws.send_process_output","output":"x"}"#,
            "ws.send_process_output: process_id is required",
        ),
        (
            r#"{"action":"ws.send_process_output","process_id":"p"}"#,
            "ws.send_process_output: output is required",
        ),
        (
            r#"{"action":"ws.send_process_status","status":"exited"}"#,
            "ws.send_process_status: process_id is required",
        ),
        (
            r#"{"action":"ws.send_process_status","process_id":"p","exit_code":1}"#,
            "ws.send_process_status: status is required",
        ),
        (
            r#"{"action":"ws.subscriber_count"}"#,
            "ws.subscriber_count: channel is required",
        ),
    ] {
        act(server.address, body).assert_refusal(400, text);
    }
}

#[test]
fn a_request_that_is_no_action_is_refused() {
    let server = Server::new();
    for body in [
        "",
        "{",
        "7",
        "null",
        r#""ws.stats""#,
        "{}",
        r#"{"action":null}"#,
        r#"{"action":"ws.unheard_of"}"#,
        r#"{"action":"ws.stats"}{"action":"ws.stats"}"#,
        r#"[{"action":"ws.stats"},7]"#,
        r#"[[{"action":"ws.stats"}]]"#,
        r#"{"action":"ws.send_channel","channel":"a b","type":"event"}"#,
        r#"{"action":"ws.send_channel","channel":"process:a:b","type":"event"}"#,
        r#"{"action":"ws.send_channel","channel":7,"type":"event"}"#,
        r#"{"action":"ws.send_process_output","process_id":"a:b","output":"x"}"#,
        r#"{"action":"ws.send_process_output","process_id":"p","output":7}"#,
        r#"{"action":"ws.send_process_status","process_id":"p","status":"exited","exit_code":"1"}"#,
        r#"{"action":"ws.send_process_status","process_id":"p","status":"exited","exit_code":2147483648}"#,
    ] {
        let answer = act(server.address, body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(!answer.body.is_empty());
    }
}

#[test]
fn a_bad_action_refuses_the_whole_request_and_none_is_applied() {
    let server = Server::new();
    let mut socket = server.subscriber("process:p");
    let good = r#"{"action":"ws.send_process_output","process_id":"p","output":"x"}"#;
    for bad in [
        r#"{"action":"ws.send_error"}"#,
        r#"{"action":"ws.unheard_of"}"#,
        r#"{"action":"ws.send_process_output","process_id":"a b","output":"x"}"#,
        "7",
    ] {
        for body in [
            format!("[{good},{good},{bad}]"),
            format!("[{bad},{good}]"),
            format!("[{good},{bad},{good}]"),
        ] {
            assert_eq!(act(server.address, &body).status, 400, "{body}");
        }
    }
    assert_eq!(socket.ping(), [""; 0]);
    assert_eq!(server.hub.channels().next().unwrap().published, 0);
}

#[test]
fn only_json_from_this_site_is_accepted() {
    let server = Server::new();
    let mut socket = server.subscriber("process:p");
    let body = r#"{"action":"ws.send_process_output","process_id":"p","output":"x"}"#;
    let ask = |headers: &str| post(server.address, "/api/actions", headers, body);
    let json_type = "Content-Type: application/json\r\n";
    ask(&format!("{json_type}Origin: http://evil.example\r\n")).assert_refusal(403, "Forbidden");
    ask("Origin: http://evil.example\r\n").assert_refusal(403, "Forbidden");
    for wrong in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
    ] {
        let answer = ask(wrong);
        assert_eq!(answer.status, 415, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    assert_eq!(socket.ping(), [""; 0]);
    for right in [
        json_type.to_owned(),
        "Content-Type: Application/JSON; charset=utf-8\r\n".to_owned(),
        format!("{json_type}Origin: http://localhost:9999\r\n"),
    ] {
        assert_eq!(ask(&right).status, 200);
        assert_eq!(socket.json()["data"], "x");
    }
    assert_eq!(get(server.address, "/api/actions").status, 405);
}

#[test]
fn actions_of_many_connections_at_once_are_all_applied() {
    let server = Server::with(outrace::Hub::builder().queue(1000));
    let mut socket = server.subscriber("process:p");
    let address = server.address;
    let threads: Vec<_> = (0..8)
        .map(|publisher| {
            std::thread::spawn(move || {
                for n in 0..20 {
                    let body = json!({"action": "ws.send_process_output", "process_id": "p", "output": format!("{publisher}:{n}")});
                    assert_eq!(act(address, &body.to_string()).status, 200);
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    for _ in 0..160 {
        let (publisher, n) = outrace_testkit::labelled(&socket.json()).unwrap();
        assert_eq!(n, next[publisher]);
        next[publisher] += 1;
    }
    for thread in threads {
        outrace_testkit::join("the publisher", thread);
    }
    until("nothing more is on its way", || {
        server.hub.stats().queued == 0
    });
}
