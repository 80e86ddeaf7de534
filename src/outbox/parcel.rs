//! One entry of an outbox: whole frames, shared with every other subscriber of the block.

use bytes::Bytes;

use super::budget::Used;

/// Complete, contiguous WebSocket frames of one or more messages.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    /// The frames, ready for the wire.
    pub(crate) bytes: Bytes,
    /// The number of messages in the frames.
    pub(crate) messages: u32,
}

impl Parcel {
    /// Returns the parcel's share of the client's budget.
    pub(crate) fn weight(&self) -> Used {
        Used {
            messages: self.messages as usize,
            bytes: self.bytes.len(),
        }
    }
}
