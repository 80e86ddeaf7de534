//! The Rust client with patterns, and the addresses that it finds a server at.

use std::pin::pin;
use std::time::Duration;

use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use outrace::Hub;
use outrace::client::{Backoff, Event, Watcher};
use outrace_testkit::{bounded, serve};
use tokio::net::TcpListener;
use tokio::time::timeout;

const C: &str = "process:a";

fn keeping(messages: usize) -> Hub {
    Hub::builder().history(messages).build().unwrap()
}

async fn next(watcher: &mut Watcher) -> Event {
    watcher.next().await.unwrap()
}

/// Returns the first event about a channel. Events about the connection are dropped.
async fn answer(watcher: &mut Watcher) -> Event {
    loop {
        match next(watcher).await {
            Event::Connected | Event::Disconnected { .. } => {}
            item => return item,
        }
    }
}

/// Closes all connections and waits until they are gone.
async fn part(hub: &Hub) {
    hub.clients().for_each(|client| client.close());
    while hub.client_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns a watcher of all processes that is connected, and knows the channels there are.
async fn discovering(builder: outrace::client::WatcherBuilder) -> Watcher {
    let mut watcher = builder.pattern("process:*").build().unwrap();
    assert_eq!(next(&mut watcher).await, Event::Connected);
    watcher
}

fn patient(url: &str) -> outrace::client::WatcherBuilder {
    let quick = Backoff::new(Duration::from_millis(20), 1.0, Duration::from_millis(20));
    Watcher::builder(url).backoff(quick)
}

/// Publishes a short process: ten lines and the statuses around them.
fn live(hub: &Hub, id: &str) {
    hub.send_process_status(id, "running", 0).unwrap();
    for n in 1..=10 {
        hub.send_process_output(id, n.to_string()).unwrap();
    }
    hub.send_process_status(id, "exited", 1).unwrap();
}

/// Returns the next events of a channel in short form, up to its end.
async fn life(watcher: &mut Watcher) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match answer(watcher).await {
            Event::Subscribed { lost, seq, .. } => seen.push(format!("from {seq}, {lost} lost")),
            Event::Line { text, .. } => seen.push(text),
            Event::Status {
                status, exit_code, ..
            } => {
                seen.push(format!("{status} {exit_code}"));
                if status == outrace::Status::Exited {
                    return seen;
                }
            }
            item => panic!("{item:?}"),
        }
    }
}

#[tokio::test]
async fn a_process_that_appears_is_seen_whole_though_it_ends_before_it_is_found() {
    bounded(async {
        let hub = keeping(100);
        live(&hub, "earlier");
        let mut watcher = discovering(patient(&serve(&hub).await)).await;
        live(&hub, "short");
        let whole = "from 0, 0 lost,running 0,1,2,3,4,5,6,7,8,9,10,exited 1";
        // Of the process that had ended, nothing is new.
        match answer(&mut watcher).await {
            Event::Subscribed { channel, seq, .. } => {
                assert_eq!((channel.as_str(), seq), ("process:earlier", 12));
            }
            item => panic!("{item:?}"),
        }
        assert_eq!(life(&mut watcher).await.join(","), whole);
        live(&hub, "later");
        assert_eq!(life(&mut watcher).await.join(","), whole);
        assert_eq!(watcher.channels().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn of_a_process_that_appears_what_is_not_kept_is_counted() {
    bounded(async {
        let hub = keeping(4);
        let mut watcher = discovering(patient(&serve(&hub).await).tail(2)).await;
        live(&hub, "short");
        assert_eq!(
            life(&mut watcher).await.join(","),
            "from 8, 8 lost,8,9,10,exited 1"
        );
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_existed_begins_with_its_tail_or_where_it_was() {
    bounded(async {
        for (tail, seen) in [(Some(3), "from 9, 0 lost,9,10,exited 1"), (None, "")] {
            let hub = keeping(100);
            live(&hub, "earlier");
            let mut builder = patient(&serve(&hub).await);
            if let Some(messages) = tail {
                builder = builder.tail(messages);
            }
            let mut watcher = discovering(builder).await;
            if tail.is_some() {
                assert_eq!(life(&mut watcher).await.join(","), seen);
            } else {
                assert!(matches!(
                    answer(&mut watcher).await,
                    Event::Subscribed {
                        seq: 12,
                        lost: 0,
                        ..
                    }
                ));
            }
            hub.send_process_output("earlier", "and on").unwrap();
            assert!(matches!(
                answer(&mut watcher).await,
                Event::Line { text, seq: Some(13), .. } if text == "and on"
            ));
        }
    })
    .await;
}

#[tokio::test]
async fn of_a_server_that_was_not_there_yet_everything_is_new() {
    bounded(async {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut watcher = patient(&format!("ws://{address}/ws"))
            .pattern("process:sh*")
            .build()
            .unwrap();
        assert!(matches!(
            next(&mut watcher).await,
            Event::Disconnected {
                retry_in: Some(_),
                ..
            }
        ));
        let hub = keeping(100);
        live(&hub, "short");
        live(&hub, "unwatched");
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(outrace::server::serve(
            listener,
            hub.clone(),
            std::future::pending(),
        ));
        assert_eq!(
            life(&mut watcher).await.join(","),
            "from 0, 0 lost,running 0,1,2,3,4,5,6,7,8,9,10,exited 1"
        );
        assert_eq!(watcher.channels().len(), 1);
    })
    .await;
}

/// Serves a hub under `/live`, and a page or a 404 everywhere else.
async fn mounted(hub: &Hub) -> String {
    let page = || async { axum::response::Html("<!doctype html>\n<title>Hello</title>\n") };
    let app = axum::Router::new()
        .nest("/live", hub.router())
        .route("/", axum::routing::get(page))
        .route("/page", axum::routing::get(page))
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn the_websocket_is_found_in_the_given_address_or_beside_it() {
    bounded(async {
        let hub = keeping(100);
        let url = mounted(&hub).await;
        for path in ["/live", "/live/", "/live/index.html", "/live/ws"] {
            let mut watcher = patient(&format!("{url}{path}"))
                .retry(false)
                .channel(C)
                .pattern("process:b*")
                .build()
                .unwrap();
            assert_eq!(next(&mut watcher).await, Event::Connected, "{path}");
            assert!(matches!(next(&mut watcher).await, Event::Subscribed { .. }));
            // The address that was found stays.
            let id = format!("b{}", path.len());
            hub.send_process_output(&id, "found").unwrap();
            while !matches!(next(&mut watcher).await, Event::Line { .. }) {}
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_without_a_websocket_is_told_in_one_sentence() {
    bounded(async {
        let hub = keeping(100);
        let url = mounted(&hub).await;
        for (path, answers) in [
            ("/nothing/ws", "404 Not Found at /nothing/ws"),
            (
                "/page",
                "200 OK at /page, 404 Not Found at /page/ws, 404 Not Found at /ws",
            ),
            ("/", "200 OK at /, 404 Not Found at /ws"),
        ] {
            for pattern in [false, true] {
                let mut builder = patient(&format!("{url}{path}?token=secret"));
                if pattern {
                    builder = builder.pattern("*");
                }
                let mut watcher = builder.build().unwrap();
                let Event::Disconnected { reason, .. } = next(&mut watcher).await else {
                    panic!("connected to {path}");
                };
                assert_eq!(
                    reason.to_string(),
                    format!("cannot connect: there is no WebSocket: the server answers {answers}")
                );
                assert_eq!(watcher.next().await, None);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_without_a_list_is_told_once() {
    bounded(async {
        let hub = keeping(100);
        let app = axum::Router::new().route(
            "/ws",
            axum::routing::any({
                let hub = hub.clone();
                async move |request: axum::extract::Request| {
                    hub.upgrade(request).await.map(axum::body::Body::new)
                }
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut watcher = discovering(patient(&url).channel(C)).await;
        assert_eq!(
            next(&mut watcher).await,
            Event::ListFailed {
                reason: "the server answers 404".to_owned()
            }
        );
        assert!(matches!(next(&mut watcher).await, Event::Subscribed { .. }));
        part(&hub).await;
        assert!(matches!(
            next(&mut watcher).await,
            Event::Disconnected { .. }
        ));
        assert_eq!(next(&mut watcher).await, Event::Connected);
        assert!(matches!(
            next(&mut watcher).await,
            Event::Reconnected { .. }
        ));
    })
    .await;
}

#[tokio::test]
async fn without_a_history_a_process_is_watched_as_soon_as_it_appears_and_the_rest_is_counted() {
    bounded(async {
        let hub = Hub::new();
        let mut watcher = discovering(patient(&serve(&hub).await)).await;
        let publisher = hub.publisher("process:short").unwrap();
        hub.send_process_status("short", "running", 0).unwrap();
        match answer(&mut watcher).await {
            // The status was published before anyone watched.
            Event::Subscribed { seq, lost, .. } => assert_eq!((seq, lost), (1, 1)),
            item => panic!("{item:?}"),
        }
        hub.send_process_output("short", "line").unwrap();
        drop(publisher);
        assert!(matches!(
            answer(&mut watcher).await,
            Event::Line { text, seq: Some(2), .. } if text == "line"
        ));
    })
    .await;
}

/// Asks for the list of channels without a connection.
async fn list(hub: &Hub, headers: &[(&str, &str)]) -> axum::response::Response {
    let mut request = axum::extract::Request::get("/api/channels").header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let service = TowerToHyperService::new(hub.router());
    let response = service.call(request.body(axum::body::Body::empty()).unwrap());
    response.await.unwrap()
}

/// Returns the version of the list of channels, and the names in it.
async fn taken(response: axum::response::Response) -> (String, Vec<String>) {
    assert_eq!(response.status(), 200);
    let version = response.headers()["etag"].to_str().unwrap().to_owned();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&body.unwrap()).unwrap();
    let names = listed
        .iter()
        .map(|entry| entry["channel"].as_str().unwrap().to_owned())
        .collect();
    (version, names)
}

/// Returns the version once these channels are in the list.
async fn version_of(hub: &Hub, channels: &[&str]) -> String {
    loop {
        let (version, names) = taken(list(hub, &[]).await).await;
        if names == channels {
            return version;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_request_for_the_next_list_is_answered_when_a_channel_appears() {
    bounded(async {
        let kept: fn(&Hub) = |hub| drop(hub.send_process_output("new", "kept"));
        let with_status: fn(&Hub) = |hub| {
            let publisher = hub.publisher("process:new").unwrap();
            hub.send_process_status("new", "running", 0).unwrap();
            // The channel stays with its publisher.
            std::mem::forget(publisher);
        };
        for (history, appear) in [(10, kept), (10, with_status), (0, with_status)] {
            let hub = Hub::builder()
                .history(history)
                .max_connections(1)
                .build()
                .unwrap();
            hub.send_process_output("old", "kept").unwrap();
            let old: &[&str] = if history > 0 { &["process:old"] } else { &[] };
            let version = version_of(&hub, old).await;
            let waits = [("if-none-match", &*version), ("prefer", "wait=20")];
            let mut waiting = pin!(list(&hub, &waits));
            assert!(timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
            // A message of a known channel is no news.
            hub.send_process_output("old", "more").unwrap();
            assert!(
                timeout(Duration::from_millis(50), waiting.as_mut())
                    .await
                    .is_err()
            );
            appear(&hub);
            let response = waiting.await;
            assert_eq!(response.headers()["connection"], "close");
            let (next, names) = taken(response).await;
            assert!(names.iter().any(|name| name == "process:new"), "{names:?}");
            assert_ne!(next, version);
        }
    })
    .await;
}

#[tokio::test]
async fn a_channel_with_its_first_subscriber_appears_too() {
    bounded(async {
        let hub = Hub::new();
        let version = version_of(&hub, &[]).await;
        let waits = [("if-none-match", &*version), ("prefer", "wait=20")];
        let mut waiting = pin!(list(&hub, &waits));
        assert!(timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
        let mut watcher = patient(&serve(&hub).await).channel(C).build().unwrap();
        let watching = async { while watcher.next().await.is_some() {} };
        tokio::select! {
            response = waiting => assert_eq!(taken(response).await.1, [C]),
            () = watching => panic!("the watcher ended"),
        }
    })
    .await;
}

#[tokio::test]
async fn any_other_request_for_the_list_is_answered_at_once() {
    bounded(async {
        let hub = Hub::builder().max_connections(1).build().unwrap();
        let version = &*version_of(&hub, &[]).await;
        let waits = [("if-none-match", version), ("prefer", "wait=20")];
        for headers in [
            &[][..],
            &waits[1..],
            &waits[..1],
            &[("if-none-match", "W/\"0\""), waits[1]],
            &[waits[0], ("prefer", "wait=x")],
        ] {
            let answered = timeout(Duration::ZERO, list(&hub, headers)).await;
            assert!(taken(answered.unwrap()).await.1.is_empty());
        }
        // It waits, until the hub has no connection left for it.
        assert!(timeout(Duration::ZERO, list(&hub, &waits)).await.is_err());
        let mut watcher = patient(&serve(&hub).await).channel(C).build().unwrap();
        assert_eq!(next(&mut watcher).await, Event::Connected);
        let answered = timeout(Duration::ZERO, list(&hub, &waits)).await;
        taken(answered.unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_ends_the_requests_that_wait() {
    bounded(async {
        let hub = Hub::new();
        let version = version_of(&hub, &[]).await;
        let waits = [("if-none-match", &*version), ("prefer", "wait=20")];
        let mut waiting = pin!(list(&hub, &waits));
        assert!(timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
        let (response, ()) = tokio::join!(waiting, hub.shutdown());
        assert_eq!(response.status(), 200);
    })
    .await;
}

#[tokio::test]
async fn a_pattern_watches_at_most_2000_channels_and_the_rest_is_told_once() {
    bounded(async {
        let hub = Hub::builder()
            .history(1)
            .max_subscriptions(4096)
            .build()
            .unwrap();
        for id in 0..2001 {
            hub.send_process_output(&id.to_string(), "x").unwrap();
        }
        let mut watcher = patient(&serve(&hub).await)
            .pattern("process:*")
            .build()
            .unwrap();
        let (mut told, mut subscribed) = (Vec::new(), 0);
        while subscribed < 2000 {
            match next(&mut watcher).await {
                Event::PatternLimit { watched } => told.push(watched),
                Event::Subscribed { .. } => subscribed += 1,
                Event::Connected | Event::Line { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, [2000]);
        assert_eq!(watcher.channels().len(), 2000);
        assert_eq!(hub.stats().subscribers, 2000);
    })
    .await;
}
