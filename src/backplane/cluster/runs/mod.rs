//! Messages as bytes: first what each is and how long its parts are, then their text in one piece.

mod encoded;
mod encoder;
mod reader;

pub(crate) use encoded::EncodedRuns;
pub(crate) use encoder::{encode, encode_one};
pub(crate) use reader::decode;

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
