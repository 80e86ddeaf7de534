//! Messages as bytes that were not yet sent.

use super::super::fields::{put_bytes, put_number};
use super::{CONTINUED, JSON, LINE, LINES, MAX_RUNS_BYTES, MESSAGE, NO_DATA, PAST, PIECES};
use super::{STDERR, STDOUT, TEXT};
use crate::message::{Data, Lines, Message, OutputStream};

/// Messages as bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EncodedRuns {
    /// The number of messages.
    pub(crate) messages: u64,
    runs: u64,
    spans: Vec<u8>,
    text: Vec<u8>,
}

impl EncodedRuns {
    /// Appends the bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes());
        put_number(out, self.runs);
        put_bytes(out, &self.spans);
        out.extend_from_slice(&self.text);
    }

    fn bytes(&self) -> usize {
        // A run takes one byte more for its kind.
        self.spans.len() + self.text.len() + 16
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs == 0
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes() + bytes <= MAX_RUNS_BYTES
    }

    fn begin(&mut self, kind: u8, messages: usize) {
        self.runs += 1;
        self.messages += messages as u64;
        self.spans.push(kind);
    }

    pub(super) fn line(&mut self, line: &[u8]) {
        self.begin(LINE, 1);
        put_number(&mut self.spans, line.len() as u64);
        self.text.extend_from_slice(line);
    }

    /// Appends some of the lines of a run, by their indexes.
    pub(super) fn lines(&mut self, lines: &Lines, start: usize, end: usize) {
        self.begin(LINES, end - start);
        let continued: Vec<u64> = lines
            .continued()
            .iter()
            .map(|&index| index as usize)
            .filter(|index| (start..end).contains(index))
            .map(|index| (index - start) as u64)
            .collect();
        let stream = match lines.stream() {
            None => 0,
            Some(OutputStream::Stdout) => STDOUT,
            Some(OutputStream::Stderr) => STDERR,
        };
        let past = if lines.is_past() { PAST } else { 0 };
        let has_continued = if continued.is_empty() { 0 } else { CONTINUED };
        self.spans.push(stream | past | has_continued);
        put_number(&mut self.spans, (end - start) as u64);
        for line in lines.iter().skip(start).take(end - start) {
            put_number(&mut self.spans, line.len() as u64);
            self.text.extend_from_slice(line);
        }
        if !continued.is_empty() {
            put_number(&mut self.spans, continued.len() as u64);
            for index in continued {
                put_number(&mut self.spans, index);
            }
        }
    }

    pub(super) fn message(&mut self, message: &Message) {
        self.begin(MESSAGE, 1);
        self.fields_of(message);
    }

    fn fields_of(&mut self, message: &Message) {
        let message_type = message.message_type().as_str();
        self.part(message_type.as_bytes());
        // Names are not empty.
        self.part(
            message
                .channel()
                .map_or(b"", |name| name.as_str().as_bytes()),
        );
        self.part(
            message
                .process_id()
                .map_or(b"", |id| id.as_str().as_bytes()),
        );
        let (kind, data): (u8, &[u8]) = match message.data() {
            Data::None => (NO_DATA, b""),
            Data::Text(text) => (TEXT, text),
            Data::Json(json) => (JSON, json),
        };
        self.spans.push(kind);
        self.part(data);
    }

    fn part(&mut self, part: &[u8]) {
        put_number(&mut self.spans, part.len() as u64);
        self.text.extend_from_slice(part);
    }

    /// Appends the pieces of one message. `goes_on` says whether the last of them goes on in the
    /// next payload.
    pub(super) fn pieces(&mut self, pieces: &[Message], goes_on: bool) {
        self.begin(PIECES, pieces.len());
        self.spans.push(u8::from(goes_on));
        put_number(&mut self.spans, pieces.len() as u64);
        for piece in pieces {
            self.fields_of(piece);
        }
    }
}
