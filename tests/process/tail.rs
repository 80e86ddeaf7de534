//! Files that the library follows while a writer appends to, renames, truncates and removes them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrace::Hub;
use outrace::process::{Tail, TailBuilder, TailEvent};
use outrace_testkit::{JsonClient, Scratch, TIMEOUT, bounded, serve};
use proptest::prelude::*;
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

#[tokio::test]
async fn a_tail_begins_with_the_last_lines_and_the_unfinished_one() {
    bounded(async {
        for (lines, expected) in [
            (0, &["five and more"][..]),
            (2, &["three", "four", "five and more"]),
            (99, &["one", "two", "three", "four", "five and more"]),
        ] {
            let scratch = Log::new();
            let mut file = scratch.append();
            file.write_all(b"one\ntwo\nthree\nfour\nfive").unwrap();
            let mut watched = Watched::start(Tail::builder(scratch.log()).lines(lines)).await;
            watched.event(TailEvent::Opened).await;
            file.write_all(b" and more\n").unwrap();
            watched.have(expected.len()).await;
            assert_eq!(watched.end().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_that_appears_later_is_read_from_its_beginning_and_its_status_says_when() {
    bounded(async {
        let scratch = Log::new();
        let mut watched = Watched::start(Tail::builder(scratch.log()).lines(0)).await;
        watched.event(TailEvent::Missing).await;
        scratch.append().write_all(b"first\nunfinished").unwrap();
        watched.have(1).await;
        fs::remove_file(scratch.log()).unwrap();
        watched.event(TailEvent::Missing).await;
        scratch.append().write_all(b"back\n").unwrap();
        watched.have(3).await;
        let events: Vec<_> = std::iter::from_fn(|| watched.events.try_recv().ok()).collect();
        assert!(events.contains(&TailEvent::Rotated), "{events:?}");
        assert_eq!(watched.end().await, ["first", "unfinished", "back"]);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_file_is_read_on_while_its_writer_has_it_open() {
    bounded(async {
        let scratch = Log::new();
        let mut file = scratch.append();
        file.write_all(b"before\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        fs::remove_file(scratch.log()).unwrap();
        watched.event(TailEvent::Missing).await;
        file.write_all(b"after\n").unwrap();
        watched.have(2).await;
        // The new file is empty and has no writer yet.
        let mut new = scratch.append();
        file.write_all(b"late\n").unwrap();
        watched.have(3).await;
        new.write_all(b"new\n").unwrap();
        watched.have(4).await;
        assert_eq!(watched.end().await, ["before", "after", "late", "new"]);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_file_that_has_outgrown_its_old_length_is_read_from_its_beginning() {
    bounded(async {
        let scratch = Log::new();
        let mut file = scratch.append();
        file.write_all(b"old\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        file.set_len(0).unwrap();
        file.write_all(b"new and longer than what was there\n")
            .unwrap();
        watched.have(2).await;
        assert_eq!(
            watched.end().await,
            ["old", "new and longer than what was there"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_written_anew_to_its_old_length_is_read_from_its_beginning() {
    bounded(async {
        let scratch = Log::new();
        let mut file = scratch.append();
        file.write_all(b"one\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        file.set_len(0).unwrap();
        file.write_all(b"two\n").unwrap();
        watched.have(2).await;
        assert_eq!(watched.end().await, ["one", "two"]);
    })
    .await;
}

#[tokio::test]
async fn a_truncation_loses_only_lines_written_just_before_it_and_doubles_none() {
    bounded(async {
        let scratch = Log::new();
        let mut file = scratch.append();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        let mut after = 0;
        for round in 0..20 {
            for line in 0..50 {
                // The line is written in one piece: an unfinished line that is cut off would count
                // as a line.
                file.write_all(format!("{round} {line}\n").as_bytes())
                    .unwrap();
            }
            file.set_len(0).unwrap();
            file.write_all(format!("{round} after\n").as_bytes())
                .unwrap();
            after += 1;
            while watched
                .received
                .iter()
                .filter(|line| line.ends_with("after"))
                .count()
                < after
            {
                watched.have(watched.received.len() + 1).await;
            }
        }
        let lines = watched.end().await;
        let place = |line: &String| {
            let (round, line) = line.split_once(' ').unwrap();
            (
                round.parse::<u32>().unwrap(),
                line.parse().unwrap_or(1000_u32),
            )
        };
        assert!(lines.is_sorted_by(|a, b| place(a) < place(b)), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn a_link_is_followed_to_whatever_it_points_at() {
    bounded(async {
        let scratch = Log::new();
        let (a, b) = (scratch.folder().join("a"), scratch.folder().join("b"));
        fs::write(&a, "in a\n").unwrap();
        fs::write(&b, "in b\n").unwrap();
        std::os::unix::fs::symlink(&a, scratch.log()).unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        let new = scratch.folder().join("new-link");
        std::os::unix::fs::symlink(&b, &new).unwrap();
        fs::rename(&new, scratch.log()).unwrap();
        watched.have(2).await;
        assert_eq!(watched.end().await, ["in a", "in b"]);
    })
    .await;
}

#[tokio::test]
async fn a_lossless_tail_skips_nothing_for_a_subscriber_with_little_room() {
    bounded(async {
        let scratch = Log::new();
        let text: String = (0..20_000).map(|line| format!("{line}\n")).collect();
        fs::write(scratch.log(), text).unwrap();
        let hub = Hub::builder().queue(16).build().unwrap();
        let mut client = JsonClient::subscribed(&serve(&hub).await, CHANNEL).await;
        let tail = Tail::builder(scratch.log())
            .from_start()
            .lossless(Duration::from_secs(60))
            .start(&hub, CHANNEL)
            .unwrap();
        for line in 0..20_000 {
            assert_eq!(client.line().await, line.to_string());
        }
        tail.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_bad_channel_name_is_refused() {
    let hub = Hub::new();
    assert!(Tail::builder("x").start(&hub, "no name").is_err());
}

/// A step of a writer of logs or of a log rotation.
#[derive(Clone, Debug)]
enum Step {
    /// Writes a number of lines, in one piece or one by one.
    Lines(usize, bool),
    /// Writes a piece of a line.
    Piece,
    /// Renames the file. The writer writes a number of lines to the old file before it opens the
    /// new one.
    Rename(usize),
    /// Renames the file and creates an empty new one. The writer opens that after a number of
    /// lines.
    RenameAndCreate(usize),
    /// Removes the file. The writer writes a number of lines to it before it creates a new one.
    Remove(usize),
    /// Truncates the file to nothing after it was read.
    Truncate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..30_usize, any::<bool>()).prop_map(|(lines, whole)| Step::Lines(lines, whole)),
        2 => Just(Step::Piece),
        2 => (0..4_usize).prop_map(Step::Rename),
        2 => (0..4_usize).prop_map(Step::RenameAndCreate),
        1 => (0..4_usize).prop_map(Step::Remove),
        2 => Just(Step::Truncate),
    ];
    prop::collection::vec(step, 1..40)
}

/// A writer that records what it has written.
struct Writer {
    scratch: Log,
    file: File,
    written: Vec<String>,
    /// The unfinished line.
    piece: String,
    /// The number of lines that were complete when the current file was begun.
    before: usize,
}

impl Writer {
    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn lines(&mut self, lines: usize, whole: bool) {
        let mut text = String::new();
        for _ in 0..lines {
            let line = format!("line {}", self.written.len());
            text.push_str(&line);
            text.push('\n');
            self.written.push(std::mem::take(&mut self.piece) + &line);
            if !whole {
                self.write(&std::mem::take(&mut text));
            }
        }
        self.write(&text);
    }

    /// Continues with the file at the path.
    fn reopen(&mut self) {
        if !self.piece.is_empty() {
            self.written.push(std::mem::take(&mut self.piece));
        }
        self.before = self.written.len();
        self.file = self.scratch.append();
    }

    /// Waits until the reader has seen the current file, if that has content. Returns whether it
    /// has. Only one rotation may happen between two checks of the file.
    async fn is_seen(&self, watched: &mut Watched) -> bool {
        let has_lines = self.written.len() > self.before;
        if has_lines {
            watched.have(self.before + 1).await;
        }
        has_lines
    }

    async fn step(&mut self, step: &Step, watched: &mut Watched) {
        match *step {
            Step::Lines(lines, whole) => self.lines(lines, whole),
            Step::Piece => {
                self.piece.push_str("piece ");
                self.write("piece ");
            }
            Step::Rename(late) | Step::RenameAndCreate(late) | Step::Remove(late) => {
                if !self.is_seen(watched).await {
                    return;
                }
                match step {
                    Step::Remove(_) => fs::remove_file(self.scratch.log()).unwrap(),
                    _ => self.scratch.rename_away(),
                }
                if let Step::RenameAndCreate(_) = step {
                    self.scratch.append();
                }
                self.lines(late, false);
                self.reopen();
            }
            Step::Truncate => {
                if !self.piece.is_empty() {
                    self.lines(1, true);
                }
                // A piece at the end of the previous file becomes a line only when the current file
                // has content.
                if self.is_seen(watched).await {
                    watched.have(self.written.len()).await;
                    self.file.set_len(0).unwrap();
                    self.before = self.written.len();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 50,
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    })]

    #[test]
    fn every_line_comes_once_and_in_order_through_any_rotations_and_truncations(
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(bounded(async {
            let scratch = Log::new();
            let file = scratch.append();
            let mut watched = Watched::start(Tail::builder(scratch.log())).await;
            watched.event(TailEvent::Opened).await;
            let mut writer = Writer {
                scratch,
                file,
                written: Vec::new(),
                piece: String::new(),
                before: 0,
            };
            for step in &steps {
                writer.step(step, &mut watched).await;
            }
            writer.lines(1, true);
            watched.have(writer.written.len()).await;
            assert_eq!(watched.end().await, writer.written);
        }));
    }
}
