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
//! A [`Hub`] takes messages and delivers them to the clients that subscribed to their channel. Publishing never blocks and never waits for a client.
//! Each message is encoded once for all subscribers, and not at all when there are none.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use outrace::{Hub, Lines};
//!
//! let hub = Hub::new();
//! hub.send_process_output("web", "listening on :3000")?;
//!
//! // A handle publishes without looking the channel up, and takes no lock.
//! let web = hub.publisher("process:web")?;
//! web.send_lines(Lines::split("GET / 200\nGET /favicon.ico 404\n"));
//! assert_eq!(web.subscriber_count(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! Clients come in by `Hub::router` (an axum router, feature `server`), or by [`Hub::upgrade`] on any server built on hyper. What they say and are
//! told is the wire contract, `docs/wire.md` in the repository.
//!
//! # The path of a line
//!
//! 1. **Ingest.** Publishers push runs of messages into their channel's lock-free queue. Joins stand in the same queue, so that a subscriber gets
//!    exactly what is pushed after its join.
//! 2. **Seal.** Whoever publishes and finds nobody sealing makes a *block* of what waits: a run of messages with their numbers. An idle hub seals at once; a
//!    busy one as often as keeps flushing within a tenth of a core, and after [`HubBuilder::max_flush_interval`] at the latest.
//! 3. **Encode.** Once for all subscribers; batches, text and events are encodings of the same block, made when somebody needs them.
//! 4. **Fan out.** The block is offered to a snapshot of the subscribers.
//! 5. **Outbox.** Each client has one queue, bounded in messages and bytes. What does not fit is skipped for that client, and counted.
//! 6. **Write.** One task for each connection hands all that waits to the kernel in one vectored write.
//!
//! # What is promised
//!
//! - All subscribers of a channel see one and the same order; the messages of one publisher keep theirs.
//! - A subscriber whose queue is full is spared the message, stays connected and gets the next one that fits. Nobody else notices. What was
//!   skipped is counted for the client, the channel and the hub. ([`Lossless`] waits instead, for publishers that can.)
//! - A subscription that asks for `gaps` is told in place and to the unit what it was spared: received + gaps = published.
//! - With [`HubBuilder::history`], a subscription can begin with what was published before it, resume after a break, and ask for a gap again, with neither loss nor
//!   repetition where the past meets the present. Histories stay within their bounds in messages, bytes and age.
//! - A status or an error is not lost behind a flood of lines: it may use a reserve in each queue.
//! - A message for all clients disconnects a client whose queue is full.
//! - Every accepted message is written, skipped, or discarded with its client, and counted: exactly once (see [`Stats`]).
//!
//! # Features
//!
//! | feature | what it brings |
//! |---|---|
//! | `server` | `Hub::router`, the HTTP endpoints and an accept loop, in `outrace::server` |
//! | `viewer` | the page that shows the channels and its JavaScript client, `outrace::server::viewer`; brings `server` |
//! | `process` | `Hub::spawn`: child processes as publishers, a supervisor for several, and files, in `outrace::process` |
//! | `client` | a client that reconnects and resumes, in `outrace::client` |
//! | `jwt` | JSON Web Tokens, `outrace::access::Jwt` |
//! | `tls` | TLS for the accept loop and the client |
//! | `cli` (default) | all of these and what the binary needs; embedders say `default-features = false` |

pub mod access;
mod callback;
mod channel;
mod config;
mod connection;
#[allow(unreachable_pub)]
mod encode;
mod error;
mod histogram;
mod hub;
mod message;
mod outbox;
#[allow(unreachable_pub)]
mod protocol;
mod reason;
#[cfg(feature = "server")]
pub mod server;
mod stats;
mod sync;
mod wake;

pub use access::{Admission, LocalAddress, PeerAddress};
pub use channel::{Client, ClientId, Lossless, Publisher};
pub use connection::UpgradeBody;
pub use error::ConfigError;
pub use histogram::{Bucket, Distribution};
pub use hub::{Hub, HubBuilder, Reply};
pub use message::{
    Action, ActionError, Actions, ChannelName, Data, Lines, Message, MessageType, NameError,
    ProcessEvent, ProcessId, ProcessOrder, Status, StatusReport,
};
pub use protocol::ClientMessage;
pub use reason::{CloseReason, PauseReason, RefusalReason};
pub use stats::{ChannelStats, Stats};

#[cfg(any(fuzzing, feature = "internals"))]
#[doc(hidden)]
pub mod internals;

#[cfg(feature = "process")]
pub mod process;

#[cfg(feature = "client")]
pub mod client;
