//! Lines from running processes and logs, live, to everyone who watches, over WebSockets.
//!
//! A [`Hub`] takes messages and delivers them to the clients that subscribed to their channel.
//! Publishing never blocks and never waits for a client. Each message is encoded once for all
//! subscribers, and not at all when there are none.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use outrace::{Hub, Lines};
//!
//! let hub = Hub::new();
//! hub.send_process_output("web", "listening on :3000")?;
//!
//! // A publisher does not look its channel up for each message, and takes no lock.
//! let web = hub.publisher("process:web")?;
//! web.send_lines(Lines::split("GET / 200\nGET /favicon.ico 404\n"));
//! assert_eq!(web.subscriber_count(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! Clients connect through [`server::mount`], which adds a hub to an axum application (feature
//! `server`), through [`Hub::upgrade`] on any other server that is built on hyper, or through
//! [`Hub::handshake`] and [`Hub::serve_stream`] on any server at all. The program itself listens
//! with [`Hub::subscribe`]. Browsers, `outrace watch` and [`client::Watcher`] (feature `client`)
//! are clients. The wire protocol is in `docs/wire.md` in the repository.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use outrace::Hub;
//! use outrace::client::{Event, Watcher};
//!
//! let hub = Hub::new();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/ws", listener.local_addr()?);
//! tokio::spawn(outrace::server::serve(listener, hub.clone(), std::future::pending()));
//!
//! let mut watcher = Watcher::builder(&url).channel("process:web").build()?;
//! while let Some(event) = watcher.next().await {
//!     match event {
//!         // From here on, the subscription gets everything that is published.
//!         Event::Subscribed { .. } => {
//!             let subscribers = hub.send_process_output("web", "listening on :3000")?;
//!             assert_eq!(subscribers, 1);
//!         }
//!         Event::Line { text, .. } => {
//!             assert_eq!(text, "listening on :3000");
//!             break;
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Lagging
//!
//! Each client has one queue, which is bounded in messages ([`HubBuilder::queue`]) and in bytes
//! ([`HubBuilder::queue_bytes`]). A subscriber *lags* when its queue is full. The hub then skips
//! the message for this subscriber:
//!
//! - The subscriber stays connected, and gets the next message that fits.
//! - No other subscriber and no publisher is slowed down.
//! - The skip is counted for the client ([`Client::skipped`]), for the channel
//!   ([`ChannelStats::skipped`]) and for the hub ([`Stats::skipped`]).
//! - A subscription that asks for gaps gets a `gap` message in place of the skipped ones, with
//!   their numbers. A [`client::Watcher`] asks for gaps.
//!
//! So the number that a `send` method returns is the number of subscribers at that moment. It is
//! not the number of subscribers that get the message.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use outrace::client::{Event, Watcher};
//! use outrace::{Hub, Lines};
//!
//! let hub = Hub::builder().queue(100).build()?;
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let url = format!("ws://{}/ws", listener.local_addr()?);
//! # tokio::spawn(outrace::server::serve(listener, hub.clone(), std::future::pending()));
//! let mut watcher = Watcher::builder(&url).channel("process:web").build()?;
//! while !matches!(watcher.next().await, Some(Event::Subscribed { .. })) {}
//!
//! // A thousand lines at once, of which a hundred fit into the queue.
//! let subscribers = hub.send_process_lines("web", Lines::split("line\n".repeat(1000)))?;
//! assert_eq!(subscribers, 1);
//!
//! let (mut received, mut skipped) = (0, 0);
//! while received + skipped < 1000 {
//!     match watcher.next().await {
//!         Some(Event::Line { .. }) => received += 1,
//!         Some(Event::Gap { count, .. }) => skipped += count,
//!         _ => {}
//!     }
//! }
//! // Every line was either received or reported as part of a gap, exactly once.
//! assert_eq!(received + skipped, 1000);
//! assert!(skipped > 0);
//! assert_eq!(hub.stats().skipped, skipped);
//!
//! // The subscriber is still connected, and gets the next line.
//! hub.send_process_output("web", "next")?;
//! while !matches!(watcher.next().await, Some(Event::Line { text, .. }) if text == "next") {}
//! # Ok(())
//! # }
//! ```
//!
//! There are three ways to deal with lagging:
//!
//! - With [`HubBuilder::history`], a subscription can request the messages of a gap again, as long
//!   as the history holds them.
//! - [`Lossless`] waits for room before it publishes, up to a limit. It is for publishers that can
//!   wait, such as one that reads a file.
//! - A longer queue costs little, because all clients that wait for a block of lines share it.
//!
//! Two kinds of messages are treated differently. A status or an error may use a reserve in each
//! queue, so that a flood of lines does not displace it. A [broadcast](Hub::broadcast) that does
//! not fit closes the connection, since it is meant for every client.
//!
//! # Closing
//!
//! A connection ends for one of the [reasons](CloseReason) that the hub counts in
//! [`Stats::closed`]. The client gets a close frame (RFC 6455 section 5.5.1) with the reason's
//! code and name:
//!
//! | code | reason | waiting messages are |
//! |---|---|---|
//! | 1001 | [`Shutdown`](CloseReason::Shutdown) | sent first |
//! | 1001 | [`HeartbeatTimeout`](CloseReason::HeartbeatTimeout) | discarded |
//! | 1002 | [`ProtocolViolation`](CloseReason::ProtocolViolation) | discarded |
//! | 1007 | [`InvalidUtf8`](CloseReason::InvalidUtf8) | discarded |
//! | 1008 | [`Kicked`](CloseReason::Kicked) | sent first |
//! | 1008 | [`Expired`](CloseReason::Expired) | sent first |
//! | 1008 | [`TooManyMessages`](CloseReason::TooManyMessages) | discarded |
//! | 1008 | [`TooManyFragments`](CloseReason::TooManyFragments) | discarded |
//! | 1008 | [`WriteTimeout`](CloseReason::WriteTimeout) | discarded |
//! | 1009 | [`MessageTooBig`](CloseReason::MessageTooBig) | discarded |
//! | 1011 | [`Internal`](CloseReason::Internal) | discarded |
//! | 1013 | [`Overflow`](CloseReason::Overflow) | sent first |
//! | none | [`PeerClosed`](CloseReason::PeerClosed) | discarded |
//! | none | [`PeerGone`](CloseReason::PeerGone) | discarded |
//!
//! Discarded messages are counted in [`Stats::discarded`]. If the peer closes the connection or
//! sends an invalid message, the hub first writes what the socket takes at once. Sending what waits
//! takes at most [`HubBuilder::flush_timeout`], and the closing handshake at most
//! [`HubBuilder::close_timeout`].
//!
//! [`Client::close`] ends one connection. [`Hub::shutdown`] ends all of them, and returns when the
//! last one has ended. Dropping the last `Hub` handle ends none: connections keep the hub alive.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use outrace::client::{Event, Watcher};
//! use outrace::{CloseReason, Hub};
//!
//! let hub = Hub::builder()
//!     .on_disconnect(|_client, reason| assert_eq!(reason, CloseReason::Shutdown))
//!     .build()?;
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let url = format!("ws://{}/ws", listener.local_addr()?);
//! # tokio::spawn(outrace::server::serve(listener, hub.clone(), std::future::pending()));
//! let mut watcher = Watcher::builder(&url).channel("process:web").retry(false).build()?;
//! while !matches!(watcher.next().await, Some(Event::Subscribed { .. })) {}
//!
//! hub.send_process_output("web", "the last line")?;
//! let watch = async {
//!     let mut lines = Vec::new();
//!     while let Some(event) = watcher.next().await {
//!         match event {
//!             Event::Line { text, .. } => lines.push(text),
//!             // The close frame has come, after everything that waited.
//!             Event::Disconnected { reason, .. } => assert!(reason.is_orderly()),
//!             _ => {}
//!         }
//!     }
//!     lines
//! };
//! let (lines, ()) = tokio::join!(watch, hub.shutdown());
//! assert_eq!(lines, ["the last line"]);
//! assert_eq!(hub.stats().closed[CloseReason::Shutdown.name()], 1);
//! # Ok(())
//! # }
//! ```
//!
//! # The path of a line
//!
//! ```text
//! publish ─▶ ingest ─▶ seal ─▶ encode ─▶ fan out ─▶ outbox ─▶ write
//!            the        a block: ready     snapshot   one bounded one vectored
//!            channel's  a run of frames,   of the     queue per   write for all
//!            lock-free  messages once      subscribers client     that waits
//!            queue
//! ```
//!
//! 1. **Ingest.** Publishers push runs of messages into their channel's lock-free queue. New
//!    subscriptions go through the same queue, so that a subscriber gets exactly the messages that
//!    are pushed after its own entry.
//! 2. **Seal.** A publisher that finds no other thread sealing makes a *block* of the waiting
//!    messages, and numbers them. An idle hub seals at once. A busy hub seals at the shortest
//!    interval at which flushing takes at most a tenth of one core, but no later than
//!    [`HubBuilder::max_flush_interval`].
//! 3. **Encode.** A block is encoded once for all subscribers. Batches, text and events are other
//!    encodings of the same block, made when the first subscriber needs them.
//! 4. **Fan out.** The block is offered to a snapshot of the subscribers.
//! 5. **Outbox.** Each client has one queue, bounded in messages and bytes. A message that does not
//!    fit is skipped for that client and counted.
//! 6. **Write.** Each connection has one task, which passes all that waits to the kernel in one
//!    vectored write.
//!
//! # Guarantees
//!
//! - All subscribers of a channel see the same order. The messages of one publisher keep their
//!   order.
//! - Every accepted message is written, skipped or discarded with its client, and counted: exactly
//!   once (see [`Stats`]).
//! - A subscription that asks for `gaps` is told exactly which messages it missed: received + gaps
//!   = published.
//! - With [`HubBuilder::history`], a subscription can begin with earlier messages, resume after a
//!   reconnect, and request a gap again. Nothing is lost or repeated where the history meets the
//!   live messages. Histories stay within their bounds in messages, bytes and age.
//! - Statuses and errors have a reserve in each queue.
//!
//! # Features
//!
//! No feature is enabled by default. The program `outrace` is a crate of its own, `outrace-cli`.
//!
//! | feature | adds |
//! |---|---|
//! | `server` | [`server::mount`], the HTTP endpoints and an accept loop, in [`server`] |
//! | `metrics` | `GET /metrics` for Prometheus; enables `server` |
//! | `viewer` | the web page and its JavaScript client, in [`server::viewer`]; enables `server` |
//! | `process` | [`Hub::spawn`] for child processes; a supervisor and files, in [`process`] |
//! | `client` | a watcher that reconnects and resumes, and a publisher, in [`client`] |
//! | `relay` | a hub whose channels are another server's, in [`backplane`]; enables `client` |
//! | `tracing` | `tracing::layer`, which publishes the events of the crate `tracing` |
//! | `log` | `log::logger`, which publishes the records of the crate `log` |
//! | `redis` | the bridge to nodes of go-ws, in [`bridge`]; clusters over Redis |
//! | `nats` | clusters over NATS, in [`backplane`] |
//! | `jwt` | JSON Web Tokens as credentials, in [`access::Jwt`] |
//! | `tls` | TLS for the accept loop (with `server`) and for the client (with `client`) |
//!

#![cfg_attr(docsrs, feature(doc_cfg))]
// The targets of the links above. Without the feature, a link leads to docs.rs.
#![cfg_attr(feature = "server", doc = "[`server::mount`]: server::mount")]
#![cfg_attr(
    not(feature = "server"),
    doc = "[`server::mount`]: https://docs.rs/outrace/latest/outrace/server/fn.mount.html"
)]
#![cfg_attr(feature = "server", doc = "[`server`]: server")]
#![cfg_attr(
    not(feature = "server"),
    doc = "[`server`]: https://docs.rs/outrace/latest/outrace/server/index.html"
)]
#![cfg_attr(feature = "viewer", doc = "[`server::viewer`]: server::viewer")]
#![cfg_attr(
    not(feature = "viewer"),
    doc = "[`server::viewer`]: https://docs.rs/outrace/latest/outrace/server/fn.viewer.html"
)]
#![cfg_attr(feature = "process", doc = "[`Hub::spawn`]: Hub::spawn")]
#![cfg_attr(
    not(feature = "process"),
    doc = "[`Hub::spawn`]: https://docs.rs/outrace/latest/outrace/struct.Hub.html#method.spawn"
)]
#![cfg_attr(feature = "process", doc = "[`process`]: process")]
#![cfg_attr(
    not(feature = "process"),
    doc = "[`process`]: https://docs.rs/outrace/latest/outrace/process/index.html"
)]
#![cfg_attr(feature = "client", doc = "[`client`]: client")]
#![cfg_attr(
    not(feature = "client"),
    doc = "[`client`]: https://docs.rs/outrace/latest/outrace/client/index.html"
)]
#![cfg_attr(feature = "client", doc = "[`client::Watcher`]: client::Watcher")]
#![cfg_attr(
    not(feature = "client"),
    doc = "[`client::Watcher`]: https://docs.rs/outrace/latest/outrace/client/struct.Watcher.html"
)]
#![cfg_attr(feature = "jwt", doc = "[`access::Jwt`]: access::Jwt")]
#![cfg_attr(
    not(feature = "jwt"),
    doc = "[`access::Jwt`]: https://docs.rs/outrace/latest/outrace/access/struct.Jwt.html"
)]

pub mod access;
pub mod backplane;
mod bounded_queue;
pub mod bridge;
mod callback;
mod channel;
mod config;
mod connection;
#[cfg(any(target_os = "linux", feature = "process"))]
mod descriptor;
#[cfg(any(feature = "server", feature = "process"))]
mod descriptor_limit;
#[allow(unreachable_pub)]
mod encode;
mod error;
mod event;
mod histogram;
mod hub;
mod message;
mod outbox;
mod own;
#[allow(unreachable_pub)]
mod protocol;
mod reason;
#[cfg(feature = "redis")]
mod redis_client;
#[cfg(feature = "server")]
pub mod server;
mod stats;
mod sync;
mod unsent;
mod wake;

pub use access::{Admission, LocalAddress, PeerAddress};
pub use channel::{Client, ClientExtensions, ClientId, Lossless, Publisher};
pub use connection::{Accept, StreamBody, UpgradeBody};
pub use error::ConfigError;
pub use event::{Event, From, LineDetail};
pub use histogram::{Bucket, Distribution};
pub use hub::{
    ClientSubscribeError, Hub, HubBuilder, LineWriter, Receiver, Reply, SubscribeError, WeakHub,
};
pub use message::{
    Action, ActionError, Actions, ChannelName, Data, Lines, LinesIter, Message, MessageType,
    NameError, OutputStream, ProcessEvent, ProcessId, ProcessOrder, Status, StatusReport,
};
pub use protocol::ClientMessage;
pub use reason::{CloseReason, PauseReason, RefusalReason};
pub use stats::{ChannelStats, Stats};

#[cfg(any(fuzzing, feature = "internals"))]
#[doc(hidden)]
pub mod internals;

#[cfg(feature = "process")]
pub mod process;

#[cfg(any(feature = "tracing", feature = "log"))]
mod record;

#[cfg(feature = "log")]
pub mod log;

#[cfg(feature = "tracing")]
pub mod tracing;

#[cfg(feature = "client")]
pub mod client;

/// Runs the examples of the page about go-ws as tests.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../docs/from-go-ws.md")]
struct FromGoWs;
