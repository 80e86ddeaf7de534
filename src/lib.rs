//! Outrace: lines from running processes and logs, live, to everyone who watches.

#[allow(dead_code, unused_imports, unreachable_pub)]
mod encode;
mod message;
#[allow(dead_code, unused_imports, unreachable_pub)]
mod protocol;

pub use message::{
    Action, ActionError, Actions, ChannelName, Data, Lines, Message, MessageType, NameError, ProcessEvent,
    ProcessId, Status,
};

/// The private modules that the benches and the fuzz targets reach into. Not part of the interface: anything
/// here may change or go at any time.
#[cfg(any(fuzzing, feature = "internals"))]
#[doc(hidden)]
pub mod internals {
    pub use crate::encode::{Envelope, Frames, FramesBuilder, Timestamp, escape_into, single};
    pub use crate::protocol::{Command, Ignored, InvalidOptions, Options, Since, parse};
}

#[cfg(feature = "process")]
pub mod process;

#[cfg(feature = "client")]
pub mod client;
