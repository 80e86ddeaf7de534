//! Where messages are split into payloads.

use super::encoded::EncodedRuns;
use crate::backplane::Part;
use crate::message::{Lines, Message};

/// Encodes messages into as few payloads as the bound allows, in order. Only a message that is
/// longer than the bound makes a payload that is. Without any message there is no payload.
pub(crate) fn encode<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> Vec<EncodedRuns> {
    let mut encoder = Encoder::default();
    for part in parts {
        encoder.push(part);
    }
    encoder.end_payload();
    encoder.done
}

/// Encodes messages into one payload, however long it gets. A receiver refuses what is longer than
/// [`max_bytes`]: [`encode`] tells how to split the messages.
pub(crate) fn encode_one<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> EncodedRuns {
    let mut encoder = Encoder {
        is_unbounded: true,
        ..Encoder::default()
    };
    for part in parts {
        encoder.push(part);
    }
    encoder.open
}

#[derive(Default)]
struct Encoder {
    is_unbounded: bool,
    done: Vec<EncodedRuns>,
    open: EncodedRuns,
}

impl Encoder {
    /// Ends the open payload, if it has messages.
    fn end_payload(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.is_unbounded || self.open.has_room(bytes)
    }

    /// Begins a new payload, if the open one has no room for so many bytes.
    fn make_room(&mut self, bytes: usize) {
        if !self.has_room(bytes) {
            self.end_payload();
        }
    }

    fn push(&mut self, part: Part<'_>) {
        match part {
            Part::Line(line) => {
                self.make_room(line.len() + 8);
                self.open.line(line);
            }
            Part::Lines(lines) => self.push_lines(lines),
            Part::Message(message) => {
                self.make_room(message_bytes(message));
                self.open.message(message);
            }
            Part::Pieces(pieces) => self.push_pieces(pieces),
        }
    }

    fn push_lines(&mut self, lines: &Lines) {
        let mut start = 0;
        let mut bytes = 16;
        // The index of a line that goes on takes 5 bytes at most.
        let overhead = if lines.continued().is_empty() { 0 } else { 5 };
        for (index, len) in lines.line_lens().enumerate() {
            let len = len + number_bytes(len) + overhead;
            if !self.has_room(bytes + len) {
                if start < index {
                    self.open.lines(lines, start, index);
                }
                self.end_payload();
                (start, bytes) = (index, 16);
            }
            bytes += len;
        }
        if start < lines.len() {
            self.open.lines(lines, start, lines.len());
        }
    }

    fn push_pieces(&mut self, pieces: &[Message]) {
        let mut start = 0;
        let mut bytes = 16;
        for (index, piece) in pieces.iter().enumerate() {
            let len = message_bytes(piece);
            if !self.has_room(bytes + len) {
                if start < index {
                    self.open.pieces(&pieces[start..index], true);
                }
                self.end_payload();
                (start, bytes) = (index, 16);
            }
            bytes += len;
        }
        if start < pieces.len() {
            self.open.pieces(&pieces[start..], false);
        }
    }
}

/// Returns how many bytes a number takes.
fn number_bytes(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

fn message_bytes(message: &Message) -> usize {
    let channel = message.channel().map_or(0, |name| name.as_str().len());
    message.size_hint() + channel + 24
}
