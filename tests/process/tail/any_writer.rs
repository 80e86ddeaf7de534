//! Any writer and any log rotation, compared with what was written.

use std::fs::{self, File};
use std::io::Write;

use outrace::process::{Tail, TailEvent};
use outrace_testkit::bounded;
use proptest::prelude::*;

use super::{Log, Watched};

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
