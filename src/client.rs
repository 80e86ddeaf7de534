//! A client that watches channels and comes back when the connection is lost.
//!
//! It speaks the plain protocol, so it watches any server of it, also one that joins several messages in
//! one frame.
//!
//! ```no_run
//! use outrace::client::{Item, Watcher};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut watcher = Watcher::builder("ws://127.0.0.1:8080/ws").channel("process:web").build()?;
//! while let Some(item) = watcher.next().await {
//!     match item {
//!         Item::Line { text, .. } => println!("{text}"),
//!         Item::Status { status, code, .. } => eprintln!("{status} with {code}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod builder;
mod item;
mod watcher;

pub use backoff::Backoff;
pub use builder::{WatchError, WatcherBuilder};
pub use item::{Item, Lost};
pub use watcher::Watcher;
