//! Files that are truncated while they are followed.

use std::fs;
use std::io::Write;

use outrace::process::{Tail, TailEvent};
use outrace_testkit::bounded;

use super::{Log, Watched};

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
async fn the_hole_before_the_next_line_of_a_writer_that_does_not_append_is_passed_over() {
    bounded(async {
        for length in [5, 4095, 4096, 20_000, 3_000_000] {
            let scratch = Log::new();
            let mut writer = fs::File::create(scratch.log()).unwrap();
            let mut watched = Watched::start(Tail::builder(scratch.log()).from_start()).await;
            watched.event(TailEvent::Opened).await;
            let text = ("x".repeat(999) + "\n").repeat(length / 1000);
            let rest = "y".repeat(length % 1000);
            writeln!(writer, "{text}{rest}").unwrap();
            let before = length / 1000 + 1;
            watched.have(before).await;
            // `: > c.log` while `cmd > c.log` runs.
            fs::File::create(scratch.log()).unwrap();
            writer.write_all(b"after\nand more\n").unwrap();
            watched.have(before + 2).await;
            assert_eq!(watched.end().await[before..], ["after", "and more"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_hole_that_was_there_before_the_following_costs_nothing_and_is_passed_over() {
    use std::os::unix::fs::FileExt;
    bounded(async {
        let scratch = Log::new();
        let file = fs::File::create(scratch.log()).unwrap();
        file.write_all_at(b"one\ntwo\n", 1 << 40).unwrap();
        file.write_all_at(b"three\n", (1 << 40) + (1 << 30))
            .unwrap();
        for tail in [
            Tail::builder(scratch.log()),
            Tail::builder(scratch.log()).from_start(),
        ] {
            let mut watched = Watched::start(tail).await;
            watched.have(3).await;
            assert_eq!(watched.end().await, ["one", "two", "three"]);
        }
    })
    .await;
}

#[tokio::test]
async fn lines_in_space_that_was_reserved_before_are_read_as_they_are_written() {
    use std::os::unix::fs::FileExt;
    bounded(async {
        let scratch = Log::new();
        let file = fs::File::create(scratch.log()).unwrap();
        file.write_all_at(&[0; 10_000], 0).unwrap();
        file.write_all_at(b"one\n", 0).unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log()).from_start()).await;
        watched.have(1).await;
        file.write_all_at(b"two\n", 4).unwrap();
        watched.have(2).await;
        assert_eq!(watched.end().await, ["one", "two"]);
    })
    .await;
}

#[tokio::test]
async fn nuls_within_a_line_are_text() {
    bounded(async {
        let scratch = Log::new();
        fs::write(scratch.log(), b"a\0b\0\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        assert_eq!(watched.end().await, ["a\0b\0"]);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_written_anew_with_the_same_text_is_read_again() {
    bounded(async {
        let scratch = Log::new();
        fs::write(scratch.log(), "one\ntwo\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(2).await;
        watched.event(TailEvent::CaughtUp).await;
        fs::write(scratch.log(), "one\ntwo\n").unwrap();
        watched.event(TailEvent::Truncated).await;
        watched.have(4).await;
        let mut file = scratch.append();
        file.write_all(b"three\n").unwrap();
        watched.have(5).await;
        assert_eq!(watched.end().await, ["one", "two", "one", "two", "three"]);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_written_anew_with_another_beginning_is_read_again() {
    bounded(async {
        let scratch = Log::new();
        let end = "the same line\n".repeat(200);
        fs::write(scratch.log(), format!("one\n{end}")).unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log()).from_start()).await;
        watched.have(201).await;
        fs::write(scratch.log(), format!("two\n{end}more\n")).unwrap();
        watched.have(403).await;
        let lines = watched.end().await;
        assert_eq!((lines[201].as_str(), lines[402].as_str()), ("two", "more"));
    })
    .await;
}
