//! The text of a block, in which the pieces of a line that was cut are one line again.

use super::block::{Build, for_each_detailed};
use super::open_piece::OpenPiece;
use crate::encode::{Frames, TextBuilder};
use crate::message::{Data, Lines, Message};
use std::ops::Range;

/// Builds text in which the pieces of a line are joined.
///
/// The streams of a process may alternate between runs. A piece is then followed by a line that
/// does not belong to it, and gets an end.
pub(super) struct JoiningBuilder {
    text: TextBuilder,
    /// The piece before the next line.
    open: OpenPiece,
}

impl JoiningBuilder {
    /// Creates a builder of the text that follows this piece.
    pub(super) fn new(text: TextBuilder, open: OpenPiece) -> Self {
        Self { text, open }
    }

    /// Ends a piece before a line that does not belong to it. The end is a part of that line's
    /// frame.
    fn begin(&mut self, joins: bool) {
        if self.open != OpenPiece::None && !joins {
            self.text.end_piece();
        }
        self.open = OpenPiece::None;
    }
}

impl Build for JoiningBuilder {
    fn line(&mut self, line: &[u8]) {
        self.begin(self.open == OpenPiece::of(None));
        self.text.push_line(line);
    }

    fn message(&mut self, message: &Message) {
        if message.is_line() {
            self.begin(false);
        }
        self.text.push_message(message);
    }

    fn lines(&mut self, lines: &Lines, wanted: Range<usize>) {
        let stream = OpenPiece::of(lines.stream());
        for_each_detailed(lines, wanted, |line, detail| {
            self.begin(self.open == stream);
            if detail.continued {
                self.text.push_piece(line);
                self.open = stream;
            } else {
                self.text.push_line(line);
            }
        });
    }

    fn piece(&mut self, message: &Message, continued: bool) {
        // The pieces of one message follow each other in one run.
        self.begin(self.open == OpenPiece::OfMessage);
        match message.data() {
            Data::Text(text) if continued => {
                self.text.push_piece(text);
                self.open = OpenPiece::OfMessage;
            }
            _ => self.text.push_message(message),
        }
    }

    fn build(self) -> Frames {
        self.text.finish()
    }
}
