//! The phases of a connection's life.

use crate::reason::CloseReason;

/// The phase of a connection's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Commands are read and frames are written.
    Open,
    /// The last frames are written: what waits, if the reason says so, and the close frame.
    Closing {
        reason: CloseReason,
        close_frame_queued: bool,
    },
    /// Our direction is shut down. The peer's bytes are read and dropped: closing a socket with
    /// unread bytes would make the kernel reset it and lose the close frame on its way.
    Lingering {
        reason: CloseReason,
        read_bytes: usize,
    },
}
