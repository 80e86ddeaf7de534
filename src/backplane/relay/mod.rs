//! A relay: a hub that takes its channels from other Outrace servers.
//!
//! A relay subscribes at its upstream server to each channel that has a subscriber here, once,
//! whatever their number. Relays of relays form a tree, in which each link carries a channel once.
//!
//! ```no_run
//! use outrace::Hub;
//! use outrace::backplane::relay::Relay;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let relay = Relay::builder("wss://home.example.org/ws").token("secret").build()?;
//! let hub = Hub::builder().history(10_000).backplane(relay).build()?;
//! hub.start();
//! # Ok(())
//! # }
//! ```
//!
//! # What viewers see
//! The numbering of the upstream server: the same epoch, numbers and timestamps. What the link
//! loses is fetched again from the history of the server. What that does not keep any more is a
//! gap, exact to the unit.
//!
//! # Several upstream servers
//! With more than one [upstream](RelayBuilder::upstream), each channel is taken from the server
//! that lists it with something published to it, the first one in the order of the builder. So a
//! channel has to have a history or a status at its home. The lists are merged. Where two servers
//! have a channel from the same home (the list names the same node, or the same epoch), the other
//! one takes over when the first is gone. A message to all clients comes once from each server.
//!
//! A connection carries at most 1,000 channels. A relay opens further ones for more.
//!
//! # Loops
//! A relay names itself in its handshake (`Outrace-Path`). A server that is a relay too asks its
//! own upstream servers before it accepts, so that a server that finds itself on the path refuses
//! with status 508. The relay says so in its log, and tries again after 30 s. There are at most 16
//! relays in a row.
//!
//! # When the server is gone
//! Viewers keep their connections, and have the history that the relay keeps. The relay connects
//! again, and goes on where it was. A subscription to a channel that the relay does not have is
//! answered after 5 s, and is told the numbering of the server once that is back. In the list of
//! channels, those of a server that is gone are `lost` unless they had ended.

mod cache;
mod channel;
mod decode;
mod directory;
mod lane;
mod list;
mod mailbox;
mod router;
mod upstream;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::directory::RelayDirectory;
use self::router::{LinkSettings, Router};
use self::upstream::Upstream;
use super::{Backplane, Counters, Directory, Node, Report};
use crate::client::{Backoff, ConnectOptions, WatchError};

/// Takes the channels of a hub from other Outrace servers. See the [module](self).
#[derive(Debug)]
pub struct Relay {
    directory: Arc<RelayDirectory>,
    settings: LinkSettings,
    counters: Arc<Counters>,
}

/// Builds a [`Relay`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RelayBuilder {
    connect: ConnectOptions,
    more_urls: Vec<String>,
}

impl Relay {
    /// Returns a builder for a relay of the server at `url`, such as `ws://127.0.0.1:7223/ws`.
    pub fn builder(url: &str) -> RelayBuilder {
        let backoff = Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(5));
        RelayBuilder {
            connect: ConnectOptions::new(url, backoff, Duration::from_secs(15)),
            more_urls: Vec::new(),
        }
    }
}

impl RelayBuilder {
    /// Adds another server to take channels from. It is shown the same [token](Self::token); an
    /// address may hold another one, as `?token=…`.
    pub fn upstream(mut self, url: &str) -> Self {
        self.more_urls.push(url.to_owned());
        self
    }

    /// Sends this token to the servers, as `Authorization: Bearer …`. The relay has the channels
    /// that the token may subscribe to, and passes on orders for the processes that it may control.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.connect.token = Some(token.into());
        self
    }

    /// Trusts the root certificates in this PEM instead of the system's.
    ///
    /// They apply to addresses with `wss://`, which need the feature `tls`.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connect.root_certificates = Some(pem.into());
        self
    }

    /// Sets the delays between attempts to connect: 0.1 s to 5 s by default.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.connect.backoff = backoff;
        self
    }

    /// Sets how long a server may be silent before the connection counts as lost: 15 s by default.
    /// The relay pings the server after 2/5 of that time.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.connect.idle_timeout = timeout;
        self
    }

    /// Builds the relay. It connects when its hub starts.
    ///
    /// # Errors
    /// If an address, the token or a root certificate is not valid, or if an address needs TLS and
    /// this build has none.
    pub fn build(self) -> Result<Relay, WatchError> {
        let mut upstreams = vec![Arc::new(Upstream::new(self.connect.endpoint()?))];
        for url in &self.more_urls {
            let endpoint = self.connect.endpoint_at(url)?;
            upstreams.push(Arc::new(Upstream::new(endpoint)));
        }
        let counters = Counters::new("relay", upstreams.len());
        Ok(Relay {
            directory: Arc::new(RelayDirectory::new(upstreams)),
            settings: LinkSettings {
                backoff: self.connect.backoff,
                idle_timeout: self.connect.idle_timeout,
            },
            counters: Arc::new(counters),
        })
    }
}

impl Backplane for Relay {
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        let directory: Arc<dyn Directory> = Arc::<RelayDirectory>::clone(&self.directory);
        Some(directory)
    }

    fn report(&self) -> Option<Arc<dyn Report>> {
        let counters: Arc<dyn Report> = Arc::<Counters>::clone(&self.counters);
        Some(counters)
    }

    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let upstreams = self.directory.upstreams().to_vec();
        Box::pin(Router::new(node, upstreams, self.settings, self.counters).run())
    }
}
