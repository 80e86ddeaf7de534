//! The bound of a message's size, and the cut of lines that would exceed it.
//!
//! A cut is made before the push, so that each piece is a message with a number of its own. It
//! holds for every encoding: a message fits with the longest envelope that one of them has.

use bytes::Bytes;

use super::block::Run;
use crate::encode::{Envelope, escaped_prefix};
#[cfg(feature = "server")]
use crate::message::ChannelName;
use crate::message::{Data, Lines, Message, MessageType};

/// The most bytes that a byte of a text becomes: a control character is `\u0000`.
const MAX_ESCAPED_BYTES: usize = 6;

/// Returns whether a message to a channel, or with `None` to all clients, can be published with
/// this bound in bytes: it fits, or its line can be cut.
#[cfg(feature = "server")]
pub(crate) fn is_publishable(
    message: &Message,
    channel: Option<&ChannelName>,
    max_message: usize,
) -> bool {
    let envelope = Envelope::new(channel);
    let bound = SizeBound::new(max_message, &envelope);
    let run = Run::Message(Box::new(message.clone()));
    bound.surely_holds(&run) || bound.fit(run, &envelope).is_ok()
}

/// The bound of one channel's messages, in bytes of WebSocket payload.
#[derive(Debug)]
pub(super) struct SizeBound {
    max_message: usize,
    /// The most bytes of a line after its escapes.
    max_escaped_line: usize,
    /// A line of at most so many bytes fits whatever it consists of, and is not looked at.
    max_unscanned_line: usize,
}

/// The error for a message that is too long and can't be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl SizeBound {
    pub(super) fn new(max_message: usize, envelope: &Envelope) -> Self {
        let max_escaped_line = max_message
            .saturating_sub(envelope.max_line_overhead())
            .max(MAX_ESCAPED_BYTES);
        Self {
            max_message,
            max_escaped_line,
            max_unscanned_line: max_escaped_line / MAX_ESCAPED_BYTES,
        }
    }

    /// Returns whether every message of a run certainly fits. Constant.
    #[inline]
    pub(super) fn surely_holds(&self, run: &Run) -> bool {
        match run {
            Run::Line(line) => line.len() <= self.max_unscanned_line,
            Run::Lines(lines) => lines.longest() <= self.max_unscanned_line,
            Run::Message(message) => {
                // The type and the data may grow by their escapes.
                message.size_hint() + message.channel().map_or(0, |name| name.as_str().len())
                    <= self.max_unscanned_line
            }
            Run::Pieces(_) => false,
        }
    }

    /// Cuts the lines that are too long. Linear in the run.
    ///
    /// # Errors
    /// [`TooLong`] for any other message that is too long.
    pub(super) fn fit(&self, run: Run, envelope: &Envelope) -> Result<Run, TooLong> {
        match run {
            Run::Line(line) => {
                let len = self.prefix(&line);
                if len == line.len() {
                    return Ok(Run::Line(line));
                }
                let end = u32::try_from(line.len()).map_err(|_| TooLong)?;
                Ok(Run::Lines(
                    self.cut(Lines::from_parts(line, vec![(0, end)])),
                ))
            }
            Run::Lines(lines) => Ok(Run::Lines(self.cut(lines))),
            Run::Message(message) if envelope.message_len(&message) <= self.max_message => {
                Ok(Run::Message(message))
            }
            Run::Message(message) => self.pieces(*message, envelope).map(Run::Pieces),
            Run::Pieces(pieces) => Ok(Run::Pieces(pieces)),
        }
    }

    /// Cuts the lines of a run that are too long.
    pub(super) fn cut(&self, lines: Lines) -> Lines {
        if lines.longest() <= self.max_unscanned_line {
            return lines;
        }
        lines.cut(|line| self.prefix(line))
    }

    /// Returns how many bytes of a text, from its start, fit into one message.
    pub(super) fn prefix(&self, text: &[u8]) -> usize {
        if text.len() <= self.max_unscanned_line {
            return text.len();
        }
        escaped_prefix(text, self.max_escaped_line)
    }

    /// Cuts a message with the line of a process.
    fn pieces(&self, message: Message, envelope: &Envelope) -> Result<Vec<Message>, TooLong> {
        let mut text = match (message.message_type(), message.data()) {
            (MessageType::ProcessOutput, Data::Text(text)) => text.clone(),
            // A line that came as JSON, as in an action.
            (MessageType::ProcessOutput, Data::Json(json)) => {
                serde_json::from_slice::<String>(json)
                    .map_or(Err(TooLong), |text| Ok(text.into()))?
            }
            _ => return Err(TooLong),
        };
        // Its own channel or process may make its envelope longer than that of a line.
        let empty = message.clone().with_text(Bytes::new());
        let room = self.max_message.checked_sub(envelope.message_len(&empty));
        let room = room
            .filter(|&room| room >= MAX_ESCAPED_BYTES)
            .ok_or(TooLong)?;
        let mut pieces = Vec::new();
        while !text.is_empty() {
            let piece = text.split_to(escaped_prefix(&text, room).max(1));
            pieces.push(message.clone().with_text(piece));
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::ChannelName;

    fn envelope() -> Envelope {
        Envelope::new(Some(&ChannelName::parse("process:web").expect("valid")))
    }

    fn lines_of(run: Run) -> Vec<Vec<u8>> {
        match run {
            Run::Line(line) => vec![line.to_vec()],
            Run::Lines(lines) => lines.iter().map(<[u8]>::to_vec).collect(),
            Run::Message(_) | Run::Pieces(_) => panic!("no line"),
        }
    }

    #[test]
    fn a_line_that_fits_exactly_stays_whole_and_one_byte_more_is_cut() {
        let envelope = envelope();
        let bound = SizeBound::new(65_536, &envelope);
        let most = 65_536 - envelope.max_line_overhead();
        let fit = |len| {
            lines_of(
                bound
                    .fit(Run::Line(vec![b'x'; len].into()), &envelope)
                    .unwrap(),
            )
        };
        assert_eq!(fit(most).len(), 1);
        assert_eq!(
            fit(most + 1).iter().map(Vec::len).collect::<Vec<_>>(),
            [most, 1]
        );
        assert!(bound.surely_holds(&Run::Line(vec![0; 10_000].into())));
        assert!(!bound.surely_holds(&Run::Line(vec![0; 11_000].into())));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let envelope = envelope();
        let bound = SizeBound::new(65_536, &envelope);
        let json = |len| {
            let message = Message::event("e", &"x".repeat(len)).expect("JSON");
            bound.fit(Run::Message(Box::new(message)), &envelope)
        };
        assert!(json(60_000).is_ok());
        assert_eq!(json(66_000).map(|_| ()), Err(TooLong));
        let error = Message::error("\0".repeat(20_000));
        let error = bound.fit(Run::Message(Box::new(error)), &envelope);
        assert_eq!(error.map(|_| ()), Err(TooLong));
        let long_type = Message::new(MessageType::from(&*"t".repeat(70_000)));
        let long_type = bound.fit(Run::Message(Box::new(long_type)), &envelope);
        assert_eq!(long_type.map(|_| ()), Err(TooLong));
    }

    proptest! {
        #[test]
        fn every_piece_of_a_line_of_any_bytes_fits(
            pattern in prop::collection::vec(any::<u8>(), 1..9),
            len in 0usize..20_000,
            max_message in 1024usize..9000,
            as_message: bool,
        ) {
            let envelope = envelope();
            let bound = SizeBound::new(max_message, &envelope);
            let line: Bytes = pattern.iter().copied().cycle().take(len).collect();
            let run = if as_message {
                Run::Message(Box::new(Message::output(line.clone())))
            } else {
                Run::Line(line.clone())
            };
            let pieces: Vec<Message> = match bound.fit(run, &envelope).unwrap() {
                Run::Pieces(pieces) => pieces,
                Run::Message(message) => vec![*message],
                lines => lines_of(lines).into_iter().map(Message::output).collect(),
            };
            let mut joined = Vec::new();
            for piece in &pieces {
                prop_assert!(envelope.message_len(piece) <= max_message);
                let Data::Text(text) = piece.data() else { panic!("a text") };
                joined.extend_from_slice(text);
            }
            prop_assert_eq!(joined, line);
        }
    }
}
