//! Stage 3 of a line's path: messages are encoded once for all subscribers with the same encoding.
//!
//! The module is pure. It takes messages and a timestamp, and returns bytes; it uses no clock, no
//! socket and no tokio.

mod batch;
mod control;
mod decimal;
mod detail;
mod encoding;
mod envelope;
mod escape;
mod events;
mod frame;
mod frames;
mod json;
mod local;
mod partial;
#[cfg(test)]
mod testing;
mod text;
mod timestamp;

pub use batch::BatchBuilder;
pub use control::LINE_START;
pub use control::{gap, replay, replayed, subscribed};
pub use detail::{DetailBuilder, LineDetail};
pub use encoding::Encoding;
pub use envelope::Envelope;
#[cfg(any(fuzzing, feature = "internals"))]
pub use escape::escape_into;
pub use escape::escaped_prefix;
pub use events::EventsBuilder;
pub use frame::{binary_frame, close_frame, ping_frame, text_frame};
pub use frames::Frames;
pub use json::{FramesBuilder, single};
pub use local::{LocalBuilder, LocalFrame, next_frame};
pub use partial::partial;
pub use text::TextBuilder;
pub use timestamp::Timestamp;
