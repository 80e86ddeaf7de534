//! A run of complete WebSocket frames: a whole block in one buffer.

use std::ops::Range;

use bytes::Bytes;

use super::escape::escape_into;
use super::{Envelope, Timestamp, frame};
use crate::message::Message;

/// What a message takes beyond its line when names are short: frame header, head and tail.
const USUAL_OVERHEAD: usize = 128;

/// A run of complete WebSocket text frames, one message each, contiguous. Cloning and slicing share the bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: Bytes,
    /// Where each frame ends; a run holds less than 4 GiB.
    ends: Box<[u32]>,
}

impl Frames {
    /// How many frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they have together.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The byte offset at which frame `index` starts; of `len()`, where the last one ends.
    ///
    /// # Panics
    /// If `index` is past `len()`.
    pub fn bytes_before(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    /// The bytes of some of the frames, shared.
    ///
    /// # Panics
    /// If the range ends before it starts or past `len()`.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        self.bytes.slice(self.bytes_before(range.start)..self.bytes_before(range.end))
    }

    /// All the bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many of the first frames are no more than `max_messages` and `max_bytes`. Logarithmic.
    pub fn fit(&self, max_messages: usize, max_bytes: usize) -> usize {
        self.fit_from(0, max_messages, max_bytes)
    }

    /// How many of the frames from `start` on are no more than `max_messages` and `max_bytes`. Logarithmic.
    ///
    /// # Panics
    /// If `start` is past `len()`.
    pub fn fit_from(&self, start: usize, max_messages: usize, max_bytes: usize) -> usize {
        let most = self.bytes_before(start).saturating_add(max_bytes);
        let ends = &self.ends[start..];
        // The usual case: all of them fit, and nothing needs to be searched.
        if ends.len() <= max_messages && self.bytes.len() <= most {
            return ends.len();
        }
        ends[..ends.len().min(max_messages)].partition_point(|&end| end as usize <= most)
    }
}

/// Encodes messages, one after another, into one buffer.
#[derive(Debug)]
pub struct FramesBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl FramesBuilder {
    /// A builder with room for so many messages with so many bytes of lines or data together.
    pub fn with_capacity(messages: usize, payload_bytes: usize) -> Self {
        let bytes = Vec::with_capacity(payload_bytes + messages * USUAL_OVERHEAD);
        Self { bytes, ends: Vec::with_capacity(messages) }
    }

    /// Appends one line as a `process_output` message. Linear in the line, which may be any bytes.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    #[inline]
    pub fn push_line(&mut self, envelope: &Envelope, line: &[u8], timestamp: &Timestamp) {
        let (head, tail) = (envelope.line_head(), timestamp.tail());
        // The quote that ends the line, and what the line takes if nothing in it needs escaping.
        let guess = head.len() + line.len() + 1 + tail.len();
        self.bytes.reserve(frame::MAX_HEADER + guess);
        let start = self.bytes.len();
        frame::push_text_header(&mut self.bytes, guess);
        self.bytes.extend_from_slice(head);
        escape_into(&mut self.bytes, line);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(tail);
        self.end_frame(start, guess);
    }

    /// Appends one message of any type. The channel is the envelope's; the process is the message's own, or
    /// that of the envelope's channel if the type is one of a process's.
    ///
    /// # Panics
    /// If all frames together pass 4 GiB.
    pub fn push_message(&mut self, envelope: &Envelope, message: &Message, timestamp: &Timestamp) {
        let guess = envelope.clean_len(message) + timestamp.tail().len();
        self.bytes.reserve(frame::MAX_HEADER + guess);
        let start = self.bytes.len();
        frame::push_text_header(&mut self.bytes, guess);
        envelope.push_message(&mut self.bytes, message);
        self.bytes.extend_from_slice(timestamp.tail());
        self.end_frame(start, guess);
    }

    #[inline]
    fn end_frame(&mut self, start: usize, guess: usize) {
        if self.bytes.len() - start - frame::header_len(guess) != guess {
            frame::correct_text_header(&mut self.bytes, start, guess);
        }
        self.ends.push(end_offset(self.bytes.len()));
    }

    /// How many messages so far.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no message yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes of frames so far.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The frames. Copies nothing.
    pub fn finish(self) -> Frames {
        Frames { bytes: self.bytes.into(), ends: self.ends.into() }
    }
}

#[inline]
fn end_offset(end: usize) -> u32 {
    u32::try_from(end).expect("a run of frames holds less than 4 GiB: seal blocks sooner")
}

/// One message as one frame, for one client: a pong, a refusal, a reply.
pub fn single(envelope: &Envelope, message: &Message, timestamp: &Timestamp) -> Bytes {
    let mut builder = FramesBuilder::with_capacity(1, message.size_hint());
    builder.push_message(envelope, message, timestamp);
    builder.bytes.into()
}
