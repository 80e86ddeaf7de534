//! Stage 3: messages become ready WebSocket frames, once for all subscribers.
//!
//! Pure: bytes and a timestamp in, bytes out; no clock, no socket, no tokio.

mod envelope;
mod escape;
mod frame;
mod frames;
mod timestamp;

pub use envelope::Envelope;
pub use escape::escape_into;
pub use frame::{close_frame, ping_frame, pong_frame, text_frame};
pub use frames::{Frames, FramesBuilder, single};
pub use timestamp::Timestamp;
