//! Processes: start one, publish what it writes line by line, report how it ended.
//!
//! [`Hub::spawn`](crate::Hub::spawn) does it for a command; [`Spawn`] is the same with options.
//! For output that arrives some other way (standard input, a socket, a file) [`LineFeed`] turns bytes
//! into published lines, and [`LineSplitter`] is the splitting alone.

mod feed;
mod handle;
mod lines;
mod pump;
mod signal;
mod spawn;

pub use feed::LineFeed;
pub use handle::{ExitReport, Process};
pub use lines::{LineSplitter, MAX_LINE};
pub use pump::{DRAIN_LIMIT, DRAIN_QUIET};
pub use signal::Signal;
pub use spawn::{Spawn, SpawnError};
