//! Authentication and grants over real sockets (section 4 of the wire contract).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use outrace::access::{
    self, ApiKeys, AuthError, Authenticator, Bearer, Grants, Identity, Origins, PublishTarget,
    Reloadable, TokenTable,
};
use outrace::{Client, Hub};
use outrace_testkit::http::{self, Response, act_with, bearer, exchange, get_with};
use outrace_testkit::socket::handshake;
use outrace_testkit::{Server, Socket, until};
use serde_json::{Value, json};

const ALICE: &str = "alice-token-0123456789";
const CI: &str = "ci-token-0123456789abc";

fn table() -> TokenTable {
    let file = format!(
        "alice {ALICE} subscribe=process:web*\nci {CI} subscribe= publish=process:ci-*,@everyone\n"
    );
    TokenTable::parse(&file).unwrap()
}

fn act(address: SocketAddr, headers: &str, body: &Value) -> Response {
    act_with(address, headers, &body.to_string())
}

fn refused(server: &Server, reason: &str) -> u64 {
    server
        .hub
        .stats()
        .refused
        .get(reason)
        .copied()
        .unwrap_or_default()
}

/// Returns the hub's only client.
fn sole_client(hub: &Hub) -> Arc<Client> {
    // A client is counted before it is listed.
    let mut found = None;
    until("there is one client", || {
        found = hub.clients().next();
        found.is_some() && hub.clients().len() == 1
    });
    found.unwrap()
}

#[test]
fn every_path_refuses_a_client_without_credentials_and_each_refusal_is_counted() {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failures);
    let server = Server::with(Hub::builder().authenticator(table()).on_auth_failure(
        move |shown, error| {
            told.lock().unwrap().push((
                shown.uri().path().to_owned(),
                shown.peer().is_some(),
                error.clone(),
            ));
        },
    ));
    let publish = json!({"action": "ws.send_process_output", "process_id": "ci-1", "output": "x"});
    type Door<'a> = (&'a str, Box<dyn Fn(&str) -> Response + 'a>);
    let mut doors: Vec<Door<'_>> = vec![
        (
            "/ws",
            Box::new(|more| exchange(server.address, handshake(more).as_bytes())),
        ),
        (
            "/api/actions",
            Box::new(|more| act(server.address, more, &publish)),
        ),
        (
            "/api/stats",
            Box::new(|more| get_with(server.address, "/api/stats", more)),
        ),
        (
            "/api/channels",
            Box::new(|more| get_with(server.address, "/api/channels", more)),
        ),
        (
            "/api/channels/a/stream",
            Box::new(|more| get_with(server.address, "/api/channels/a/stream", more)),
        ),
        (
            "/api/channels/a/events",
            Box::new(|more| get_with(server.address, "/api/channels/a/events", more)),
        ),
    ];
    if cfg!(feature = "metrics") {
        doors.push((
            "/metrics",
            Box::new(|more| get_with(server.address, "/metrics", more)),
        ));
    }
    for (path, ask) in &doors {
        for (header, error, challenge) in [
            (String::new(), AuthError::Missing, "Bearer"),
            (
                bearer("wrong"),
                AuthError::Invalid,
                "Bearer error=\"invalid_token\"",
            ),
        ] {
            let answer = ask(&header);
            answer.assert_refusal(401, "Unauthorised");
            assert_eq!(answer.header("www-authenticate"), Some(challenge));
            assert_eq!(
                failures.lock().unwrap().pop(),
                Some(((*path).to_owned(), true, error))
            );
        }
    }
    assert_eq!(refused(&server, "unauthorised"), 2 * doors.len() as u64);
    assert_eq!(server.hub.stats().connected, 0);
    // A path that reveals nothing is open.
    assert_eq!(http::get(server.address, "/healthz").status, 200);
}

#[test]
fn credentials_are_accepted_in_each_place_and_the_hub_knows_the_identity() {
    let server = Server::with(Hub::builder().authenticator(table()));
    for (path, header) in [
        ("/ws".to_owned(), bearer(ALICE)),
        ("/ws".to_owned(), format!("X-API-Key: {ALICE}\r\n")),
        (format!("/ws?token={ALICE}"), String::new()),
    ] {
        let request = handshake(&header).replace("/ws", &path);
        let stream = std::net::TcpStream::connect(server.address).unwrap();
        let mut held = stream.try_clone().unwrap();
        std::io::Write::write_all(&mut held, request.as_bytes()).unwrap();
        assert_eq!(http::read_response(&mut held).status, 101, "{path}");
        let client = sole_client(&server.hub);
        assert_eq!(client.identity().map(Identity::user), Some("alice"));
        assert_eq!(client.address(), Some(stream.local_addr().unwrap()));
        drop((stream, held));
        until("it is gone", || server.hub.client_count() == 0);
    }
}

#[test]
fn a_token_subscribes_to_its_patterns_and_sees_no_other_channel() {
    let server = Server::with(
        Hub::builder()
            .history(10)
            .history_bytes(1 << 16)
            .authenticator(table()),
    );
    server
        .hub
        .send_process_output("web-1", "for alice")
        .unwrap();
    server
        .hub
        .send_process_output("db", "not for alice")
        .unwrap();
    let mut alice = Socket::connect_with(server.address, &bearer(ALICE));
    alice.send_json(json!({"type": "subscribe", "channel": "process:db"}));
    let answers = alice.ping();
    assert!(
        answers.len() == 1 && answers[0].contains("Subscribe: subscription unauthorised"),
        "{answers:?}"
    );
    alice.subscribe("process:web-1");
    server
        .hub
        .send_process_output("db", "not for alice")
        .unwrap();
    server.hub.send_process_output("web-1", "live").unwrap();
    assert_eq!(alice.json()["data"], "live");

    let listed = |token| {
        let channels = get_with(server.address, "/api/channels", &bearer(token)).json();
        let names = channels
            .as_array()
            .unwrap()
            .iter()
            .map(|channel| channel["channel"].clone());
        Value::Array(names.collect())
    };
    assert_eq!(listed(ALICE), json!(["process:web-1"]));
    assert_eq!(listed(CI), json!([]), "`subscribe=` is none");

    let stream = |path| get_with(server.address, path, &bearer(ALICE));
    for path in [
        "/api/channels/process:db/stream?tail=1",
        "/api/channels/process:db/events",
    ] {
        stream(path).assert_refusal(403, "Subscribe: subscription unauthorised");
    }
    assert_eq!(refused(&server, "subscription unauthorised"), 3);
    assert_eq!(
        stream("/api/channels/process:web-1/stream?tail=1").status,
        200
    );
    let count = json!({"action": "ws.subscriber_count", "channel": "process:db"});
    act(server.address, &bearer(ALICE), &count).assert_refusal(403, "Forbidden");
}

#[test]
fn a_token_publishes_to_its_patterns_alone_and_to_all_only_when_told() {
    let server = Server::with(Hub::builder().authenticator(table()));
    let output =
        |id: &str| json!({"action": "ws.send_process_output", "process_id": id, "output": "x"});
    let everyone = [
        json!({"action": "ws.send_event", "event": "e"}),
        json!({"action": "ws.send_error", "message": "m"}),
        json!({"action": "ws.broadcast", "type": "t", "channel": "process:ci-1"}),
    ];
    let ask = |token, body: &Value| act(server.address, &bearer(token), body).status;
    assert_eq!(ask(CI, &output("ci-1")), 200);
    assert_eq!(ask(CI, &output("web")), 403);
    assert_eq!(ask(ALICE, &output("web")), 403);
    assert_eq!(ask(ALICE, &json!({"action": "ws.stats"})), 200);
    for action in &everyone {
        assert_eq!(ask(CI, action), 200, "{action}");
        assert_eq!(ask(ALICE, action), 403, "{action}");
    }
    assert_eq!(refused(&server, "forbidden"), 2 + everyone.len() as u64);
}

#[test]
fn a_refused_batch_of_actions_publishes_none_of_them() {
    let server = Server::with(Hub::builder().authorize_publish(|_, target| match target {
        PublishTarget::Channel(channel) => channel.as_str() != "process:secret",
        _ => false,
    }));
    let mut watcher = server.subscriber("process:open");
    let output =
        |id: &str| json!({"action": "ws.send_process_output", "process_id": id, "output": id});
    act(
        server.address,
        "",
        &json!([output("open"), output("secret")]),
    )
    .assert_refusal(403, "Forbidden");
    act(
        server.address,
        "",
        &json!([output("open"), {"action": "ws.send_error", "message": "m"}]),
    )
    .assert_refusal(403, "Forbidden");
    assert!(watcher.ping().is_empty(), "nothing came");
    assert_eq!(act(server.address, "", &output("open")).status, 200);
    assert_eq!(watcher.json()["data"], "open");
}

#[test]
fn api_keys_and_functions_and_several_at_once_accept_the_clients_they_know() {
    let keys = ApiKeys::new()
        .key("key-of-the-deployer", "deployer")
        .key("other", Identity::new("other"));
    let sessions = Bearer::with(|token| {
        let token = token.to_owned();
        async move {
            // The check really waits: one that is ready at once would hide a future that is never
            // polled again.
            tokio::time::sleep(Duration::from_millis(5)).await;
            match token.as_str() {
                "session" => Ok(Identity::new("visitor").with_claim("team", "web")),
                "banned" => Err(AuthError::Forbidden),
                _ => Err(AuthError::Invalid),
            }
        }
    });
    let forwarded = access::from_fn(|shown| match shown.headers().get("x-user") {
        Some(user) => Ok(Identity::new(
            user.to_str().map_err(|_| AuthError::Invalid)?,
        )),
        None => Err(AuthError::Missing),
    });
    let all: [Box<dyn Authenticator>; 3] =
        [Box::new(keys), Box::new(sessions), Box::new(forwarded)];
    let server = Server::with(
        Hub::builder()
            .authenticator(access::any_of(all))
            .on_subscribe(|client, _| {
                client
                    .identity()
                    .is_some_and(|who| who.claim("team").is_some())
            }),
    );
    for (header, expected) in [
        ("X-API-Key: key-of-the-deployer\r\n", Ok("deployer")),
        ("X-API-Key: other\r\n", Ok("other")),
        ("Authorization: bearer session\r\n", Ok("visitor")),
        ("X-User: forwarded\r\n", Ok("forwarded")),
        (
            "X-API-Key: key-of-the-deploye\r\n",
            Err((401, "Unauthorised")),
        ),
        (
            "Authorization: Bearer nobody\r\n",
            Err((401, "Unauthorised")),
        ),
        ("Authorization: Bearer banned\r\n", Err((403, "Forbidden"))),
        ("", Err((401, "Unauthorised"))),
    ] {
        match expected {
            Ok(user) => {
                let mut socket = Socket::connect_with(server.address, header);
                assert_eq!(sole_client(&server.hub).identity().unwrap().user(), user);
                // The application's own rule sees the identity.
                socket.send_json(json!({"type": "subscribe", "channel": "a"}));
                assert_eq!(socket.ping().is_empty(), user == "visitor", "{user}");
                drop(socket);
                until("it is gone", || server.hub.client_count() == 0);
            }
            Err((status, text)) => {
                exchange(server.address, handshake(header).as_bytes()).assert_refusal(status, text);
            }
        }
    }
}

#[test]
fn replaced_keys_count_from_then_on() {
    let tokens = Arc::new(Reloadable::new(table()));
    let server = Server::with(Hub::builder().authenticator(Arc::clone(&tokens)));
    let ask = |token| get_with(server.address, "/api/stats", &bearer(token)).status;
    assert_eq!((ask(ALICE), ask("bob-token-0123456789")), (200, 401));
    tokens.replace(TokenTable::parse("bob bob-token-0123456789").unwrap());
    assert_eq!((ask(ALICE), ask("bob-token-0123456789")), (401, 200));
}

#[test]
fn a_panic_in_an_authenticator_denies() {
    let server = Server::with(
        Hub::builder()
            .authenticator(Bearer::with(|token| {
                assert_ne!(token, "at once", "an authenticator panics before it waits");
                let token = token.to_owned();
                async move {
                    tokio::task::yield_now().await;
                    assert_ne!(
                        token, "later",
                        "an authenticator panics after it has waited"
                    );
                    Ok(Identity::with_full_access(token))
                }
            }))
            .on_auth_failure(|_, _| panic!("even the one who is told panics"))
            .authorize_publish(|_, target| {
                assert_ne!(target, PublishTarget::Everyone, "authorize_publish panics");
                true
            }),
    );
    for token in ["at once", "later"] {
        let path = format!("/api/stats?token={}", token.replace(' ', "%20"));
        get_with(server.address, &path, "").assert_refusal(403, "Forbidden");
    }
    get_with(server.address, "/api/stats", "").assert_refusal(401, "Unauthorised");
    let ok = bearer("ok");
    act(
        server.address,
        &ok,
        &json!({"action": "ws.send_error", "message": "m"}),
    )
    .assert_refusal(403, "Forbidden");
    let output = json!({"action": "ws.send_process_output", "process_id": "p", "output": "x"});
    assert_eq!(
        act(server.address, &ok, &output).status,
        200,
        "and the server goes on"
    );
}

#[test]
fn a_foreign_page_can_neither_connect_nor_look_nor_publish_unless_it_is_listed() {
    let origins = Origins::allow(["https://app.example.org"]).unwrap();
    let server = Server::with(Hub::builder().origins(origins));
    let publish = json!({"action": "ws.send_error", "message": "from a page"});
    for (origin, is_let_in) in [
        ("https://app.example.org", true),
        ("http://localhost:3000", true),
        ("http://app.example.org", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let header = format!("Origin: {origin}\r\n");
        let handshake = exchange(server.address, handshake(&header).as_bytes());
        let answers = [
            act(server.address, &header, &publish),
            get_with(server.address, "/api/channels", &header),
        ];
        if is_let_in {
            assert_eq!(handshake.status, 101, "{origin}");
            assert!(
                answers.iter().all(|answer| answer.status == 200),
                "{origin}"
            );
        } else {
            handshake.assert_refusal(403, "Forbidden");
            for answer in answers {
                answer.assert_refusal(403, "Forbidden");
            }
        }
    }
    assert_eq!(refused(&server, "forbidden"), 9);
}

#[test]
fn a_page_whose_name_points_at_loopback_is_given_away_by_its_host() {
    let rebound = |server: &Server| {
        let request = |path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: evil.example:8080\r\nOrigin: http://evil.example:8080\r\n\r\n"
            )
        };
        let handshake = handshake("Origin: http://evil.example:8080\r\n")
            .replace("Host: 127.0.0.1", "Host: evil.example:8080");
        [
            exchange(server.address, handshake.as_bytes()).status,
            exchange(server.address, request("/api/channels").as_bytes()).status,
            exchange(server.address, request("/api/channels/a/events").as_bytes()).status,
        ]
    };
    assert_eq!(rebound(&Server::new()), [403; 3]);
    // A host name that was allowed is accepted.
    let named = Server::with(Hub::builder().allow_host("evil.example"));
    assert_eq!(rebound(&named), [101, 200, 200]);
}

#[test]
fn a_connection_ends_with_1008_when_its_identity_expires_and_a_stream_ends_too() {
    let (left, leaving) = mpsc::channel();
    let left = Mutex::new(left);
    // Each connection has a moment of its own, so that a slow machine refuses none. Once all have
    // ended, the authenticator returns the identity that has expired.
    let last_end = Arc::new(Mutex::new(None));
    let over = Arc::new(AtomicBool::new(false));
    let server = Server::with(
        Hub::builder()
            .authenticator(Bearer::new({
                let (last_end, over) = (Arc::clone(&last_end), Arc::clone(&over));
                move |_| {
                    let mut last_end = last_end.lock().unwrap();
                    if !over.load(Ordering::Relaxed) {
                        *last_end = Some(SystemTime::now() + Duration::from_millis(300));
                    }
                    Ok(Identity::new("guest").expires_at(last_end.unwrap()))
                }
            }))
            .on_disconnect(move |client, reason| {
                left.lock()
                    .unwrap()
                    .send((client.identity().unwrap().user().to_owned(), reason))
                    .unwrap();
            }),
    );
    let mut socket = Socket::connect_with(server.address, &bearer("x"));
    let ends = last_end.lock().unwrap().unwrap();
    socket.send_json(json!({"type": "subscribe", "channel": "a"}));
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let request = format!(
        "GET /api/channels/a/events HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        bearer("x")
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    assert_eq!(socket.close_code(), 1008);
    assert!(SystemTime::now() >= ends, "not before its time");
    drop(socket);
    for _ in 0..2 {
        let (user, reason) = leaving.recv_timeout(outrace_testkit::TIMEOUT).unwrap();
        assert_eq!(
            (user.as_str(), reason),
            ("guest", outrace::CloseReason::Expired)
        );
    }
    // The expired identity is not let in again.
    over.store(true, Ordering::Relaxed);
    get_with(server.address, "/api/stats", &bearer("x")).assert_refusal(401, "Unauthorised");
}

#[test]
fn grants_bind_before_the_applications_own_rule_is_asked() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let server = Server::with(
        Hub::builder()
            .authenticator(access::from_fn(|_| {
                let grants = Grants::default()
                    .subscribe(["a*"])
                    .map_err(|_| AuthError::Failed)?;
                Ok(Identity::new("u").with_grants(grants))
            }))
            .on_subscribe(move |_, channel| {
                seen.lock().unwrap().push(channel.as_str().to_owned());
                channel.as_str() != "ab"
            }),
    );
    let mut socket = server.connect();
    for (channel, refusals) in [("a", 0), ("ab", 1), ("b", 1)] {
        socket.send_json(json!({"type": "subscribe", "channel": channel}));
        assert_eq!(socket.ping().len(), refusals, "{channel}");
    }
    assert_eq!(*asked.lock().unwrap(), ["a", "ab"]);
}

#[test]
fn a_wrong_token_in_one_place_does_not_beat_a_right_one_in_another() {
    let keys = ApiKeys::new().key(ALICE, "alice");
    let check = Bearer::new(|token| match token {
        ALICE => Ok(Identity::new("alice")),
        _ => Err(AuthError::Invalid),
    });
    for server in [
        Server::with(Hub::builder().authenticator(table())),
        Server::with(Hub::builder().authenticator(keys)),
        Server::with(Hub::builder().authenticator(check)),
    ] {
        let right = format!("/api/stats?token={ALICE}");
        let encoded = format!("/api/stats?%74oken={ALICE}");
        let plain = "/api/stats".to_owned();
        for (path, headers, status) in [
            (&right, bearer("wrong"), 200),
            (&right, "X-API-Key: wrong\r\n".to_owned(), 200),
            (&right, "Authorization: Basic dTpw\r\n".to_owned(), 200),
            (&encoded, String::new(), 200),
            (&plain, bearer(ALICE), 200),
            (&plain, format!("Authorization: Bearer\t{ALICE}\r\n"), 200),
            (&plain, format!("X-API-Key: {ALICE}\r\n"), 200),
            (
                &plain,
                format!("Authorization: Basic dTpw\r\nX-Outrace-Token: {ALICE}\r\n"),
                200,
            ),
            (&plain, "Authorization: Basic dTpw\r\n".to_owned(), 401),
            (&plain, "X-Outrace-Token: wrong\r\n".to_owned(), 401),
        ] {
            let answer = get_with(server.address, path, &headers);
            assert_eq!(answer.status, status, "{path} {headers}");
        }
    }
}

#[test]
fn a_token_among_the_subprotocols_is_accepted_and_never_repeated() {
    let server = Server::with(
        Hub::builder()
            .authenticator(table())
            .subprotocol("chat.example"),
    );
    let token = format!("outrace.token.{ALICE}");
    for (offers, chosen) in [
        (format!("outrace, {token}"), Some("outrace")),
        (format!("{token}, outrace"), Some("outrace")),
        (
            format!("{token}, unknown, chat.example"),
            Some("chat.example"),
        ),
        (token.clone(), None),
        (format!("unknown, {token}"), None),
    ] {
        let header = format!("Sec-WebSocket-Protocol: {offers}\r\n");
        let answer = exchange(server.address, handshake(&header).as_bytes());
        assert_eq!(answer.status, 101, "{offers}");
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{offers}");
        assert!(!answer.header.contains(ALICE), "{offers}");
    }
    let wrong = "Sec-WebSocket-Protocol: outrace, outrace.token.wrong\r\n";
    exchange(server.address, handshake(wrong).as_bytes()).assert_refusal(401, "Unauthorised");
    for wrong in ["", "two words", "a,b", "outrace.token.secret"] {
        let error = Hub::builder().subprotocol(wrong).build().unwrap_err();
        assert_eq!(error, outrace::ConfigError::Subprotocol(wrong.to_owned()));
    }
}

#[test]
fn a_user_without_a_name_is_refused() {
    for blank in ["", " ", "\t\n", "\u{a0}"] {
        let server = Server::with(
            Hub::builder().authenticator(access::from_fn(move |_| Ok(Identity::new(blank)))),
        );
        get_with(server.address, "/api/stats", "").assert_refusal(401, "Unauthorised");
        exchange(server.address, handshake("").as_bytes()).assert_refusal(401, "Unauthorised");
    }
}

#[test]
fn a_trusted_proxy_names_the_address_that_limits_and_callbacks_see() {
    let proxies = access::TrustedProxies::parse(["127.0.0.0/8"]).unwrap();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failures);
    let server = Server::with(
        Hub::builder()
            .trusted_proxies(proxies)
            .max_connections_per_address(1)
            .authenticator(table())
            .on_auth_failure(move |shown, _| seen.lock().unwrap().push(shown.peer())),
    );
    let from = |address: &str| format!("{}X-Forwarded-For: {address}\r\n", bearer(ALICE));
    let held = Socket::connect_with(server.address, &from("6.6.6.6, 192.0.2.7"));
    let client = sole_client(&server.hub);
    assert_eq!(client.address(), Some("192.0.2.7:0".parse().unwrap()));
    let more = exchange(server.address, handshake(&from("192.0.2.7")).as_bytes());
    assert_eq!(more.status, 429, "{more:?}");
    let stream = get_with(
        server.address,
        "/api/channels/process:web/stream",
        &from("192.0.2.7"),
    );
    assert_eq!(stream.status, 429, "{stream:?}");
    let other = Socket::connect_with(server.address, &from("192.0.2.8"));
    get_with(server.address, "/api/stats", "Forwarded: for=192.0.2.9\r\n")
        .assert_refusal(401, "Unauthorised");
    let seen = failures.lock().unwrap().pop();
    assert_eq!(seen, Some(Some("192.0.2.9:0".parse().unwrap())));
    // A page can set this header too, and gets past no guard of loopback with it.
    let rebound =
        "GET /api/stats HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    assert_eq!(exchange(server.address, rebound.as_bytes()).status, 403);
    drop((held, other));

    let untrusting = Server::new();
    let socket = Socket::connect_with(untrusting.address, "X-Forwarded-For: 192.0.2.7\r\n");
    assert_eq!(
        sole_client(&untrusting.hub).address(),
        Some(socket.local_address())
    );
}

#[test]
fn an_identity_publishes_nothing_unless_its_grants_or_its_name_say_so() {
    let server = Server::with(
        Hub::builder().authenticator(
            ApiKeys::new()
                .key("watcher", "watcher")
                .key("new", Identity::new("new"))
                .key("full", Identity::with_full_access("full")),
        ),
    );
    let actions = [
        json!({"action": "ws.send_process_output", "process_id": "p", "output": "x"}),
        json!({"action": "ws.send_error", "message": "m"}),
    ];
    for (key, status) in [("watcher", 403), ("new", 403), ("full", 200)] {
        for action in &actions {
            let answer = act(server.address, &bearer(key), action);
            assert_eq!(answer.status, status, "{key}: {answer:?}");
        }
        let mut socket = Socket::connect_with(server.address, &bearer(key));
        socket.subscribe("process:p");
    }
}

#[tokio::test]
async fn an_authenticators_own_error_reaches_the_program_and_not_the_client() {
    #[derive(Debug, thiserror::Error)]
    #[error("the account of {0} is locked")]
    struct Locked(&'static str);

    let seen = Arc::new(Mutex::new(Vec::new()));
    let hub = Hub::builder()
        .authenticator(outrace::access::from_fn(|_| {
            Err(AuthError::custom(Locked("bob")))
        }))
        .on_auth_failure({
            let seen = Arc::clone(&seen);
            move |_, error| {
                let AuthError::Custom(cause) = error else {
                    panic!("{error:?}");
                };
                let Locked(user) = cause.error().downcast_ref().unwrap();
                let source = std::error::Error::source(error).unwrap().to_string();
                seen.lock()
                    .unwrap()
                    .push((*user, source, error.to_string()));
            }
        })
        .build()
        .unwrap();
    let (head, ()) = ::http::Request::get("/?token=t")
        .header("host", "localhost")
        .body(())
        .unwrap()
        .into_parts();
    let response = hub.text_stream("c", &head).await;
    assert_eq!(response.status(), 401);
    let body = http_body_util::BodyExt::collect(response.into_body());
    assert_eq!(body.await.unwrap().to_bytes(), "Unauthorised");
    let expected = (
        "bob",
        "the account of bob is locked".to_owned(),
        "the authenticator refuses".to_owned(),
    );
    assert_eq!(*seen.lock().unwrap(), [expected]);
}
