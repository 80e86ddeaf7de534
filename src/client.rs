//! A client that watches channels and comes back when the connection is lost.
//!
//! It goes on where it left off: messages are numbered, what was missed during a break is asked for, and what cannot be had any more is told
//! as an [`Item`]. A server without these extensions is watched too, also one that joins several messages in one frame; then what was
//! published during a break is not seen.
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
mod dial;
mod item;
mod lister;
mod track;
mod watcher;

pub use backoff::Backoff;
pub use builder::{WatchError, WatcherBuilder};
pub use item::{Item, Lost};
pub use lister::{ListError, Lister};
pub use watcher::Watcher;
