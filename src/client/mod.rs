//! Clients of a server: a [`Watcher`] receives, and a [`Publisher`] publishes. Both connect again
//! when the connection is lost.
//!
//! A [`Watcher`] is built with a server's address and the channels to watch. It returns one
//! [`Event`] at a time:
//!
//! ```no_run
//! use outrace::client::{Event, Watcher};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut watcher = Watcher::builder("ws://127.0.0.1:7223/ws").channel("process:web").build()?;
//! while let Some(event) = watcher.next().await {
//!     match event {
//!         Event::Line { text, .. } => println!("{text}"),
//!         Event::Status { status, exit_code, .. } => eprintln!("{status} with {exit_code}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Reconnecting
//! The server numbers the messages of each channel. The watcher remembers the number of the last
//! one. After a break it connects again and asks for everything that came later. The server sends
//! the messages that it still keeps, after an [`Event::Reconnected`] that counts the lost ones.
//!
//! A program that is itself started again stores [`Watcher::resume_point`], and continues there
//! with [`WatcherBuilder::resume_from`].
//!
//! # Lagging
//! The watcher reads from the socket only while its events are taken. A watcher that is not polled
//! fast enough fills its queue at the server. The server then skips messages for this watcher, and
//! reports each run of them as an [`Event::Gap`]. [`Watcher::refetch`] asks for them again:
//!
//! ```no_run
//! # use outrace::client::{Event, Watcher};
//! # async fn example(mut watcher: Watcher) {
//! while let Some(event) = watcher.next().await {
//!     if let Event::Gap { channel, from, to, .. } = event {
//!         watcher.refetch(channel.as_str(), from, to);
//!     }
//! }
//! # }
//! ```
//!
//! # Patterns
//! [`WatcherBuilder::pattern`] watches all channels whose names fit, now and later. The server's
//! list of channels is asked for before the first connection, and from then on whenever a channel
//! has appeared. A channel that appears is watched from its first message. Messages that the server
//! no longer keeps by then are counted in [`Event::Subscribed`].
//!
//! # Servers without these extensions
//! A server that does not number its messages is watched too, also when it joins several messages
//! with newlines in one frame. Messages published during a break are then lost, and not counted.

mod attempt;
mod backoff;
mod builder;
mod connect_options;
mod decode;
mod dial;
mod discovery;
mod endpoint;
mod envelope;
mod error;
mod event;
mod exchange;
#[cfg(feature = "relay")]
mod link;
mod lister;
mod live_socket;
mod publisher;
mod requests;
mod resume_point;
mod send_error;
mod tls;
mod token_source;
mod tracked_channel;
mod watcher;

pub use backoff::Backoff;
pub use builder::WatcherBuilder;
pub use error::{ListError, WatchError};
pub use event::{DisconnectReason, Event};
#[cfg(feature = "relay")]
pub(crate) use exchange::HttpAnswer;
pub use lister::ChannelLister;
pub use publisher::{PublishError, PublishStats, Publisher, PublisherBuilder};
pub use resume_point::ResumePoint;
pub use send_error::SendError;
pub use watcher::Watcher;

pub use crate::event::LineDetail;

#[cfg(feature = "relay")]
pub(crate) use connect_options::ConnectOptions;
#[cfg(feature = "relay")]
pub(crate) use endpoint::Endpoint;
#[cfg(feature = "relay")]
pub(crate) use envelope::Envelope;
#[cfg(feature = "relay")]
pub(crate) use link::{Link, LinkFailure};
