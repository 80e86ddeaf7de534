//! Files that the library follows while a writer appends to, renames, truncates and removes them.

mod any_writer;
mod beginning;
mod encodings;
mod rotation;
mod streams;
mod truncation;
mod watches;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrace::Hub;
use outrace::process::{Tail, TailBuilder, TailEvent};
use outrace_testkit::{JsonClient, Scratch, TIMEOUT, serve};
use tokio::sync::mpsc;

const CHANNEL: &str = "file:it";

/// A folder with a log that is rotated.
struct Log {
    scratch: Scratch,
    rotations: u32,
}

impl Log {
    fn new() -> Self {
        Self {
            scratch: Scratch::new(),
            rotations: 0,
        }
    }

    fn folder(&self) -> &Path {
        self.scratch.folder()
    }

    fn log(&self) -> PathBuf {
        self.folder().join("it.log")
    }

    /// Opens the log as a writer of logs does.
    fn append(&self) -> File {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log())
            .unwrap()
    }

    fn rename_away(&mut self) {
        self.rotations += 1;
        fs::rename(
            self.log(),
            self.folder().join(format!("it.log.{}", self.rotations)),
        )
        .unwrap();
    }
}

/// A followed file, and a subscriber of its channel.
struct Watched {
    _hub: Hub,
    client: JsonClient,
    tail: Tail,
    events: mpsc::UnboundedReceiver<TailEvent>,
    received: Vec<String>,
}

impl Watched {
    async fn start(builder: TailBuilder) -> Self {
        let hub = Hub::builder()
            .queue(1 << 20)
            .queue_bytes(1 << 30)
            .build()
            .unwrap();
        let client = JsonClient::subscribed(&serve(&hub).await, CHANNEL).await;
        let (said, events) = mpsc::unbounded_channel();
        let tail = builder
            .poll_interval(Duration::from_millis(10))
            .on_event(move |event| {
                let _ = said.send(event);
            })
            .start(&hub, CHANNEL)
            .unwrap();
        Self {
            _hub: hub,
            client,
            tail,
            events,
            received: Vec::new(),
        }
    }

    /// Waits until `lines` lines have been received.
    async fn have(&mut self, lines: usize) {
        while self.received.len() < lines {
            let Ok(line) = tokio::time::timeout(TIMEOUT / 2, self.client.line()).await else {
                let events: Vec<_> = std::iter::from_fn(|| self.events.try_recv().ok()).collect();
                let last = self.received.last();
                panic!(
                    "line {} of {lines} does not come after {last:?}; {events:?}",
                    self.received.len()
                );
            };
            self.received.push(line);
        }
    }

    async fn event(&mut self, expected: TailEvent) {
        while self.events.recv().await.expect("more happens to the file") != expected {}
    }

    /// Stops following. Returns all lines received up to the final status.
    async fn end(mut self) -> Vec<String> {
        self.tail.stop().await;
        loop {
            let message = self.client.message().await;
            match message["data"].as_str() {
                Some(line) => self.received.push(line.to_owned()),
                None if message["data"]["status"] == "stopped" => return self.received,
                None => {}
            }
        }
    }
}

/// Returns how many open files of this process have a path that ends in `name`.
fn open_files(name: &str) -> usize {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().ends_with(name))
        .count()
}
