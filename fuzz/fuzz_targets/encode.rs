//! The frames of any published messages are complete, and each payload parses to the message that
//! went in.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::internals::{
    DetailBuilder, Envelope, Frames, FramesBuilder, LineDetail, Timestamp, escape_into,
    escaped_prefix,
};
use outrace::{ChannelName, Message, MessageType, OutputStream, ProcessId};
use serde_json::{Map, Value};

#[derive(Arbitrary, Debug)]
struct Run<'a> {
    channel: Option<&'a str>,
    millis: i64,
    first_seq: u32,
    /// What the detail of every message tells.
    is_stderr: bool,
    is_past: bool,
    is_continued: bool,
    /// The bound of a piece.
    max_piece: u16,
    messages: Vec<Published<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Published<'a> {
    Line(&'a [u8]),
    /// A piece and how often it is repeated, to cross the limits of the frame header's lengths.
    LongLine(&'a [u8], u16),
    Text {
        kind: &'a str,
        process: Option<&'a str>,
        text: &'a [u8],
    },
    Json {
        kind: &'a str,
        text: &'a str,
    },
    Empty(&'a str),
}

fuzz_target!(|run: Run<'_>| {
    let channel = run.channel.and_then(|name| ChannelName::parse(name).ok());
    let envelope = Envelope::new(channel.as_ref());
    let now = Timestamp::from_unix_millis(run.millis);
    let mut builder = FramesBuilder::with_capacity(0, 0);
    let first_seq = u64::from(run.first_seq);
    let mut detailed = DetailBuilder::new(&envelope, &now, first_seq, 0, 0);
    let detail = LineDetail {
        stream: run.is_stderr.then_some(OutputStream::Stderr),
        past: run.is_past,
        continued: run.is_continued,
    };
    let mut expected = Vec::new();
    for item in &run.messages {
        let (kind, process, data) = match item {
            Published::Line(line) => {
                builder.push_line(&envelope, line, &now);
                detailed.push_line(line, detail);
                check_pieces(line, run.max_piece);
                ("process_output", None, Some(lossy(line)))
            }
            Published::LongLine(piece, times) => {
                let line = piece
                    .repeat(usize::from(*times))
                    .into_iter()
                    .take(70_000)
                    .collect::<Vec<_>>();
                builder.push_line(&envelope, &line, &now);
                detailed.push_line(&line, detail);
                check_pieces(&line, run.max_piece);
                ("process_output", None, Some(lossy(&line)))
            }
            Published::Text {
                kind,
                process,
                text,
            } => {
                let process = process.and_then(|id| ProcessId::parse(id).ok());
                let mut message = Message::new(MessageType::from(*kind)).with_text(text.to_vec());
                if let Some(id) = process.clone() {
                    message = message.with_process(id);
                }
                builder.push_message(&envelope, &message, &now);
                detailed.push_message(&message, detail);
                (*kind, process, Some(lossy(text)))
            }
            Published::Json { kind, text } => {
                let value = Value::from(vec![*text]);
                let message = Message::new(MessageType::from(*kind))
                    .with_json(&value)
                    .expect("a string can be serialized");
                builder.push_message(&envelope, &message, &now);
                detailed.push_message(&message, detail);
                (*kind, None, Some(value))
            }
            Published::Empty(kind) => {
                let message = Message::new(MessageType::from(*kind));
                builder.push_message(&envelope, &message, &now);
                detailed.push_message(&message, detail);
                (*kind, None, None)
            }
        };
        let mut message = Map::new();
        message.insert("type".into(), kind.into());
        if let Some(channel) = &channel {
            message.insert("channel".into(), channel.as_str().into());
        }
        let inherited = ["process_output", "process_status"].contains(&kind);
        let inherited = channel
            .as_ref()
            .filter(|_| inherited)
            .and_then(ChannelName::process_id);
        if let Some(id) = process.as_ref().map(ProcessId::as_str).or(inherited) {
            message.insert("processId".into(), id.into());
        }
        if let Some(data) = data {
            message.insert("data".into(), data);
        }
        message.insert("timestamp".into(), now.as_str().into());
        expected.push(Value::from(message));
    }
    check_frames(&builder.finish(), &expected);
    for (seq, message) in (first_seq..).zip(&mut expected) {
        message["seq"] = seq.into();
        if run.is_stderr {
            message["stream"] = "stderr".into();
        }
        if run.is_continued {
            message["continued"] = true.into();
        }
        if run.is_past {
            message["past"] = true.into();
        }
    }
    check_frames(&detailed.finish(), &expected);
});

/// Checks that the pieces of a line fit, are as long as they can be, and escape as the whole line.
fn check_pieces(line: &[u8], max: u16) {
    let max = usize::from(max).max(6);
    let (mut rest, mut escaped) = (line, Vec::new());
    while !rest.is_empty() {
        let len = escaped_prefix(rest, max);
        let before = escaped.len();
        escape_into(&mut escaped, &rest[..len]);
        let piece = escaped.len() - before;
        assert!(
            len > 0 && piece <= max,
            "{len} bytes become {piece} of {max}"
        );
        // No character takes more than six bytes.
        assert!(len == rest.len() || piece + 6 > max, "{piece} of {max}");
        rest = &rest[len..];
    }
    let mut whole = Vec::new();
    escape_into(&mut whole, line);
    assert_eq!(escaped, whole);
}

/// Checks that the frames are complete, and that their payloads are these messages.
fn check_frames(frames: &Frames, expected: &[Value]) {
    assert_eq!(frames.len(), expected.len());
    for (index, expected) in expected.iter().enumerate() {
        let frame = frames.slice(index..index + 1);
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            len => {
                assert_eq!(usize::from(len), frame.len() - 2);
                2
            }
        };
        let payload = &frame[header..];
        let shortest_header = match payload.len() {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        assert_eq!((frame[0], header), (0x81, shortest_header));
        if header > 2 {
            let len = frame[2..header]
                .iter()
                .fold(0, |len, &byte| len << 8 | usize::from(byte));
            assert_eq!(len, payload.len());
        }
        assert!(payload.iter().all(|&byte| byte >= 0x20));
        assert_eq!(
            serde_json::from_slice::<Value>(payload).expect("valid JSON"),
            *expected
        );
    }
}

/// Returns the text with U+FFFD for each byte that is not valid UTF-8.
fn lossy(text: &[u8]) -> Value {
    String::from_utf8_lossy(text).into()
}
