//! Files and streams with byte-order marks.

use std::fs;
use std::io::Write;

use outrace::process::{Tail, TailEvent};
use outrace_testkit::bounded;

use super::{Log, Watched};

/// Encodes `text` in UTF-16, as Windows programs and PowerShell write it.
fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_the_first_line() {
    bounded(async {
        let scratch = Log::new();
        fs::write(scratch.log(), "\u{FEFF}one\ntwo\n").unwrap();
        let mut watched = Watched::start(Tail::builder(scratch.log())).await;
        watched.have(2).await;
        // A mark that comes in pieces.
        fs::write(scratch.log(), b"\xEF").unwrap();
        watched.event(TailEvent::Truncated).await;
        let mut file = scratch.append();
        file.write_all(b"\xBB").unwrap();
        file.write_all(b"\xBFthree\n").unwrap();
        watched.have(3).await;
        assert_eq!(watched.end().await, ["one", "two", "three"]);
    })
    .await;
}

#[tokio::test]
async fn utf_16_with_a_byte_order_mark_is_decoded_wherever_its_writer_cuts_it() {
    bounded(async {
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            let text = "\u{FEFF}eins\r\nzwei \u{20AC}\n\u{1F600}\u{010A}\u{0A00}\ndrei\n";
            let expected = ["eins", "zwei \u{20AC}", "\u{1F600}\u{010A}\u{0A00}", "drei"];
            let scratch = Log::new();
            let mut file = scratch.append();
            let mut watched = Watched::start(Tail::builder(scratch.log())).await;
            watched.event(TailEvent::Opened).await;
            for part in utf16(text, unit).chunks(3) {
                file.write_all(part).unwrap();
            }
            watched.have(4).await;
            assert_eq!(watched.end().await, expected);

            // The last lines of a file that is there, and what follows them.
            let mut watched = Watched::start(Tail::builder(scratch.log()).lines(2)).await;
            watched.have(2).await;
            file.write_all(&utf16("vier\n", unit)).unwrap();
            watched.have(3).await;
            assert_eq!(watched.end().await, [expected[2], "drei", "vier"]);
            let mut watched = Watched::start(Tail::builder(scratch.log()).from_line(5)).await;
            watched.have(1).await;
            assert_eq!(watched.end().await, ["vier"]);
        }
    })
    .await;
}

#[tokio::test]
async fn the_hole_of_a_truncated_utf_16_file_is_passed_over() {
    bounded(async {
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            let scratch = Log::new();
            let mut writer = fs::File::create(scratch.log()).unwrap();
            writer.write_all(&utf16("\u{FEFF}before\n", unit)).unwrap();
            let mut watched = Watched::start(Tail::builder(scratch.log())).await;
            watched.have(1).await;
            fs::File::create(scratch.log()).unwrap();
            writer.write_all(&utf16("after\n", unit)).unwrap();
            watched.have(2).await;
            assert_eq!(watched.end().await, ["before", "after"]);
        }
    })
    .await;
}
