//! Subscriptions within the process: the same accounts as over a socket.

use std::future::poll_fn;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use outrace::{Event, From, Hub, Lines, Receiver, Status, SubscribeError};
use outrace_testkit::{Account, JsonClient, bounded, serve};
use serde_json::json;

const C: &str = "process:web";

/// Reads events until message `last` has been received or skipped. Returns the texts of the lines,
/// and the number of skipped messages. Fails if a number is missing or comes twice.
async fn read_to(live: &mut Receiver, last: u64) -> (Vec<String>, u64) {
    let (mut lines, mut skipped, mut next) = (Vec::new(), 0, None);
    while next.is_none_or(|next| next <= last) {
        match live.next().await.expect("the hub is open") {
            Event::Subscribed { seq, .. } => next = Some(seq + 1),
            Event::Line { text, seq, .. } => {
                assert_eq!(Some(seq), next);
                next = Some(seq + 1);
                lines.push(text);
            }
            Event::Gap {
                from, to, count, ..
            } => {
                assert_eq!(Some(from), next);
                assert_eq!(count, to - from + 1);
                next = Some(to + 1);
                skipped += count;
            }
            other => panic!("{other:?}"),
        }
    }
    (lines, skipped)
}

#[tokio::test]
async fn a_receiver_begins_where_it_asked_to_and_goes_on_live_without_a_seam() {
    bounded(async {
        let hub = Hub::builder().history(100).build().unwrap();
        for n in 1..=5 {
            hub.send_process_output("web", n.to_string()).unwrap();
        }
        let first = hub.subscribe(C, From::Oldest).unwrap().next().await;
        let Some(Event::Subscribed { epoch, .. }) = first else {
            panic!("{first:?}");
        };
        let after = From::After { epoch, seq: 4 };
        let kept = [
            (From::Now, 5),
            (From::Tail(2), 3),
            (From::Tail(1000), 0),
            (From::Oldest, 0),
            (after, 4),
        ];
        let mut receivers: Vec<_> = kept
            .into_iter()
            .map(|(from, before)| (hub.subscribe(C, from).unwrap(), before))
            .collect();
        hub.send_process_output("web", "6").unwrap();
        for (receiver, before) in &mut receivers {
            let (lines, skipped) = read_to(receiver, 6).await;
            let expected: Vec<_> = (*before + 1..=6).map(|n| n.to_string()).collect();
            assert_eq!((lines, skipped), (expected, 0));
        }
    })
    .await;
}

#[test]
fn a_history_is_read_without_a_runtime_and_has_everything_published_before() {
    let hub = Hub::builder().history(100).build().unwrap();
    assert_eq!(hub.history(C, 10), []);
    for round in 0..50_u64 {
        hub.send_process_output("web", format!("{round}")).unwrap();
        hub.send_process_lines("web", Lines::split("a\nb\n"))
            .unwrap();
        hub.send_process_status("web", Status::Running, 0).unwrap();
        let past = hub.history(C, 4);
        let numbers: Vec<_> = past.iter().filter_map(Event::seq).collect();
        assert_eq!(numbers, (4 * round + 1..=4 * round + 4).collect::<Vec<_>>());
        assert_eq!(past[0].text(), Some(&*round.to_string()));
        assert_eq!(past[2].text(), Some("b"));
        assert!(matches!(
            &past[3],
            Event::Status {
                status: Status::Running,
                ..
            }
        ));
        assert!(past.iter().all(|event| event.channel().as_str() == C));
    }
    assert_eq!(hub.history(C, u64::MAX).len(), 100);
    assert_eq!(hub.history(C, 0), []);
    assert_eq!(hub.history("no spaces", 10), []);
    let none = Hub::new();
    none.send_process_output("web", "line").unwrap();
    assert_eq!(none.history(C, 10), []);
}

#[test]
fn histories_are_read_by_many_threads_while_others_publish() {
    let hub = Hub::builder().history(1000).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..2000 {
                    hub.send_process_output("web", n.to_string()).unwrap();
                }
            });
            scope.spawn(|| {
                let mut last = 0;
                for _ in 0..200 {
                    let numbers = hub
                        .history(C, 50)
                        .into_iter()
                        .filter_map(|event| event.seq());
                    let numbers: Vec<_> = numbers.collect();
                    assert!(numbers.is_sorted_by(|a, b| a < b));
                    let newest = numbers.last().copied().unwrap_or(0);
                    assert!(newest >= last);
                    last = newest;
                }
            });
        }
    });
    let past = hub.history(C, 1);
    assert_eq!(past[0].seq(), Some(4000));
}

#[tokio::test]
async fn a_receiver_that_lags_is_told_of_each_skipped_message_and_nobody_waits_for_it() {
    bounded(async {
        let hub = Hub::builder().queue(100).history(10).build().unwrap();
        let mut live = hub.subscribe(C, From::Now).unwrap();
        let mut published = 0;
        for round in 1..=20 {
            hub.send_process_lines("web", Lines::split("line\n".repeat(40)))
                .unwrap();
            published += 40;
            if round % 7 == 0 {
                let (lines, _) = (&mut live).take(30).count().map(|n| (n, 0)).await;
                assert_eq!(lines, 30);
            }
        }
        // Everything is accounted for: what was read above, what comes now and what was skipped.
        hub.send_process_status("web", Status::Exited, 3).unwrap();
        let (mut received, mut skipped) = (0, 0);
        loop {
            match live.next().await.unwrap() {
                Event::Line { .. } => received += 1,
                Event::Gap { count, .. } => skipped += count,
                Event::Status {
                    status,
                    exit_code,
                    seq,
                    ..
                } => {
                    assert_eq!((status, exit_code), (Status::Exited, 3));
                    assert_eq!(seq, published + 1);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(received > 0 && skipped > 0);
        assert_eq!(live.skipped(), hub.stats().skipped);
        let stats = hub.stats();
        assert_eq!(stats.offered, stats.written + stats.queued + stats.skipped);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_and_a_socket_see_the_same_lines_in_the_same_order() {
    bounded(async {
        let hub = Hub::builder().queue(100_000).build().unwrap();
        let url = serve(&hub).await;
        let mut socket = JsonClient::connect(&url).await;
        socket.subscribe(C, json!({"gaps": true})).await;
        let mut account = Account::open(&mut socket).await;
        let mut live = hub.subscribe(C, From::Now).unwrap();
        let publishers: Vec<_> = (0..4)
            .map(|thread| {
                let publisher = hub.publisher(C).unwrap();
                std::thread::spawn(move || {
                    for n in 0..500 {
                        publisher.send_line(format!("{thread}:{n}"));
                    }
                })
            })
            .collect();
        let (lines, skipped) = read_to(&mut live, 2000).await;
        account.read_to(&mut socket, 2000).await;
        publishers
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!((lines.len() as u64 + skipped, account.skipped), (2000, 0));
        let seen: Vec<_> = account.lines.iter().map(|(_, text)| text.clone()).collect();
        assert_eq!(lines, seen);
    })
    .await;
}

#[tokio::test]
async fn a_future_that_is_dropped_loses_no_event() {
    bounded(async {
        let hub = Hub::new();
        let mut live = hub.subscribe(C, From::Now).unwrap();
        assert!(matches!(live.next().await, Some(Event::Subscribed { .. })));
        assert!(
            live.next().now_or_never().is_none(),
            "nothing was published"
        );
        hub.send_process_output("web", "line").unwrap();
        for _ in 0..3 {
            drop(live.next());
        }
        assert_eq!(live.try_next().as_ref().and_then(Event::text), Some("line"));
        assert_eq!(live.try_next(), None);
        let woken = tokio::spawn(async move {
            let event = poll_fn(|cx| std::pin::Pin::new(&mut live).poll_next(cx)).await;
            event.as_ref().and_then(Event::text).map(str::to_owned)
        });
        tokio::task::yield_now().await;
        hub.send_process_output("web", "later").unwrap();
        assert_eq!(woken.await.unwrap().as_deref(), Some("later"));
    })
    .await;
}

#[tokio::test]
async fn a_receiver_counts_as_long_as_it_lives_and_keeps_no_channel_after_that() {
    bounded(async {
        let hub = Hub::new();
        let live = hub.subscribe(C, From::Now).unwrap();
        assert_eq!(
            (hub.client_count(), hub.channel_subscriber_count(C)),
            (1, 1)
        );
        assert_eq!(hub.broadcast(outrace::Message::error("to all")), 1);
        drop(live);
        assert_eq!((hub.client_count(), hub.channel_count()), (0, 0));
        let stats = hub.stats();
        // The notice that it is subscribed was never read.
        assert_eq!((stats.offered, stats.discarded), (1, 1));
        assert_eq!(stats.closed.values().sum::<u64>(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_after_what_waits() {
    bounded(async {
        let hub = Hub::new();
        let mut live = hub.subscribe(C, From::Now).unwrap();
        hub.send_process_output("web", "the last line").unwrap();
        hub.shutdown().await;
        let lines: Vec<_> = std::iter::from_fn(|| live.next().now_or_never().flatten()).collect();
        assert_eq!(
            lines.iter().filter_map(Event::text).collect::<Vec<_>>(),
            ["the last line"]
        );
        assert_eq!(live.next().await, None);
        assert_eq!(
            hub.subscribe(C, From::Now).unwrap_err(),
            SubscribeError::Stopping
        );
    })
    .await;
}

#[test]
fn each_reason_for_having_no_receiver_is_an_error() {
    let hub = Hub::builder().max_channels(1).build().unwrap();
    assert_eq!(
        hub.subscribe(C, From::Now).unwrap_err(),
        SubscribeError::NoRuntime
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { hub.start() });
    // Started: it works outside of the runtime too.
    let mut live = hub.subscribe(C, From::Now).unwrap();
    assert!(matches!(live.try_next(), Some(Event::Subscribed { .. })));
    assert_eq!(
        hub.subscribe("other", From::Now).unwrap_err(),
        SubscribeError::ChannelLimit
    );
    assert_eq!((hub.client_count(), hub.channel_count()), (1, 1));
    assert!(matches!(
        hub.subscribe("no spaces", From::Now).unwrap_err(),
        SubscribeError::InvalidChannel(_)
    ));
    hub.send_process_output("web", "line").unwrap();
    let wait = async {
        live.next()
            .await
            .as_ref()
            .and_then(Event::text)
            .map(str::to_owned)
    };
    let line =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), wait).await });
    assert_eq!(line.unwrap().as_deref(), Some("line"));
}

#[tokio::test]
async fn json_is_made_only_for_those_who_listen() {
    struct Counted<'a>(&'a std::cell::Cell<u32>);
    impl serde::Serialize for Counted<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            serializer.serialize_u32(7)
        }
    }
    let hub = Hub::new();
    let publisher = hub.publisher("deploys").unwrap();
    let made = std::cell::Cell::new(0);
    assert_eq!(publisher.send_json("deploy", &Counted(&made)).unwrap(), 0);
    assert_eq!(made.get(), 0);
    let mut live = hub.subscribe("deploys", From::Now).unwrap();
    assert_eq!(publisher.send_json("deploy", &Counted(&made)).unwrap(), 1);
    assert_eq!(made.get(), 1);
    // The message that was not made has a number all the same.
    assert!(matches!(
        live.try_next(),
        Some(Event::Subscribed { seq: 1, .. })
    ));
    let Some(Event::Message {
        message, seq: 2, ..
    }) = live.next().await
    else {
        panic!("no message");
    };
    assert_eq!(message.message_type().as_str(), "deploy");
    assert_eq!(*message.data(), outrace::Data::Json("7".into()));
    let fails = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert!(publisher.send_json("deploy", &fails).is_err());
}
