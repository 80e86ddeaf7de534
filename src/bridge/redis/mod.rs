//! The bridge to nodes of go-ws over Redis (feature `redis`).
//!
//! It speaks the protocol of go-ws's own bridge. Each message is published to the Redis channel
//! `PREFIX:channel:NAME`, or `PREFIX:broadcast` for all clients, as
//! `{"sourceId":…,"message":{…}}`, in at most 65,536 bytes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use outrace::bridge::redis::RedisBridge;
//!
//! let bridge = RedisBridge::builder("redis://127.0.0.1:6379").prefix("ws").build()?;
//! let hub = outrace::Hub::builder().bridge(bridge).build()?;
//! hub.start();
//! # Ok(()) }
//! ```
//!
//! Redis publishes to who listens and keeps nothing: what is sent while a node is gone, that node
//! never gets. While Redis is gone, up to 8 MiB of local messages wait for it, and the oldest of
//! more are dropped and counted. Nothing else waits.

mod incoming;
mod link;
mod names;
mod outgoing;

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;

use super::{Bridge, Port};
use link::Link;
use names::Names;
use outgoing::Outgoing;

/// The most bytes of a payload, after its escapes. Nodes of go-ws drop longer ones.
const MAX_PAYLOAD: usize = 65_536;
/// The most bytes of a prefix.
const MAX_PREFIX: usize = 256;

/// Exchanges messages with nodes of go-ws over Redis. Given to
/// [`HubBuilder::bridge`](crate::HubBuilder::bridge).
#[derive(Debug)]
pub struct RedisBridge {
    client: redis::Client,
    names: Names,
    source_id: String,
}

/// The settings of a [`RedisBridge`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisBridgeBuilder {
    url: String,
    prefix: String,
}

/// The error for settings of a [`RedisBridge`] that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisBridgeError {
    /// The URL is not one of Redis, or needs a feature that is not compiled in.
    #[error("not a usable Redis URL: {0}")]
    Url(String),
    /// The prefix is empty or too long.
    #[error("the prefix has to have 1 to {MAX_PREFIX} bytes")]
    Prefix,
}

impl RedisBridge {
    /// Returns a builder for a bridge over the Redis at `url`.
    ///
    /// The URL is `redis://[USER:PASSWORD@]HOST[:PORT]`, `rediss://…` for TLS (feature `tls`), or
    /// `unix:///PATH`.
    pub fn builder(url: &str) -> RedisBridgeBuilder {
        RedisBridgeBuilder {
            url: url.to_owned(),
            prefix: "ws".to_owned(),
        }
    }
}

impl RedisBridgeBuilder {
    /// Sets the prefix of the Redis channels: `ws` by default, as in go-ws.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    /// Creates the bridge. It connects when it runs.
    ///
    /// # Errors
    /// Returns an error if the URL or the prefix cannot be used.
    pub fn build(self) -> Result<RedisBridge, RedisBridgeError> {
        if !(1..=MAX_PREFIX).contains(&self.prefix.len()) {
            return Err(RedisBridgeError::Prefix);
        }
        Ok(RedisBridge {
            client: link::client(&self.url)?,
            names: Names::new(&self.prefix),
            source_id: new_source_id(),
        })
    }
}

impl Bridge for RedisBridge {
    fn run(self: Box<Self>, port: Port) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let outgoing = Outgoing::new(&self.source_id, &self.names);
            let link = Link::new(self.client, &self.names, outgoing.head());
            tokio::join!(
                link.run(outgoing, &port),
                incoming::import_all(&port, &self.source_id, &self.names, &link),
            );
        })
    }
}

/// Returns an id that differs from every other node's.
fn new_source_id() -> String {
    let random = || RandomState::new().hash_one(std::time::SystemTime::now());
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_or_prefix_that_cannot_be_used_is_refused_without_naming_the_password() {
        for url in ["", "http://host", "redis://u:secret@", "redis:/x"] {
            let error = RedisBridge::builder(url).build().unwrap_err().to_string();
            assert!(
                error.starts_with("not a usable Redis URL"),
                "{url}: {error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
        for prefix in ["", &"x".repeat(257)] {
            let bridge = RedisBridge::builder("redis://localhost").prefix(prefix);
            assert!(matches!(bridge.build(), Err(RedisBridgeError::Prefix)));
        }
        assert!(
            RedisBridge::builder("redis://u:p@localhost:6380/1")
                .build()
                .is_ok()
        );
    }

    #[test]
    fn nodes_have_ids_of_their_own() {
        assert_ne!(new_source_id(), new_source_id());
    }
}
