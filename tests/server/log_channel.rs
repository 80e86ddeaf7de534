//! The log of a program as a channel: the layer, the logger and the writer.

use std::io::Write;

use log::Log;
use outrace::{Event, From, Hub, Receiver};
use outrace_testkit::{Account, JsonClient, bounded, serve};
use serde_json::{Value, json};
use tracing_subscriber::prelude::*;

/// The texts of the next lines.
async fn lines(live: &mut Receiver, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let event = live.next().await.unwrap();
        lines.extend(event.text().map(str::to_owned));
    }
    lines
}

fn parsed(lines: &[String]) -> Vec<Value> {
    let values = lines.iter().map(|line| serde_json::from_str(line));
    values.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn an_event_is_a_line_with_its_level_target_fields_and_spans() {
    let hub = Hub::new();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    let mut words = hub.subscribe("words", From::Now).unwrap();
    let subscriber = tracing_subscriber::registry()
        .with(outrace::tracing::layer(hub.publisher("logs").unwrap()))
        .with(outrace::tracing::layer(hub.publisher("words").unwrap()).text());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "app", "plain");
        let request = tracing::info_span!("request", id = 7, user = tracing::field::Empty);
        request.record("user", "ann");
        request.in_scope(|| {
            let _inner = tracing::debug_span!("query").entered();
            tracing::warn!(target: "app::db", ms = 812, slow = true, what = ?[1], "took\nlong");
        });
        tracing::event!(target: "app", tracing::Level::ERROR, ratio = 0.5);
    });
    assert_eq!(
        parsed(&lines(&mut live, 3).await),
        [
            json!({"level": "INFO", "target": "app", "message": "plain"}),
            json!({
                "level": "WARN", "target": "app::db", "message": "took\nlong",
                "fields": {"ms": 812, "slow": true, "what": "[1]"},
                "spans": [
                    {"name": "request", "fields": {"id": 7, "user": "ann"}},
                    {"name": "query"},
                ],
            }),
            json!({"level": "ERROR", "target": "app", "message": "", "fields": {"ratio": 0.5}}),
        ]
    );
    assert_eq!(
        lines(&mut words, 3).await,
        [
            " INFO app: plain",
            " WARN request{id=7 user=\"ann\"}:query: app::db: took\\nlong \
             ms=812 slow=true what=\"[1]\"",
            "ERROR app:  ratio=0.5",
        ]
    );
}

#[test]
fn an_event_that_nobody_watches_is_counted_and_not_formatted() {
    struct Fails;
    impl std::fmt::Debug for Fails {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("formatted");
        }
    }
    let hub = Hub::new();
    let publisher = hub.publisher("logs").unwrap();
    let layer = outrace::tracing::layer(publisher.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _span = tracing::info_span!("span", value = ?Fails).entered();
        tracing::info!(target: "app", value = ?Fails, "unwatched");
        tracing::info!(target: "outrace::hub", "the engine's own");
    });
    let logger = outrace::log::logger(publisher);
    // Not formatted either, since nobody watches.
    logger.log(
        &log::Record::builder()
            .target("app")
            .args(format_args!("{Fails:?}"))
            .build(),
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    assert!(matches!(
        live.try_next(),
        Some(Event::Subscribed { seq: 2, .. })
    ));
}

// All runs in one thread, which the subscriber is set for.
#[tokio::test]
async fn a_layer_that_publishes_to_its_own_hub_does_not_feed_itself() {
    bounded(async {
        /// A callback's own log is published.
        fn greet(client: &outrace::Client) {
            tracing::info!(target: "app", "hello {}", client.id());
        }
        let hub = Hub::builder()
            .on_connect(|client| greet(client))
            .build()
            .unwrap();
        let url = serve(&hub).await;
        let mut live = hub.subscribe("log", From::Now).unwrap();
        let layer = outrace::tracing::layer(hub.publisher("log").unwrap()).text();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        // At every level: connecting, subscribing and writing are logged by the engine.
        let mut client = JsonClient::subscribed(&url, "log").await;
        for round in 0..50 {
            tracing::trace!(target: "app", "marker {round}");
            client
                .until_line(&format!("TRACE app: marker {round}"))
                .await;
        }
        drop(client);
        let lines = lines(&mut live, 51).await;
        let (hello, markers) = lines.split_first().unwrap();
        assert!(hello.starts_with(" INFO app: hello "), "{lines:?}");
        assert!(
            markers
                .iter()
                .all(|line| line.starts_with("TRACE app: marker ")),
            "{lines:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_value_that_logs_while_it_is_formatted_is_published_once() {
    struct Logs;
    impl std::fmt::Debug for Logs {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            tracing::info!(target: "app", value = ?Logs, "inner");
            f.write_str("formatted")
        }
    }
    let hub = Hub::new();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    let layer = outrace::tracing::layer(hub.publisher("logs").unwrap()).text();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(target: "app", value = ?Logs, "outer");
    });
    assert_eq!(
        lines(&mut live, 1).await,
        [" INFO app: outer value=\"formatted\""]
    );
}

#[tokio::test]
async fn a_record_of_log_is_a_line() {
    let hub = Hub::new();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    let logger = outrace::log::logger(hub.publisher("logs").unwrap());
    let words = logger.clone().text();
    for logger in [&logger, &words] {
        for (target, text) in [("app", "pool \"a\" is empty"), ("outrace::hub", "own")] {
            let metadata = log::Metadata::builder()
                .level(log::Level::Warn)
                .target(target)
                .build();
            assert_eq!(logger.enabled(&metadata), target == "app");
            let args = format_args!("{text}");
            logger.log(&log::Record::builder().metadata(metadata).args(args).build());
        }
    }
    let lines = lines(&mut live, 2).await;
    assert_eq!(
        parsed(&lines[..1]),
        [json!({"level": "WARN", "target": "app", "message": "pool \"a\" is empty"})]
    );
    assert_eq!(lines[1..], [" WARN app: pool \"a\" is empty"]);
}

#[tokio::test]
async fn a_writer_publishes_whole_lines_and_the_last_one_when_it_is_dropped() {
    let hub = Hub::new();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    writeln!(hub.writer("logs").unwrap(), "a line").unwrap();
    let mut writer = hub.writer("logs").unwrap();
    write!(writer, "be").unwrap();
    assert_eq!(lines(&mut live, 1).await, ["a line"]);
    write!(writer, "gun\r\n\nnext").unwrap();
    assert_eq!(lines(&mut live, 2).await, ["begun", ""]);
    let mut other = writer.clone();
    write!(other, "other").unwrap();
    drop(other);
    drop(writer);
    assert_eq!(lines(&mut live, 2).await, ["other", "next"]);
}

#[tokio::test]
async fn a_line_without_an_end_is_published_in_pieces_that_cut_no_character() {
    let hub = Hub::builder()
        .max_outgoing_message(1 << 20)
        .build()
        .unwrap();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    let mut writer = hub.writer("logs").unwrap();
    let line = "aé€😀".repeat(30_000);
    for part in line.as_bytes().chunks(1000) {
        writer.write_all(part).unwrap();
    }
    drop(writer);
    let (mut whole, mut continued) = (String::new(), 0);
    while whole.len() < line.len() {
        let event = live.next().await.unwrap();
        if let Event::Line { text, detail, .. } = event {
            whole.push_str(&text);
            continued += usize::from(detail.is_continued);
        }
    }
    assert!(whole == line, "{} of {} bytes", whole.len(), line.len());
    assert_eq!(continued, line.len() / (64 << 10));
}

#[tokio::test]
async fn what_is_flushed_without_an_end_is_shown_until_it_ends() {
    bounded(async {
        let hub = Hub::new();
        let url = serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        client.subscribe("logs", json!({"partial": true})).await;
        Account::open(&mut client).await;
        let mut writer = hub.writer("logs").unwrap();
        write!(writer, "50%").unwrap();
        writer.flush().unwrap();
        let mut shown = Vec::new();
        while shown.last() != Some(&json!("50%")) {
            shown.push(client.message().await["data"].take());
        }
        writeln!(writer, ", done").unwrap();
        client.until_line("50%, done").await;
    })
    .await;
}

#[tokio::test]
async fn the_lines_of_a_formatter_go_through_the_writer() {
    let hub = Hub::new();
    let mut live = hub.subscribe("logs", From::Now).unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(hub.writer("logs").unwrap())
        .finish();
    tracing::subscriber::with_default(subscriber, || tracing::info!(target: "app", "formatted"));
    assert_eq!(lines(&mut live, 1).await, [" INFO app: formatted"]);
}
