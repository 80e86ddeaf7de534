//! FIFOs, devices and pipes, which have no positions to read at.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use outrace::process::{Tail, TailEvent};
use outrace_testkit::bounded;
use rustix::fs::{CWD, Mode, mkfifoat};

use super::{Log, Watched};

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).unwrap();
}

/// Opens a FIFO for writing, which waits for a reader.
async fn writer(path: PathBuf) -> File {
    let opened = tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(path));
    opened.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_fifo_is_read_through_all_its_writers_and_none_of_them_waits() {
    bounded(async {
        let scratch = Log::new();
        fifo(&scratch.log());
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.event(TailEvent::Opened).await;
        let mut first = writer(scratch.log()).await;
        first.write_all(b"one\nunfinished").unwrap();
        drop(first);
        watched.have(2).await;
        let mut second = writer(scratch.log()).await;
        // More than a pipe holds: the writer goes on only if it is read.
        let text = "x".repeat(99) + "\n";
        let many = text.repeat(10_000);
        let writing = tokio::task::spawn_blocking(move || {
            second.write_all(many.as_bytes()).unwrap();
            second
        });
        watched.have(10_002).await;
        let mut second = writing.await.unwrap();
        second.write_all(b"last").unwrap();
        let lines = watched.end().await;
        assert_eq!(lines[..2], ["one", "unfinished"]);
        assert_eq!(lines.last().unwrap(), "last");
    })
    .await;
}

#[tokio::test]
async fn a_fifo_without_a_writer_ends_at_once_when_it_is_stopped() {
    bounded(async {
        let scratch = Log::new();
        fifo(&scratch.log());
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.event(TailEvent::Opened).await;
        assert!(watched.end().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_pipe_of_this_process_is_read_to_its_end() {
    bounded(async {
        let (reader, mut pipe) = std::io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        pipe.write_all(b"\xEF\xBB\xBFone\n").unwrap();
        let mut watched = Watched::start(Tail::builder(path)).await;
        watched.have(1).await;
        pipe.write_all(b"two\nthree").unwrap();
        drop(pipe);
        watched.event(TailEvent::Ended).await;
        let (lines, status) = watched.client.final_status().await;
        assert_eq!(watched.received, ["one"]);
        assert_eq!(lines, ["two", "three"]);
        assert_eq!(status, ("exited".to_owned(), 0));
        watched.tail.stop().await;
    })
    .await;
}

#[tokio::test]
async fn devices_are_read_to_their_end_or_until_a_stop() {
    bounded(async {
        let mut null = Watched::start(Tail::builder("/dev/null")).await;
        null.event(TailEvent::Ended).await;
        let mut zero = Watched::start(Tail::builder("/dev/zero")).await;
        zero.event(TailEvent::CaughtUp).await;
        zero.tail.stop().await;
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_the_kernel_makes_up_is_read_once_to_its_end() {
    bounded(async {
        for path in [
            "/proc/self/limits",
            "/proc/version",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ] {
            let Ok(text) = fs::read_to_string(path) else {
                continue;
            };
            let mut watched = Watched::start(Tail::builder(path)).await;
            watched.event(TailEvent::Ended).await;
            let (lines, status) = watched.client.final_status().await;
            assert_eq!(lines, text.lines().collect::<Vec<_>>(), "{path}");
            assert_eq!(status.0, "exited");
        }
    })
    .await;
}

#[tokio::test]
async fn a_fifo_and_a_file_follow_one_another_at_a_path() {
    bounded(async {
        let mut scratch = Log::new();
        fs::write(scratch.log(), "in a file\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        scratch.rename_away();
        fifo(&scratch.log());
        let mut pipe = writer(scratch.log()).await;
        pipe.write_all(b"in a pipe\n").unwrap();
        watched.have(2).await;
        // A program that makes its FIFO anew.
        fs::remove_file(scratch.log()).unwrap();
        watched.event(TailEvent::Missing).await;
        fifo(&scratch.log());
        pipe.write_all(b"in the old pipe\n").unwrap();
        writer(scratch.log())
            .await
            .write_all(b"in a new pipe\n")
            .unwrap();
        watched.have(4).await;
        fs::remove_file(scratch.log()).unwrap();
        fs::write(scratch.log(), "in a file again\n").unwrap();
        watched.have(5).await;
        let expected = [
            "in a file",
            "in a pipe",
            "in the old pipe",
            "in a new pipe",
            "in a file again",
        ];
        assert_eq!(watched.end().await, expected);
    })
    .await;
}
