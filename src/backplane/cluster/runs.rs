//! Messages as bytes: first what each is and how long its parts are, then their text in one piece.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::fields::{Fields, Malformed, put_bytes, put_number};
use crate::backplane::{Part, Runs};
use crate::message::{ChannelName, Data, Lines, Message, MessageType, OutputStream, ProcessId};

/// The most bytes of the messages that one payload carries, as long as each message has less.
pub(crate) const MAX_RUNS_BYTES: usize = 256 * 1024;
/// What the names of a channel and a process and the lengths of all parts add to a message, at
/// most.
const MAX_MESSAGE_OVERHEAD: usize = 1024;

const LINE: u8 = 0;
const LINES: u8 = 1;
const MESSAGE: u8 = 2;
const PIECES: u8 = 3;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STREAM: u8 = STDOUT | STDERR;
const PAST: u8 = 4;
const CONTINUED: u8 = 8;

const NO_DATA: u8 = 0;
const TEXT: u8 = 1;
const JSON: u8 = 2;

/// Returns the most bytes that the messages of one payload take, where one of them has at most
/// `max_message` bytes encoded. No message takes more bytes here than encoded for a client.
pub(crate) fn max_bytes(max_message: usize) -> usize {
    MAX_RUNS_BYTES + MAX_MESSAGE_OVERHEAD + max_message
}

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

    fn is_empty(&self) -> bool {
        self.runs == 0
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes() + bytes <= MAX_RUNS_BYTES
    }

    fn begin(&mut self, kind: u8, messages: usize) {
        self.runs += 1;
        self.messages += messages as u64;
        self.spans.push(kind);
    }

    fn line(&mut self, line: &[u8]) {
        self.begin(LINE, 1);
        put_number(&mut self.spans, line.len() as u64);
        self.text.extend_from_slice(line);
    }

    /// Appends some of the lines of a run, by their indexes.
    fn lines(&mut self, lines: &Lines, start: usize, end: usize) {
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

    fn message(&mut self, message: &Message) {
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
    fn pieces(&mut self, pieces: &[Message], goes_on: bool) {
        self.begin(PIECES, pieces.len());
        self.spans.push(u8::from(goes_on));
        put_number(&mut self.spans, pieces.len() as u64);
        for piece in pieces {
            self.message(piece);
        }
    }
}

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
                self.open.begin(MESSAGE, 1);
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

/// Decodes messages that take all of the bytes left. Their texts are copied once, together.
///
/// The pieces of a message that goes on in the next payload become lines of the channel that go
/// on. If the message had another process id than the channel, they lose it.
pub(crate) fn decode(mut fields: Fields<'_>) -> Result<Runs, Malformed> {
    let runs = fields.size()?;
    let spans = Fields::new(fields.bytes()?);
    let text = fields.rest();
    // Offsets are of 32 bits.
    u32::try_from(text.len()).map_err(|_| Malformed)?;
    let mut reader = Reader {
        spans,
        text: Bytes::copy_from_slice(text),
        at: 0,
    };
    let mut decoded = Runs::new();
    for _ in 0..runs {
        reader.run(&mut decoded)?;
    }
    if reader.at == reader.text.len() {
        reader.spans.end(decoded)
    } else {
        Err(Malformed)
    }
}

struct Reader<'a> {
    spans: Fields<'a>,
    text: Bytes,
    /// Where the next part of the text begins.
    at: usize,
}

impl Reader<'_> {
    /// Returns the offsets of the next part of the text.
    fn span(&mut self) -> Result<(usize, usize), Malformed> {
        let start = self.at;
        let end = start.checked_add(self.spans.size()?).ok_or(Malformed)?;
        if end > self.text.len() {
            return Err(Malformed);
        }
        self.at = end;
        Ok((start, end))
    }

    fn part(&mut self) -> Result<Bytes, Malformed> {
        let (start, end) = self.span()?;
        Ok(self.text.slice(start..end))
    }

    fn run(&mut self, decoded: &mut Runs) -> Result<(), Malformed> {
        match self.spans.byte()? {
            LINE => decoded.push_line(self.part()?),
            LINES => decoded.push_lines(self.lines()?),
            MESSAGE => decoded.push_message(self.message()?),
            PIECES => self.pieces(decoded)?,
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn lines(&mut self) -> Result<Lines, Malformed> {
        let flags = self.spans.byte()?;
        let count = self.spans.count()?;
        if count == 0 || flags & !(STREAM | PAST | CONTINUED) != 0 {
            return Err(Malformed);
        }
        let mut spans = Vec::with_capacity(count);
        for _ in 0..count {
            // The text has less than 4 GiB.
            let (start, end) = self.span()?;
            spans.push((start as u32, end as u32));
        }
        let mut lines = Lines::from_parts(self.text.clone(), spans);
        if flags & CONTINUED != 0 {
            let mut next = 0;
            let continued = self.spans.list(|fields| {
                let index = fields.number()?;
                if index < next || index >= count as u64 {
                    return Err(Malformed);
                }
                next = index + 1;
                u32::try_from(index).map_err(|_| Malformed)
            })?;
            lines = lines.with_continued(continued);
        }
        if flags & PAST != 0 {
            lines = lines.with_past();
        }
        match flags & STREAM {
            0 => Ok(lines),
            STDOUT => Ok(lines.with_stream(OutputStream::Stdout)),
            STDERR => Ok(lines.with_stream(OutputStream::Stderr)),
            _ => Err(Malformed),
        }
    }

    fn message(&mut self) -> Result<Message, Malformed> {
        let message_type = self.name()?.ok_or(Malformed);
        // A type may be empty.
        let message_type = message_type.unwrap_or_default();
        let channel = self.name()?;
        let process_id = self.name()?;
        let mut message = Message::new(MessageType::from(&*message_type));
        if let Some(channel) = channel {
            message = message.in_channel(ChannelName::parse(&channel).map_err(|_| Malformed)?);
        }
        if let Some(id) = process_id {
            message = message.with_process(ProcessId::parse(&id).map_err(|_| Malformed)?);
        }
        let kind = self.spans.byte()?;
        let data = self.part()?;
        match kind {
            NO_DATA if data.is_empty() => Ok(message),
            TEXT => Ok(message.with_text(data)),
            JSON => {
                let json: Box<RawValue> = serde_json::from_slice(&data).map_err(|_| Malformed)?;
                Ok(message.with_raw_json(json))
            }
            _ => Err(Malformed),
        }
    }

    /// Returns the next part of the text. `None` when it is empty.
    fn name(&mut self) -> Result<Option<String>, Malformed> {
        let part = self.part()?;
        let name = str::from_utf8(&part).map_err(|_| Malformed)?;
        Ok((!name.is_empty()).then(|| name.to_owned()))
    }

    fn pieces(&mut self, decoded: &mut Runs) -> Result<(), Malformed> {
        let goes_on = self.spans.flag()?;
        let count = self.spans.count()?;
        let mut pieces = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            pieces.push(self.message()?);
        }
        if goes_on {
            decoded.push_lines(lines_that_go_on(&pieces)?);
            return Ok(());
        }
        if pieces.is_empty() {
            return Err(Malformed);
        }
        decoded.push_pieces(pieces);
        Ok(())
    }
}

/// Makes lines of pieces that all go on.
fn lines_that_go_on(pieces: &[Message]) -> Result<Lines, Malformed> {
    let mut lines = Lines::new();
    for piece in pieces {
        let Data::Text(text) = piece.data() else {
            return Err(Malformed);
        };
        lines.push(text);
    }
    if lines.is_empty() {
        return Err(Malformed);
    }
    let indexes = (0u32..).zip(pieces).map(|(index, _)| index).collect();
    Ok(lines.with_continued(indexes))
}
