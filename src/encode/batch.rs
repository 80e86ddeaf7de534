//! Runs of lines that share a WebSocket frame, and thereby its header, the message's head and the
//! timestamp.

use super::decimal::{MAX_DIGITS, push_decimal};
use super::detail::{MAX_DETAIL, push_end};
use super::escape::escape_into;
use super::frames::{FrameBuffer, Frames};
use super::json::USUAL_OVERHEAD;
use super::{Envelope, LineDetail, Timestamp, frame, timestamp};
use crate::message::Message;

/// The maximum payload of a frame with more than one line. It is long enough to make the cost of
/// the head negligible, and short enough to fit into a client's queue that is nearly full.
pub(super) const MAX_PAYLOAD: usize = 32 * 1024;
/// The bytes reserved for the header of an incomplete frame. They fit every payload from 126 bytes
/// to 64 KiB.
const HEADER: usize = 4;
const SEQ_KEY: &[u8] = br#"],"seq":"#;
/// The maximum length of the text that follows the last line.
pub(super) const MAX_CLOSING: usize = SEQ_KEY.len() + MAX_DIGITS + timestamp::TAIL;
/// The bytes that a line takes beyond its text: two quotes and a comma.
const LINE_OVERHEAD: usize = 3;

/// Encodes messages as [`Encoding::Batch`](super::Encoding::Batch).
///
/// A run of lines becomes `process_output_batch` frames. Any other message becomes a frame of its
/// own. The order is kept. A frame has a maximum number of lines, and a frame with more than one
/// line also has a maximum payload of 32 KiB. A single line is a batch too.
#[derive(Debug)]
pub struct BatchBuilder<'a> {
    envelope: &'a Envelope,
    timestamp: &'a Timestamp,
    run: FrameBuffer,
    /// The number of messages up to the end of each complete frame.
    counts: Vec<u32>,
    first_seq: u64,
    max_lines: usize,
    max_payload: usize,
    /// The most bytes that follow the last line of a frame.
    max_closing: usize,
    /// The frame to which lines are being added.
    open: Option<OpenBatch>,
}

#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    /// The byte offset of the frame.
    start: usize,
    lines: usize,
    detail: LineDetail,
}

impl<'a> BatchBuilder<'a> {
    /// Creates a builder for messages from seq `first_seq` on.
    ///
    /// A frame has at most `max_lines` lines; 0 counts as 1. The buffer gets room for `messages`
    /// messages with `payload_bytes` bytes of lines or data in total, and grows if that is too
    /// little.
    pub fn new(
        envelope: &'a Envelope,
        timestamp: &'a Timestamp,
        first_seq: u64,
        max_lines: usize,
        messages: usize,
        payload_bytes: usize,
    ) -> Self {
        let max_lines = max_lines.max(1);
        // This suffices for a run of lines. Other messages among them make the buffer grow.
        let frames = messages.div_ceil(max_lines) + payload_bytes / MAX_PAYLOAD;
        let bytes = payload_bytes + messages * LINE_OVERHEAD + frames * USUAL_OVERHEAD;
        Self {
            envelope,
            timestamp,
            run: FrameBuffer::with_capacity(frames, bytes),
            counts: Vec::with_capacity(frames),
            first_seq,
            max_lines,
            max_payload: MAX_PAYLOAD,
            max_closing: MAX_CLOSING,
            open: None,
        }
    }

    /// Lowers the maximum payload of a frame with more than one line.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = self.max_payload.min(bytes);
        self
    }

    /// Makes it [`Encoding::DetailBatch`](super::Encoding::DetailBatch): a frame has lines of one
    /// stream, and tells what is known of them.
    #[must_use]
    pub fn with_detail(mut self) -> Self {
        self.max_closing = MAX_CLOSING + MAX_DETAIL;
        self
    }

    /// Appends one line with what is known of it. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_detailed_line(&mut self, line: &[u8], detail: LineDetail) {
        if self
            .open
            .is_some_and(|open| !open.detail.shares_batch(detail))
        {
            self.close();
        }
        self.push_line(line);
        if let Some(open) = &mut self.open {
            open.detail = detail;
        }
        // Only the last line of a frame may go on.
        if detail.continued {
            self.close();
        }
    }

    /// Appends one line, which may be any bytes. Linear in the line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    #[inline]
    pub fn push_line(&mut self, line: &[u8]) {
        let taken = line.len() + LINE_OVERHEAD;
        if self
            .open
            .is_some_and(|open| open.lines == self.max_lines || !self.has_room(open, taken))
        {
            self.close();
        }
        self.run
            .bytes
            .reserve(HEADER + self.envelope.batch_head_len() + taken + self.max_closing);
        let Some(open) = self.open else {
            self.open();
            return self.push_quoted(line);
        };
        let before = self.run.bytes.len();
        self.run.bytes.push(b',');
        self.push_quoted(line);
        // Escaping can make a line six times as long.
        if self.has_room(open, 0) {
            self.open = Some(OpenBatch {
                lines: open.lines + 1,
                ..open
            });
        } else {
            self.move_out(before);
        }
    }

    /// Appends one message of any type, as a frame of its own. Its channel and process are those of
    /// [`FramesBuilder`](super::FramesBuilder).
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_message(&mut self, message: &Message) {
        self.push_detailed_message(message, LineDetail::default());
    }

    /// Does the same as [`push_message`](Self::push_message), with what is known of a line.
    ///
    /// # Panics
    /// Panics when all frames together exceed 4 GiB.
    pub fn push_detailed_message(&mut self, message: &Message, detail: LineDetail) {
        self.close();
        let (envelope, timestamp) = (self.envelope, self.timestamp);
        let guess = envelope.clean_len(message, timestamp);
        let seq = self.has_detail().then(|| self.next_seq());
        self.run.push_text_frame(guess, |out| {
            envelope.push_message(out, message, timestamp);
            if let Some(seq) = seq {
                push_end(out, seq, detail);
            }
        });
        self.count(1);
    }

    fn has_detail(&self) -> bool {
        self.max_closing > MAX_CLOSING
    }

    /// Returns the number of the first message after the complete frames.
    fn next_seq(&self) -> u64 {
        self.first_seq + u64::from(self.messages())
    }

    /// Returns the frames, without copying them.
    pub fn finish(mut self) -> Frames {
        self.close();
        self.run.finish_counted(self.counts)
    }

    /// Whether the open frame stays within the maximum payload with `more` additional bytes.
    #[inline]
    fn has_room(&self, open: OpenBatch, more: usize) -> bool {
        self.run.bytes.len() - open.start - HEADER + more + self.max_closing <= self.max_payload
    }

    /// Starts a frame. The caller has to append its first line.
    fn open(&mut self) {
        debug_assert!(self.open.is_none());
        self.open = Some(OpenBatch {
            start: self.run.bytes.len(),
            lines: 1,
            detail: LineDetail::default(),
        });
        self.run.bytes.extend_from_slice(&[0; HEADER]);
        self.envelope.push_batch_head(&mut self.run.bytes);
    }

    #[inline]
    fn push_quoted(&mut self, line: &[u8]) {
        let out = &mut self.run.bytes;
        out.push(b'"');
        escape_into(out, line);
        out.push(b'"');
    }

    /// Moves the line that begins with the comma at `before` into a new frame. Linear in the line.
    #[cold]
    fn move_out(&mut self, before: usize) {
        let quoted = self.run.bytes[before + 1..].to_vec();
        self.run.bytes.truncate(before);
        self.close();
        self.open();
        self.run.bytes.extend_from_slice(&quoted);
    }

    /// Completes the open frame, if there is one.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (seq, has_detail) = (self.next_seq(), self.has_detail());
        let out = &mut self.run.bytes;
        out.extend_from_slice(SEQ_KEY);
        push_decimal(out, seq);
        out.extend_from_slice(self.timestamp.tail());
        if has_detail {
            out.pop();
            open.detail.push(out);
            out.push(b'}');
        }
        frame::set_text_header(out, open.start, HEADER);
        self.run.end();
        self.count(open.lines);
    }

    /// Returns the number of messages in the complete frames.
    fn messages(&self) -> u32 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Records that the frame just completed has this number of messages. The number fits, because
    /// it is smaller than that of the bytes.
    fn count(&mut self, messages: usize) {
        self.counts.push(self.messages() + messages as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::detail::tests::with_detail;
    use super::super::testing::{
        Pushed, channels, details, envelope, expected, items, now, payload, payloads,
    };
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn batch(channel: &str, first_seq: u64, max_lines: usize, items: &[Pushed]) -> Frames {
        let (envelope, now) = (envelope(channel), now());
        let bytes = items.iter().map(Pushed::size).sum();
        let mut builder =
            BatchBuilder::new(&envelope, &now, first_seq, max_lines, items.len(), bytes);
        for item in items {
            match item {
                Pushed::Line(line) => builder.push_line(line),
                Pushed::Message(message) => builder.push_message(message),
            }
        }
        builder.finish()
    }

    fn lines(lines: &[&[u8]]) -> Vec<Pushed> {
        lines
            .iter()
            .map(|line| Pushed::Line(line.to_vec()))
            .collect()
    }

    /// Returns the lines of a payload, if it is a batch.
    fn batched(payload: &Value) -> Option<&Vec<Value>> {
        (payload["type"] == "process_output_batch").then(|| payload["data"].as_array().unwrap())
    }

    #[test]
    fn a_batch_has_the_shape_of_the_wire() {
        assert_eq!(
            payload(batch("process:web-1", 41, 64, &lines(&[b"one", b"t\"wo", b""])).bytes()),
            r#"{"type":"process_output_batch","channel":"process:web-1","processId":"web-1","data":["one","t\"wo",""],"seq":41,"timestamp":"2026-02-19T10:00:00.123Z"}"#
        );
        assert_eq!(
            payload(batch("c", 1, 64, &lines(&[b""])).bytes()),
            r#"{"type":"process_output_batch","channel":"c","data":[""],"seq":1,"timestamp":"2026-02-19T10:00:00.123Z"}"#
        );
    }

    #[test]
    fn a_message_among_lines_parts_the_batches_and_is_counted() {
        let mut items = lines(&[b"a", b"b", b"c"]);
        items.insert(2, Pushed::Message(Message::output("m")));
        let frames = batch("c", 7, 64, &items);
        let seqs: Vec<Value> = payloads(frames.bytes())
            .iter()
            .map(|text| serde_json::from_str::<Value>(text).unwrap()["seq"].clone())
            .collect();
        assert_eq!(seqs, [7.into(), Value::Null, 10.into()]);
        assert_eq!((frames.len(), frames.messages()), (3, 4));
    }

    #[test]
    fn a_line_that_escapes_lengthen_past_the_limit_starts_a_frame_of_its_own() {
        let long = vec![0; 20_000];
        let frames = batch("c", 1, 64, &lines(&[b"before", &long, b"after"]));
        let read: Vec<Value> = payloads(frames.bytes())
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        assert_eq!(
            read.iter()
                .map(|batch| batch["seq"].as_u64().unwrap())
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(read[1]["data"][0], *String::from_utf8(long).unwrap());
        assert_eq!(read[2]["data"][0], "after");
    }

    proptest! {
        #[test]
        fn every_message_reads_back_once_in_order_with_its_seq(
            channel in channels(),
            items in items(),
            first_seq in prop_oneof![1u64..1000, Just(u64::MAX - 1000)],
            max_lines in 0usize..20,
        ) {
            let frames = batch(&channel, first_seq, max_lines, &items);
            let mut rest = &items[..];
            let mut seq = first_seq;
            for index in 0..frames.len() {
                prop_assert_eq!(frames.messages_before(index) as u64, seq - first_seq);
                let text = payload(&frames.slice(index..index + 1));
                let read: Value = serde_json::from_str(&text).unwrap();
                let carried = match batched(&read) {
                    None => {
                        prop_assert!(matches!(rest[0], Pushed::Message(_)));
                        prop_assert_eq!(&read, &expected(Some(&channel), &rest[0].message()));
                        1
                    }
                    Some(batched) => {
                        prop_assert_eq!(&read["seq"], seq);
                        prop_assert!(!batched.is_empty() && batched.len() <= max_lines.max(1));
                        prop_assert!(batched.len() == 1 || text.len() <= MAX_PAYLOAD);
                        for (item, line) in rest.iter().zip(batched) {
                            prop_assert!(matches!(item, Pushed::Line(_)));
                            let single = expected(Some(&channel), &item.message());
                            prop_assert_eq!(line, &single["data"]);
                            for key in ["channel", "processId", "timestamp"] {
                                prop_assert_eq!(&read[key], &single[key]);
                            }
                        }
                        batched.len()
                    }
                };
                rest = &rest[carried..];
                seq += carried as u64;
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(frames.messages(), items.len());
        }

        #[test]
        fn with_detail_every_message_reads_back_with_it_and_a_frame_has_one_stream(
            items in items(),
            details in details(),
            max_lines in 0usize..20,
            max_payload in 4096usize..40_000,
        ) {
            let (envelope, now) = (envelope("process:web"), now());
            let mut builder = BatchBuilder::new(&envelope, &now, 7, max_lines, items.len(), 0)
                .with_max_payload(max_payload)
                .with_detail();
            for (item, detail) in items.iter().zip(details.iter().cycle()) {
                match item {
                    Pushed::Line(line) => builder.push_detailed_line(line, *detail),
                    Pushed::Message(message) => builder.push_detailed_message(message, *detail),
                }
            }
            let frames = builder.finish();
            let mut rest = items.iter().zip(details.iter().cycle());
            let mut seq = 7;
            for text in payloads(frames.bytes()) {
                let read: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&read["seq"], seq);
                let Some(batched) = batched(&read) else {
                    let (item, detail) = rest.next().unwrap();
                    let mut message = expected(Some("process:web"), &item.message());
                    message["seq"] = seq.into();
                    prop_assert_eq!(&read, &with_detail(message, *detail));
                    seq += 1;
                    continue;
                };
                prop_assert!(batched.len() == 1 || text.len() <= max_payload.min(MAX_PAYLOAD));
                for (index, line) in batched.iter().enumerate() {
                    let (item, detail) = rest.next().unwrap();
                    let mut single = expected(Some("process:web"), &item.message());
                    prop_assert_eq!(line, &single["data"]);
                    let is_last = index + 1 == batched.len();
                    prop_assert!(is_last || !detail.continued);
                    let told = LineDetail {
                        continued: is_last && read["continued"] == true,
                        ..*detail
                    };
                    prop_assert_eq!(told, *detail);
                    for key in ["type", "data", "seq", "continued"] {
                        single[key] = read[key].clone();
                    }
                    let mut expected = with_detail(single, *detail);
                    expected["continued"] = read["continued"].clone();
                    let mut read = read.clone();
                    read["continued"] = read["continued"].clone();
                    prop_assert_eq!(&read, &expected);
                }
                seq += batched.len() as u64;
            }
            prop_assert!(rest.next().is_none());
        }

        #[test]
        fn a_frame_ends_only_where_the_next_line_has_no_place(
            items in items(),
            max_lines in 1usize..20,
        ) {
            let frames = batch("c", 1, max_lines, &items);
            let read: Vec<(usize, Value)> = payloads(frames.bytes())
                .iter()
                .map(|text| (text.len(), serde_json::from_str(text).unwrap()))
                .collect();
            for pair in read.windows(2) {
                let [(len, this), (_, next)] = pair else { unreachable!("windows of two") };
                let (Some(this), Some(next)) = (batched(this), batched(next)) else { continue };
                let mut escaped = Vec::new();
                escape_into(&mut escaped, next[0].as_str().unwrap().as_bytes());
                // The encoder assumes the longest seq.
                let full = len + escaped.len() + LINE_OVERHEAD + MAX_DIGITS > MAX_PAYLOAD;
                let lines = this.len();
                prop_assert!(lines == max_lines || full, "{} lines, {} bytes", lines, len);
            }
        }
    }
}
