//! Child processes and files as publishers.
//!
//! - [`Hub::spawn`](crate::Hub::spawn) starts a command, publishes its output line by line and
//!   reports how it ended. [`Spawn`] does the same with options.
//! - [`Supervisor`] keeps several processes: it starts them in order, restarts them by their policy
//!   and stops them together.
//! - [`OrphanReaper`] lets stops reach what has left the process group.
//! - [`Tail`] follows a file through rotations and truncations, and reads a FIFO or a device.
//! - [`LinePublisher`] publishes the lines of any other byte stream, such as standard input or a
//!   socket. [`LineSplitter`] only finds the lines.

mod child;
mod descriptors;
mod lines;
mod ownership;
mod supervisor;
mod tail;

pub use child::{
    BrokenInterpreter, DRAIN_IDLE_TIMEOUT, DRAIN_TIMEOUT, ExitReport, OutputMode, Process, Pty,
    PtyInput, Signal, Spawn, SpawnError, StopReport, Suspension, WindowSize,
};
pub use descriptors::raise_descriptor_limit;
pub use lines::{LinePublisher, LineSender, LineSplitter, MAX_LINE_BYTES, PartialTimer};
pub use ownership::{LineageMark, OrphanReaper, OwnedChild, Unstopped};
pub use supervisor::{
    Control, ControlError, ProcessEnd, ProcessFailure, ProcessInfo, Program, ProgramInput, Restart,
    RestartDelay, Supervised, Supervisor, SupervisorBuilder, SupervisorError, SupervisorEvent,
};
pub use tail::{Tail, TailBuilder, TailEvent};
