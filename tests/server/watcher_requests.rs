//! What a program asks of a watcher: other channels, messages to the server, another run, tokens.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrace::access::{AuthError, Identity, from_fn};
use outrace::client::{
    Backoff, DisconnectReason, Event, ResumePoint, SendError, WatchError, Watcher, WatcherBuilder,
};
use outrace::{ClientMessage, Hub};
use outrace_testkit::{bounded, serve};

fn watcher(url: &str) -> WatcherBuilder {
    let quick = Backoff::new(Duration::from_millis(20), 1.0, Duration::from_millis(20));
    Watcher::builder(url).backoff(quick)
}

/// Returns the next event but those of the connection.
async fn next(watcher: &mut Watcher) -> Event {
    loop {
        match watcher.next().await.unwrap() {
            Event::Connected | Event::Disconnected { .. } => {}
            event => return event,
        }
    }
}

async fn line(watcher: &mut Watcher) -> String {
    match next(watcher).await {
        Event::Line { text, .. } => text,
        event => panic!("{event:?}"),
    }
}

async fn subscribed(watcher: &mut Watcher) {
    let event = next(watcher).await;
    assert!(matches!(event, Event::Subscribed { .. }), "{event:?}");
}

#[tokio::test]
async fn an_unwatched_channel_gives_no_event_and_can_be_watched_again() {
    bounded(async {
        let hub = Hub::builder().history(100).build().unwrap();
        let mut watcher = watcher(&serve(&hub).await)
            .channel("process:a")
            .channel("process:b")
            .build()
            .unwrap();
        subscribed(&mut watcher).await;
        subscribed(&mut watcher).await;
        for n in 0..10 {
            hub.send_process_output("a", format!("a{n}")).unwrap();
        }
        assert_eq!(line(&mut watcher).await, "a0");
        // Nine lines were read, or are on their way.
        assert!(watcher.unwatch("process:a") && !watcher.unwatch("process:a"));
        hub.send_process_output("b", "b0").unwrap();
        assert_eq!(line(&mut watcher).await, "b0");
        while hub.channel_subscriber_count("process:a") > 0 {
            hub.send_process_output("b", "again").unwrap();
            assert_eq!(line(&mut watcher).await, "again");
        }
        assert_eq!(watcher.channels().len(), 1);
        watcher.watch("process:a").unwrap();
        subscribed(&mut watcher).await;
        hub.send_process_output("a", "later").unwrap();
        assert_eq!(line(&mut watcher).await, "later");
    })
    .await;
}

#[tokio::test]
async fn a_message_to_the_server_comes_unchanged_and_in_order() {
    bounded(async {
        let hub = Hub::builder()
            .on_message(|client, message| {
                let ClientMessage::Text(text) = message else {
                    panic!("{message:?}");
                };
                assert!(client.send_message(&outrace::Message::error(text.to_owned())));
            })
            .build()
            .unwrap();
        let mut watcher = watcher(&serve(&hub).await).build().unwrap();
        assert!(matches!(watcher.send("x"), Err(SendError::NotConnected)));
        assert_eq!(watcher.next().await, Some(Event::Connected));
        watcher.send("no JSON").unwrap();
        watcher
            .send_json(&serde_json::json!({"type": "event", "data": 1}))
            .unwrap();
        for text in ["no JSON", r#"{"data":1,"type":"event"}"#] {
            let expected = Event::Error {
                message: text.to_owned(),
            };
            assert_eq!(next(&mut watcher).await, expected);
        }
        let refusal = loop {
            if let Err(refusal) = watcher.send("more") {
                break refusal;
            }
        };
        assert!(matches!(refusal, SendError::Full));
    })
    .await;
}

#[tokio::test]
async fn another_run_of_the_program_continues_after_the_last_event_that_was_returned() {
    bounded(async {
        let hub = Hub::builder().history(1000).build().unwrap();
        let url = serve(&hub).await;
        for n in 0..10 {
            hub.send_process_output("a", n.to_string()).unwrap();
        }
        let mut stored = ResumePoint::default();
        assert!(stored.is_empty());
        // Each run takes another part of what may be one frame.
        let mut received = Vec::new();
        for run in 0..4 {
            let json = serde_json::to_string(&stored).unwrap();
            let mut watcher = watcher(&url)
                .channel("process:a")
                .tail(10)
                .resume_from(serde_json::from_str(&json).unwrap())
                .build()
                .unwrap();
            let first = next(&mut watcher).await;
            if run == 0 {
                assert!(matches!(first, Event::Subscribed { .. }), "{first:?}");
            } else {
                let expected = matches!(
                    first,
                    Event::Reconnected {
                        epoch_changed: false,
                        lost: 0,
                        ..
                    }
                );
                assert!(expected, "{first:?}");
            }
            for _ in 0..run {
                received.push(line(&mut watcher).await);
            }
            stored = watcher.resume_point();
        }
        assert_eq!(received, ["0", "1", "2", "3", "4", "5"]);
    })
    .await;
}

/// A hub that knows one token, which can be changed, and counts who asks.
fn guarded(token: &Arc<Mutex<&'static str>>, asked: &Arc<AtomicUsize>) -> Hub {
    let (token, asked) = (Arc::clone(token), Arc::clone(asked));
    let authenticator = from_fn(move |credentials| {
        asked.fetch_add(1, Ordering::SeqCst);
        match credentials.bearer() {
            Some(bearer) if bearer == *token.lock().unwrap() => Ok(Identity::new("alice")),
            _ => Err(AuthError::Invalid),
        }
    });
    Hub::builder().authenticator(authenticator).build().unwrap()
}

#[tokio::test]
async fn a_token_that_is_not_accepted_ends_a_watcher_that_has_no_other() {
    bounded(async {
        let asked = Arc::default();
        let hub = guarded(&Arc::new(Mutex::new("right")), &asked);
        let mut watcher = watcher(&serve(&hub).await).token("wrong").build().unwrap();
        let Some(Event::Disconnected { reason, retry_in }) = watcher.next().await else {
            panic!("it is refused");
        };
        assert!(
            matches!(reason, DisconnectReason::Refused { status: 401, .. }),
            "{reason}"
        );
        assert_eq!((retry_in, watcher.next().await), (None, None));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_asked_for_at_each_attempt_until_the_same_one_is_refused_twice() {
    bounded(async {
        let (right, asked) = (Arc::new(Mutex::new("t2")), Arc::default());
        let hub = guarded(&right, &asked);
        let attempts = Arc::new(AtomicUsize::new(0));
        let mut watcher = watcher(&serve(&hub).await)
            .token_with({
                let attempts = Arc::clone(&attempts);
                move || {
                    let attempt = attempts.fetch_add(1, Ordering::SeqCst);
                    async move {
                        match attempt {
                            0 => Err("the vault is closed"),
                            attempt => Ok(format!("t{}", attempt.min(3))),
                        }
                    }
                }
            })
            .build()
            .unwrap();
        let mut reasons = Vec::new();
        loop {
            match watcher.next().await {
                Some(Event::Connected) => {
                    reasons.push("connected".to_owned());
                    *right.lock().unwrap() = "t9";
                    hub.clients().for_each(|client| client.close());
                }
                Some(Event::Disconnected { reason, .. }) => reasons.push(match reason {
                    DisconnectReason::Refused { status, .. } => status.to_string(),
                    DisconnectReason::Closed { code, .. } => code.to_string(),
                    other => other.to_string(),
                }),
                Some(event) => panic!("{event:?}"),
                None => break,
            }
        }
        let no_token = "cannot connect: there is no token: the vault is closed";
        assert_eq!(
            reasons,
            [no_token, "401", "connected", "1008", "401", "401"]
        );
    })
    .await;
}

#[tokio::test]
async fn headers_of_the_program_come_with_the_handshake_and_the_list() {
    bounded(async {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hub = Hub::builder()
            .on_upgrade({
                let seen = Arc::clone(&seen);
                move |uri, headers| {
                    let team = headers.get("x-team").map(|team| team.to_str().unwrap());
                    let team = team.unwrap_or_default().to_owned();
                    seen.lock().unwrap().push((uri.path().to_owned(), team));
                    outrace::Admission::Admit
                }
            })
            .build()
            .unwrap();
        let builder = watcher(&serve(&hub).await).header("X-Team", "blue");
        let mut watcher = builder.clone().build().unwrap();
        assert_eq!(watcher.next().await, Some(Event::Connected));
        builder.lister().unwrap().channels().await.unwrap();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.iter().all(|(_, team)| team == "blue"), "{seen:?}");
        for (name, value) in [
            ("Upgrade", "h2c"),
            ("sec-websocket-key", "k"),
            ("a b", ""),
            ("a", "\n"),
        ] {
            let refused = builder.clone().header(name, value).build();
            assert!(
                matches!(refused, Err(WatchError::InvalidHeader { .. })),
                "{name}"
            );
        }
    })
    .await;
}
