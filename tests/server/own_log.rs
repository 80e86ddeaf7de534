//! A program whose log goes into a channel of its own hub.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrace::client::{Event, Watcher};
use outrace::{Hub, Publisher};
use tracing_subscriber::fmt::format::FmtSpan;

/// Publishes what a subscriber writes, and counts the lines.
#[derive(Clone)]
struct Log {
    publisher: Arc<Publisher>,
    lines: Arc<AtomicUsize>,
}

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.publisher.send_line(line.trim_ascii_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// All runs in one thread, which the subscriber is set for.
#[tokio::test]
async fn a_log_that_is_published_to_its_own_hub_does_not_feed_itself() {
    let hub = Hub::builder().build().unwrap();
    let log = Log {
        publisher: Arc::new(hub.publisher("log").unwrap()),
        lines: Arc::default(),
    };
    let lines = Arc::clone(&log.lines);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let url = outrace_testkit::serve(&hub).await;
    let mut watcher = Watcher::builder(&url).channel("log").build().unwrap();
    while !matches!(watcher.next().await.unwrap(), Event::Subscribed { .. }) {}
    assert!(lines.load(Ordering::Relaxed) > 0, "connecting is logged");
    tracing::info!("begin");
    until_line(&mut watcher, "begin").await;
    let before = lines.load(Ordering::Relaxed);
    for round in 0..50 {
        let marker = format!("marker {round}");
        tracing::info!("{marker}");
        until_line(&mut watcher, &marker).await;
    }
    assert_eq!(
        lines.load(Ordering::Relaxed) - before,
        50,
        "only the program's own lines"
    );
}

/// Waits for a line that ends with a text.
async fn until_line(watcher: &mut Watcher, end: &str) {
    loop {
        match watcher.next().await.unwrap() {
            Event::Line { text, .. } if text.ends_with(end) => return,
            _ => {}
        }
    }
}
