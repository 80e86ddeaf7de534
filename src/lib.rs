//! Outrace: lines from running processes and logs, live, to everyone who watches, over WebSockets.
//!
//! ```text
//! publish ─▶ ingest ─▶ seal ─▶ encode ─▶ fan out ─▶ outbox ─▶ write
//!            the        a block: ready     snapshot   one bounded one vectored
//!            channel's  a run of frames,   of the     queue per   write for all
//!            lock-free  messages once      subscribers client     that waits
//!            queue
//! ```
//!
//! A [`Hub`] takes messages and delivers them to the clients that subscribed to their channel. Publishing never blocks. Each message
//! is encoded once for all subscribers, and not at all when there are none.
//!
//! # What is promised
//!
//! - All subscribers of a channel see one and the same order; the messages of one publisher keep theirs.
//! - A subscriber whose queue is full is spared the message, stays connected and gets the next one that fits. Nobody else notices. What was
//!   skipped is counted for the client, the channel and the hub.
//! - A message for all clients disconnects a client whose queue is full.
//! - Every accepted message is written, or discarded with its client and counted: exactly once.
//!
//! # Features
//!
//! | feature | what it brings |
//! |---|---|
//! | `server` | `Hub::router`, the HTTP endpoints and an accept loop |
//! | `process` | `Hub::spawn`: child processes as publishers |
//! | `client` | a client that reconnects |
//! | `cli` (default) | all of these and what the binary needs; embedders say `default-features = false` |

mod channel;
mod config;
mod connection;
// Whole interfaces, for benches and fuzz targets too: which parts of them are used depends on the features.
#[cfg_attr(not(any(fuzzing, feature = "internals")), allow(dead_code, unused_imports))]
#[allow(unreachable_pub)]
mod encode;
mod error;
mod hub;
mod message;
mod outbox;
#[cfg_attr(not(any(fuzzing, feature = "internals")), allow(dead_code))]
#[allow(unreachable_pub)]
mod protocol;
mod reason;
#[cfg(feature = "server")]
pub mod server;
mod stats;
mod sync;
mod wake;

pub use channel::{Client, ClientId, Lossless, Publisher};
pub use connection::{Admission, UpgradeBody};
pub use error::ConfigError;
pub use hub::{Hub, HubBuilder, Reply};
pub use message::{
    Action, ActionError, Actions, ChannelName, Data, Lines, Message, MessageType, NameError, ProcessEvent,
    ProcessId, Status,
};
pub use reason::CloseReason;
pub use stats::{ChannelStats, Stats};

#[cfg(any(fuzzing, feature = "internals"))]
#[doc(hidden)]
pub mod internals;

#[cfg(feature = "process")]
pub mod process;

#[cfg(feature = "client")]
pub mod client;
