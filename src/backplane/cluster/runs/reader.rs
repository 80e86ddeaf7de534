//! Messages from bytes, none of which is trusted.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::super::fields::{Fields, Malformed};
use super::{CONTINUED, JSON, LINE, LINES, MESSAGE, NO_DATA, PAST, PIECES};
use super::{STDERR, STDOUT, STREAM, TEXT};
use crate::backplane::Runs;
use crate::message::{ChannelName, Data, Lines, Message, MessageType, OutputStream, ProcessId};

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
