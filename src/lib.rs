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
