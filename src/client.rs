//! A client that watches channels and comes back when the connection is lost.
//!
//! It goes on where it left off: messages are numbered, what was missed during a break is asked for, and what cannot be had any more is told
//! as an [`Event`]. A server without these extensions is watched too, also one that joins several messages in one frame; then what was
//! published during a break is not seen.
//!
//! ```no_run
//! use outrace::client::{Event, Watcher};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut watcher = Watcher::builder("ws://127.0.0.1:8080/ws").channel("process:web").build()?;
//! while let Some(item) = watcher.next().await {
//!     match item {
//!         Event::Line { text, .. } => println!("{text}"),
//!         Event::Status { status, code, .. } => eprintln!("{status} with {code}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod builder;
mod dial;
mod event;
mod lister;
mod track;
mod watcher;

pub use backoff::Backoff;
pub use builder::{WatchError, WatcherBuilder};
pub use event::{DisconnectReason, Event};
pub use lister::{ChannelLister, ListError};
pub use watcher::Watcher;
