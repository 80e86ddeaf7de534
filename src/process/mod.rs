//! Processes: start one, publish what it writes line by line, report how it ended.
//!
//! [`Hub::spawn`](crate::Hub::spawn) does it for a command; [`Spawn`] is the same with options.
//! [`Supervisor`] does it for several, which it starts again and stops in order.
//! [`Tail`] follows a file. For output that arrives some other way (standard input, a socket) [`LineFeed`] turns bytes
//! into published lines, and [`LineSplitter`] is the splitting alone.

mod control;
mod feed;
mod follow;
mod group;
mod handle;
mod hint;
mod keeper;
mod lines;
mod program;
mod pump;
mod restart;
mod roster;
mod signal;
mod spawn;
mod supervised;
mod supervisor;
mod tail;

pub use control::{Control, ControlError};
pub use feed::LineFeed;
pub use follow::TailEvent;
pub use handle::{ExitReport, Process};
pub use keeper::SupervisorEvent;
pub use lines::{LineSplitter, MAX_LINE};
pub use program::Program;
pub use pump::{DRAIN_LIMIT, DRAIN_QUIET};
pub use restart::{Restart, RestartDelay};
pub use roster::{ProcessFailure, ProcessInfo};
pub use signal::Signal;
pub use spawn::{Spawn, SpawnError};
pub use supervised::Supervised;
pub use supervisor::{Supervisor, SupervisorBuilder, SupervisorError};
pub use tail::{Tail, TailBuilder};
