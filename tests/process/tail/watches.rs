//! The system's reports of changes.

use std::fs;
use std::io::Write;
use std::time::Duration;

use outrace::Hub;
use outrace::process::{Tail, TailEvent};
use outrace_testkit::{bounded, eventually, last_seq};

use super::{Log, Watched, open_files};

#[cfg(target_os = "linux")]
#[tokio::test]
async fn many_files_take_one_inotify_instance_and_each_is_read_at_once() {
    bounded(async {
        let hub = Hub::builder().history(16).build().unwrap();
        let mut scratches = Vec::new();
        let mut tails = Vec::new();
        for number in 0..150 {
            let scratch = Log::new();
            let file = scratch.append();
            // Never checked without a report.
            let tail = Tail::builder(scratch.log())
                .poll_interval(Duration::from_secs(3600))
                .start(&hub, &format!("file:{number}"))
                .unwrap();
            scratches.push((scratch, file));
            tails.push(tail);
        }
        eventually(|| open_files("it.log") >= 300).await;
        assert_eq!(open_files("inotify"), 1);
        for (number, (_, file)) in scratches.iter_mut().enumerate() {
            let channel = format!("file:{number}");
            eventually(|| last_seq(&hub, &channel) == 1).await;
            file.write_all(b"a line\n").unwrap();
            eventually(|| last_seq(&hub, &channel) == 2).await;
        }
        for tail in tails {
            tail.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_is_followed_when_its_folder_is_removed_and_made_again() {
    bounded(async {
        let scratch = Log::new();
        let folder = scratch.folder().join("logs");
        let path = folder.join("it.log");
        let mut watched = Watched::start(Tail::builder(&path)).await;
        let mut expected = Vec::new();
        for round in 0..3 {
            watched.event(TailEvent::Missing).await;
            fs::create_dir(&folder).unwrap();
            fs::write(&path, format!("{round}\n")).unwrap();
            expected.push(round.to_string());
            watched.have(expected.len()).await;
            fs::remove_dir_all(&folder).unwrap();
        }
        assert_eq!(watched.end().await, expected);
    })
    .await;
}
