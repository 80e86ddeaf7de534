//! Stage 3: messages become what goes to the sockets, once for all subscribers who want it the same way.
//!
//! Pure: bytes and a timestamp in, bytes out; no clock, no socket, no tokio.

mod batch;
mod control;
mod decimal;
mod encoding;
mod envelope;
mod escape;
mod events;
mod frame;
mod frames;
mod json;
#[cfg(test)]
mod testing;
mod text;
mod timestamp;

pub use batch::BatchBuilder;
pub use control::{gap, replay, replayed, subscribed};
pub use encoding::Encoding;
pub use envelope::Envelope;
#[cfg(any(fuzzing, feature = "internals"))]
pub use escape::escape_into;
pub use events::EventsBuilder;
pub use frame::{binary_frame, close_frame, ping_frame, text_frame};
pub use frames::Frames;
pub use json::{FramesBuilder, single};
pub use text::TextBuilder;
pub use timestamp::Timestamp;
