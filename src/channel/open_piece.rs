//! The piece of a line that the channel's last block ended with.

use super::block::Run;
use super::seal::SealToken;
use crate::message::OutputStream;
use crate::sync::{AtomicUsize, Ordering};

/// Whether the last line is a piece of a longer one, and of which stream. The rest of the line is
/// the next line of that stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum OpenPiece {
    /// It is a whole line, or the end of one.
    None,
    /// It is a piece. The streams of its process are not told apart.
    OfProcess,
    OfStdout,
    OfStderr,
    /// It is a piece of a single message.
    OfMessage,
}

impl OpenPiece {
    /// Returns the piece of a line of this stream.
    pub(super) fn of(stream: Option<OutputStream>) -> Self {
        match stream {
            None => Self::OfProcess,
            Some(OutputStream::Stdout) => Self::OfStdout,
            Some(OutputStream::Stderr) => Self::OfStderr,
        }
    }

    /// Returns the piece that a run ends with. `None` if the run has no line.
    pub(super) fn after(run: &Run) -> Option<Self> {
        match run {
            Run::Line(_) | Run::Pieces(_) => Some(Self::None),
            Run::Lines(lines) => {
                let last = lines.len().checked_sub(1)? as u32;
                let is_piece = lines.continued().last() == Some(&last);
                Some(if is_piece {
                    Self::of(lines.stream())
                } else {
                    Self::None
                })
            }
            Run::Message(message) => message.is_line().then_some(Self::None),
        }
    }
}

/// The piece that a channel's last block ended with. Only the sealer uses it: Relaxed.
#[derive(Debug, Default)]
pub(super) struct LastPiece(AtomicUsize);

impl LastPiece {
    pub(super) fn get(&self, _: &SealToken) -> OpenPiece {
        const ALL: [OpenPiece; 5] = [
            OpenPiece::None,
            OpenPiece::OfProcess,
            OpenPiece::OfStdout,
            OpenPiece::OfStderr,
            OpenPiece::OfMessage,
        ];
        ALL[self.0.load(Ordering::Relaxed)]
    }

    pub(super) fn set(&self, piece: OpenPiece, _: &SealToken) {
        self.0.store(piece as usize, Ordering::Relaxed);
    }
}
