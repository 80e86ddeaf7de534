//! Connects a hub with another system, message by message.
//!
//! A bridge *exports* what is published to the hub locally, and *imports* what the other system
//! publishes. Imported messages are numbered by the hub's own channels, and are never exported
//! again. A hub without a bridge pays nothing for it.
//!
//! `redis::RedisBridge` (feature `redis`) speaks to nodes of go-ws. A program can bring its own
//! [`Bridge`].

mod counters;
mod exports;
mod port;
#[cfg(feature = "redis")]
pub mod redis;

use std::future::Future;
use std::pin::Pin;

pub use crate::unsent::Pending;
pub use counters::{BridgeDrop, BridgeStats};
pub use exports::Published;
pub use port::Port;

pub(crate) use exports::Exports;

/// Another system that a hub exchanges messages with. Given to
/// [`HubBuilder::bridge`](crate::HubBuilder::bridge).
pub trait Bridge: Send + 'static {
    /// Exchanges messages. The future runs in a task of the hub from the hub's start on, and is
    /// dropped when the hub ends.
    ///
    /// It takes what was published from [`Port::published`], and calls [`Port::import`].
    fn run(self: Box<Self>, port: Port) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
