//! From bytes to published lines.

mod partial;
mod partial_timer;
mod publisher;
mod sender;
mod spans;
mod splitter;

pub(super) use partial::PartialLine;
pub use partial_timer::PartialTimer;
pub(super) use publisher::LineEnded;
pub use publisher::LinePublisher;
pub use sender::LineSender;
pub use spans::MAX_LINE_BYTES;
pub use splitter::LineSplitter;
