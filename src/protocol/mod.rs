//! The commands of clients, parsed from untrusted bytes.
//!
//! `command.rs` has the rules. They are written once, over [`json::JsonValue`], and two readers
//! serve them: `fast.rs` reads nearly every message, and `tolerant.rs` what the fast one refuses.

mod client_message;
mod command;
mod fast;
#[cfg(test)]
mod go_rules;
mod ignored;
mod json;
mod options;
mod refusal;
mod tolerant;

pub use client_message::ClientMessage;
pub use command::{Command, parse};
pub use ignored::Ignored;
pub use options::{InvalidOptions, Range, Since, SubscribeOptions};
pub use refusal::SubscribeRefusal;
