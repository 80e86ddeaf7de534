//! Server-Sent Events: the JSON messages for whoever reads them over plain HTTP.

use super::frames::{Frames, Growing};
use super::json::USUAL_OVERHEAD;
use super::{Envelope, Timestamp};
use crate::message::{Message, MessageType};

/// What an event takes beyond its message when the epoch and the type are short.
const EVENT_OVERHEAD: usize = 64;

/// Encodes messages as [`Encoding::Events`](super::Encoding::Events): one event each, whose `data` is the JSON
/// message of the WebSocket, whose `id` is `epoch:seq`, and whose type, unless it is `process_output`, is
/// the message's.
///
/// An event without a type is a `message` to an `EventSource`: lines are what `onmessage` gets.
#[derive(Debug)]
pub struct EventsBuilder<'a> {
    envelope: &'a Envelope,
    timestamp: &'a Timestamp,
    run: Growing,
    /// `id: EPOCH:`.
    id: Vec<u8>,
    first_seq: u64,
}

impl<'a> EventsBuilder<'a> {
    /// A builder for messages from seq `first_seq` of `epoch` on, with room for so many messages with so many
    /// bytes of lines or data together.
    pub fn new(
        envelope: &'a Envelope,
        timestamp: &'a Timestamp,
        epoch: &str,
        first_seq: u64,
        messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let bytes = payload_bytes + messages * (USUAL_OVERHEAD + EVENT_OVERHEAD);
        let mut id = Vec::with_capacity(EVENT_OVERHEAD);
        push_id_head(&mut id, epoch);
        Self { envelope, timestamp, run: Growing::with_capacity(messages, bytes), id, first_seq }
    }

    /// Appends one line. Linear in the line, which may be any bytes.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    pub fn push_line(&mut self, line: &[u8]) {
        let (envelope, timestamp) = (self.envelope, self.timestamp);
        self.push(None, |out| envelope.push_line(out, line, timestamp));
    }

    /// Appends one message of any type. Its channel and process are chosen as
    /// [`FramesBuilder`](super::FramesBuilder) does.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    pub fn push_message(&mut self, message: &Message) {
        let (envelope, timestamp) = (self.envelope, self.timestamp);
        let kind = message.kind();
        let name = (*kind != MessageType::ProcessOutput).then(|| kind.as_str());
        self.push(name, |out| envelope.push_message(out, message, timestamp));
    }

    /// The events. Copies none.
    pub fn finish(self) -> Frames {
        self.run.finish()
    }

    #[inline]
    fn push(&mut self, kind: Option<&str>, data: impl FnOnce(&mut Vec<u8>)) {
        let seq = self.first_seq + self.run.len() as u64;
        let out = &mut self.run.bytes;
        out.extend_from_slice(&self.id);
        out.extend_from_slice(seq.to_string().as_bytes());
        out.push(b'\n');
        push_event(out, kind, data);
        self.run.end();
    }
}

/// Appends the line that names an event: `id: EPOCH:SEQ`.
pub(super) fn push_id(out: &mut Vec<u8>, epoch: &str, seq: u64) {
    push_id_head(out, epoch);
    out.extend_from_slice(seq.to_string().as_bytes());
    out.push(b'\n');
}

fn push_id_head(out: &mut Vec<u8>, epoch: &str) {
    out.extend_from_slice(b"id: ");
    push_field(out, epoch);
    out.push(b':');
}

/// Appends the rest of an event. JSON has no raw newline: its data is one line.
#[inline]
pub(super) fn push_event(out: &mut Vec<u8>, kind: Option<&str>, data: impl FnOnce(&mut Vec<u8>)) {
    if let Some(kind) = kind {
        out.extend_from_slice(b"event: ");
        push_field(out, kind);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    data(out);
    out.extend_from_slice(b"\n\n");
}

/// Appends a field's value. What would end the line, and the NUL for which a client ignores an id, become
/// spaces; the data has a type as it is.
fn push_field(out: &mut Vec<u8>, value: &str) {
    out.extend(value.bytes().map(|byte| if matches!(byte, b'\n' | b'\r' | 0) { b' ' } else { byte }));
}
