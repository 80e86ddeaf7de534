//! The Rust client with patterns, and the addresses that it finds a server at.

use std::time::Duration;

use outrace::Hub;
use outrace::client::{Backoff, Event, Watcher};
use outrace_testkit::{bounded, serve};
use tokio::net::TcpListener;

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
                let mut builder = patient(&format!("{url}{path}?token=secret")).retry(false);
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
