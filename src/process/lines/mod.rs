//! From bytes to published lines.

mod publisher;
mod sender;
mod spans;
mod splitter;

pub use publisher::LinePublisher;
pub use sender::LineSender;
pub use spans::MAX_LINE_BYTES;
pub use splitter::LineSplitter;
