//! Files that are renamed, removed and replaced while they are followed.

use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use outrace::process::{Tail, TailEvent};
use outrace_testkit::{bounded, eventually};

use super::{Log, Watched};

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
async fn lines_that_a_late_writer_adds_to_the_rotated_file_come_too() {
    bounded(async {
        let mut scratch = Log::new();
        let mut late = scratch.append();
        late.write_all(b"before\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        for round in 0..3 {
            scratch.rename_away();
            let mut new = scratch.append();
            writeln!(new, "new {round}").unwrap();
            watched.event(TailEvent::Rotated).await;
            watched.have(2 + 2 * round).await;
            writeln!(late, "late {round}").unwrap();
            watched.have(3 + 2 * round).await;
            late = new;
        }
        let expected = [
            "before", "new 0", "late 0", "new 1", "late 1", "new 2", "late 2",
        ];
        assert_eq!(watched.end().await, expected);
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_quiet_rotated_file_is_closed() {
    bounded(async {
        let mut scratch = Log::new();
        fs::write(scratch.log(), "before\n").unwrap();
        let tail = Tail::builder(scratch.log()).rotated_timeout(Duration::from_millis(50));
        let mut watched = Watched::start(tail).await;
        watched.have(1).await;
        scratch.rename_away();
        let name = scratch.folder().join("it.log.1").display().to_string();
        assert_eq!(super::open_files(&name), 1);
        fs::write(scratch.log(), "after\n").unwrap();
        eventually(|| super::open_files(&name) == 0).await;
        assert_eq!(watched.end().await, ["before", "after"]);
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_quiet_deleted_file_is_closed_and_the_next_one_is_read_from_its_beginning() {
    bounded(async {
        let scratch = Log::new();
        fs::write(scratch.log(), "before\nunfinished").unwrap();
        let tail = Tail::builder(scratch.log()).deleted_timeout(Duration::from_millis(50));
        let mut watched = Watched::start(tail).await;
        watched.have(1).await;
        fs::remove_file(scratch.log()).unwrap();
        let name = format!("{} (deleted)", scratch.log().display());
        watched.event(TailEvent::Missing).await;
        watched.have(2).await;
        eventually(|| super::open_files(&name) == 0).await;
        fs::write(scratch.log(), "after\n").unwrap();
        watched.event(TailEvent::Opened).await;
        watched.have(3).await;
        assert_eq!(watched.end().await, ["before", "unfinished", "after"]);
    })
    .await;
}

/// A rotation puts something at the path that cannot be read, and then a file again.
async fn is_told(block: impl FnOnce(&Log), unblock: impl FnOnce(&Log), kind: io::ErrorKind) {
    let mut scratch = Log::new();
    fs::write(scratch.log(), "before\n").unwrap();
    let mut watched = Watched::start(Tail::builder(scratch.log())).await;
    watched.have(1).await;
    scratch.rename_away();
    block(&scratch);
    watched.event(TailEvent::Unreadable(kind)).await;
    unblock(&scratch);
    fs::write(scratch.log(), "after\n").unwrap();
    watched.event(TailEvent::Opened).await;
    let mut statuses = Vec::new();
    while watched.received.len() < 2 {
        let message = watched.client.message().await;
        match message["data"].as_str() {
            Some(line) => watched.received.push(line.to_owned()),
            None => statuses.push(message["data"]["status"].as_str().unwrap().to_owned()),
        }
    }
    // Between the two files there may have been none.
    statuses.retain(|status| status != "missing");
    statuses.dedup();
    assert!(
        statuses.ends_with(&["unreadable".into(), "running".into()]),
        "{statuses:?}"
    );
    assert_eq!(watched.end().await, ["before", "after"]);
}

#[tokio::test]
async fn a_folder_in_the_place_of_a_rotated_file_is_told_until_a_file_is_there() {
    bounded(is_told(
        |log| fs::create_dir(log.log()).unwrap(),
        |log| fs::remove_dir(log.log()).unwrap(),
        io::ErrorKind::IsADirectory,
    ))
    .await;
}

#[tokio::test]
async fn a_file_that_comes_back_unreadable_after_a_rotation_is_told() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read every file");
        return;
    }
    bounded(is_told(
        |log| {
            fs::write(log.log(), "secret\n").unwrap();
            fs::set_permissions(log.log(), fs::Permissions::from_mode(0o000)).unwrap();
        },
        |log| fs::remove_file(log.log()).unwrap(),
        io::ErrorKind::PermissionDenied,
    ))
    .await;
}

#[tokio::test]
async fn a_file_that_is_renamed_and_renamed_back_is_read_on() {
    bounded(async {
        let mut scratch = Log::new();
        let mut file = scratch.append();
        file.write_all(b"one\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(1).await;
        scratch.rename_away();
        watched.event(TailEvent::Missing).await;
        fs::rename(scratch.folder().join("it.log.1"), scratch.log()).unwrap();
        watched.event(TailEvent::Opened).await;
        file.write_all(b"two\n").unwrap();
        watched.have(2).await;
        // A rotation that is undone: the old file is known.
        scratch.rename_away();
        fs::write(scratch.log(), "three\n").unwrap();
        watched.have(3).await;
        fs::rename(scratch.folder().join("it.log.2"), scratch.log()).unwrap();
        file.write_all(b"four\n").unwrap();
        watched.have(4).await;
        assert_eq!(watched.end().await, ["one", "two", "three", "four"]);
    })
    .await;
}
