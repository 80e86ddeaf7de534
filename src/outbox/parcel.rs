//! What waits in an outbox: whole frames of one or more messages, shared with every other subscriber of the block.

use bytes::Bytes;

use super::budget::Used;

/// One entry of an outbox: complete, contiguous WebSocket frames.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    /// The frames, ready for the wire.
    pub(crate) bytes: Bytes,
    /// How many messages they carry.
    pub(crate) messages: u32,
}

impl Parcel {
    /// What this parcel takes of the client's budget.
    pub(crate) fn weight(&self) -> Used {
        Used {
            messages: self.messages as usize,
            bytes: self.bytes.len(),
        }
    }
}
