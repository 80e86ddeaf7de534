//! Publishing over the network: each message has one outcome, and a server that is away is waited
//! for.

use std::time::Duration;

use futures_util::FutureExt;
use outrace::access::{ApiKeys, Grants, Identity};
use outrace::client::{Backoff, PublishError, Publisher, PublisherBuilder, WatchError};
use outrace::{Data, Event, From, Hub, Message, MessageType, Status};
use outrace_testkit::{bounded, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn to(url: &str) -> PublisherBuilder {
    let backoff = Backoff::new(Duration::from_millis(5), 1.0, Duration::from_millis(5));
    Publisher::connect(url).backoff(backoff)
}

/// Reads the next messages of a receiver.
async fn next(live: &mut outrace::Receiver, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        match live.next().await.unwrap() {
            Event::Subscribed { .. } => {}
            event => events.push(event),
        }
    }
    events
}

#[tokio::test]
async fn messages_of_each_kind_arrive_in_the_order_in_which_they_were_sent() {
    bounded(async {
        let hub = Hub::builder().queue(100_000).build().unwrap();
        let url = serve(&hub).await;
        let mut live = hub.subscribe("process:web", From::Now).unwrap();
        let publisher = to(&url).build().unwrap();
        for n in 0..2500 {
            publisher
                .send_line("process:web", format!("{n} \"é\""))
                .await
                .unwrap();
        }
        publisher
            .send_json("process:web", "deploy", &[7])
            .await
            .unwrap();
        publisher
            .send_status("process:web", Status::Exited, 3)
            .await
            .unwrap();
        let events = next(&mut live, 2502).await;
        for (n, event) in events[..2500].iter().enumerate() {
            assert_eq!(event.text(), Some(&*format!("{n} \"é\"")));
        }
        let Event::Message { message, .. } = &events[2500] else {
            panic!("{:?}", events[2500]);
        };
        assert_eq!(message.message_type(), &MessageType::from("deploy"));
        assert_eq!(message.data(), &Data::Json("[7]".into()));
        assert!(matches!(
            &events[2501],
            Event::Status {
                status: Status::Exited,
                exit_code: 3,
                ..
            }
        ));
        let stats = publisher.close().await;
        assert_eq!(
            (stats.accepted, stats.published, stats.lost()),
            (2502, 2502, 0)
        );
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_and_gets_everything_once() {
    bounded(async {
        let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let publisher = to(&format!("ws://{address}/ws"))
            .queue_bytes(1 << 10)
            .build()
            .unwrap();
        let mut accepted = 0;
        let refused = loop {
            match publisher.try_send_line("c", accepted.to_string()) {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, PublishError::Full), "{refused}");
        assert!(accepted > 5);
        // Waits for room: there is none as long as the server is away.
        let mut waits = std::pin::pin!(publisher.send_line("c", "later"));
        assert!(waits.as_mut().now_or_never().is_none());
        while publisher.last_error().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let hub = Hub::new();
        let mut live = hub.subscribe("c", From::Now).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(outrace::server::serve(
            listener,
            hub.clone(),
            std::future::pending(),
        ));
        waits.await.unwrap();
        let stats = publisher.flush().await;
        assert_eq!(
            (stats.published, stats.refused, stats.lost()),
            (accepted + 1, 1, 0)
        );
        assert_eq!(publisher.last_error(), None);
        let lines = next(&mut live, accepted as usize + 1).await;
        let mut expected: Vec<_> = (0..accepted).map(|n| n.to_string()).collect();
        expected.push("later".to_owned());
        let lines: Vec<_> = lines.iter().filter_map(Event::text).collect();
        assert_eq!(lines, expected);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced_without_a_loss() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let publisher = to(&format!("ws://{address}/ws")).build().unwrap();
        let mut published = 0;
        // Each server lives for one round, on the same port.
        let mut listener = Some(listener);
        for round in 0..3 {
            let listener = match listener.take() {
                Some(listener) => listener,
                None => loop {
                    if let Ok(listener) = TcpListener::bind(address).await {
                        break listener;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                },
            };
            let hub = Hub::new();
            let mut live = hub.subscribe("c", From::Now).unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async {
                let _ = stopped.await;
            };
            let server = tokio::spawn(outrace::server::serve(listener, hub.clone(), stopped));
            publisher.send_line("c", round.to_string()).await.unwrap();
            published += 1;
            let stats = publisher.flush().await;
            assert_eq!((stats.published, stats.lost()), (published, 0));
            assert_eq!(
                next(&mut live, 1).await[0].text(),
                Some(&*round.to_string())
            );
            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_on_its_way_when_the_connection_broke_is_counted_and_not_sent_again() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let publisher = to(&url).build().unwrap();
        publisher.send_line("c", "first").await.unwrap();
        let (mut broken, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let mut received = String::new();
        while !received.contains("first") {
            let n = broken.read(&mut request).await.unwrap();
            received.push_str(std::str::from_utf8(&request[..n]).unwrap());
        }
        drop(broken);
        let stats = publisher.flush().await;
        assert_eq!((stats.unknown, stats.published), (1, 0));
        assert!(publisher.last_error().is_some());
        publisher.send_line("c", "second").await.unwrap();
        let (mut answered, _) = listener.accept().await.unwrap();
        received.clear();
        while !received.contains("second") {
            let n = answered.read(&mut request).await.unwrap();
            received.push_str(std::str::from_utf8(&request[..n]).unwrap());
        }
        assert!(!received.contains("first"));
        answered
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
            .await
            .unwrap();
        let stats = publisher.close().await;
        assert_eq!((stats.accepted, stats.published, stats.unknown), (2, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_refused_takes_no_other_with_it() {
    bounded(async {
        let grants = Grants::default().publish(["good"]).unwrap();
        let tokens = ApiKeys::new().key("secret", Identity::new("ann").with_grants(grants));
        let hub = Hub::builder()
            .authenticator(tokens)
            .history(100)
            .build()
            .unwrap();
        let url = serve(&hub).await;
        let publisher = to(&url).token("secret").build().unwrap();
        for n in 0..40 {
            let channel = if n % 10 == 3 { "bad" } else { "good" };
            publisher.send_line(channel, n.to_string()).await.unwrap();
        }
        let stats = publisher.flush().await;
        assert_eq!((stats.published, stats.rejected, stats.lost()), (36, 4, 4));
        let kept: Vec<_> = hub.history("good", 100);
        let expected: Vec<_> = (0..40)
            .filter(|n| n % 10 != 3)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(
            kept.iter().filter_map(Event::text).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(hub.history("bad", 100), []);
        drop(publisher);

        let stranger = to(&url).token("guess").build().unwrap();
        stranger.send_line("good", "line").await.unwrap();
        let stats = stranger.flush().await;
        assert_eq!((stats.accepted, stats.discarded), (1, 1));
        let error = stranger.send_line("good", "line").await.unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
        assert!(matches!(
            stranger.try_send_line("good", ""),
            Err(PublishError::Ended { .. })
        ));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_after_its_linger_though_the_server_is_away() {
    let publisher = to("ws://127.0.0.1:1/ws")
        .linger(Duration::from_secs(2))
        .build()
        .unwrap();
    let other = publisher.clone();
    other.send_line("c", "line").await.unwrap();
    drop(other);
    let runtime = tokio::runtime::Handle::current();
    assert_eq!(runtime.metrics().num_alive_tasks(), 1);
    drop(publisher);
    let begun = tokio::time::Instant::now();
    while runtime.metrics().num_alive_tasks() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        (2..4).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn each_reason_for_having_no_publisher_is_an_error() {
    let build = |url: &str| Publisher::connect(url).build().unwrap_err();
    assert!(matches!(
        build("http://h/ws"),
        WatchError::InvalidUrl { .. }
    ));
    assert!(matches!(build("ws://h/ws"), WatchError::NoRuntime));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let publisher = to("ws://127.0.0.1:1/ws")
            .queue_bytes(1 << 10)
            .build()
            .unwrap();
        let large = Message::output(vec![b'x'; 2000]);
        assert!(matches!(
            publisher.send("c", &large).await.unwrap_err(),
            PublishError::TooLarge { limit: 1024, .. }
        ));
        assert!(matches!(
            publisher.send_line("no spaces", "").await.unwrap_err(),
            PublishError::InvalidChannel(_)
        ));
        let unserializable = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(
            publisher
                .send_json("c", "t", &unserializable)
                .await
                .unwrap_err(),
            PublishError::Json(_)
        ));
        assert_eq!(publisher.stats().accepted, 0);
    });
}
