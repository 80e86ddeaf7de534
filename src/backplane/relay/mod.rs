//! A relay: a hub that takes its channels from another Outrace server.
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
//! # When the server is gone
//! Viewers keep their connections, and have the history that the relay keeps. The relay connects
//! again, and goes on where it was. A subscription to a channel that the relay does not have is
//! answered after 5 s, and is told the numbering of the server once that is back.

mod channel;
mod decode;
mod directory;
mod upstream;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::directory::UpstreamDirectory;
use self::upstream::UpstreamTask;
use super::{Backplane, Counters, Directory, Node, Report};
use crate::client::{Backoff, Endpoint, WatchError};

/// Takes the channels of a hub from another Outrace server. See the [module](self).
#[derive(Debug)]
pub struct Relay {
    endpoint: Endpoint,
    directory: Arc<UpstreamDirectory>,
    backoff: Backoff,
    idle_timeout: Duration,
    counters: Arc<Counters>,
}

/// Builds a [`Relay`].
#[derive(Clone)]
#[must_use]
pub struct RelayBuilder {
    url: String,
    token: Option<String>,
    root_certificates: Option<Vec<u8>>,
    backoff: Backoff,
    idle_timeout: Duration,
}

impl Relay {
    /// Returns a builder for a relay of the server at `url`, such as `ws://127.0.0.1:7223/ws`.
    pub fn builder(url: &str) -> RelayBuilder {
        RelayBuilder {
            url: url.to_owned(),
            token: None,
            root_certificates: None,
            backoff: Backoff::new(Duration::from_millis(100), 2.0, Duration::from_secs(5)),
            idle_timeout: Duration::from_secs(15),
        }
    }
}

impl RelayBuilder {
    /// Sends this token to the server, as `Authorization: Bearer …`. The relay has the channels
    /// that the token may subscribe to.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Trusts the root certificates in this PEM instead of the system's.
    ///
    /// They apply to addresses with `wss://`, which need the feature `tls`.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Sets the delays between attempts to connect: 0.1 s to 5 s by default.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long the server may be silent before the connection counts as lost: 15 s by
    /// default. The relay pings the server after 2/5 of that time.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Builds the relay. It connects when its hub starts.
    ///
    /// # Errors
    /// If the address, the token or a root certificate is not valid, or if the address needs TLS
    /// and this build has none.
    pub fn build(self) -> Result<Relay, WatchError> {
        let endpoint = Endpoint::new(
            &self.url,
            self.token.as_deref(),
            self.root_certificates.as_deref(),
        )?;
        Ok(Relay {
            directory: Arc::new(UpstreamDirectory::new(endpoint.clone())),
            endpoint,
            backoff: self.backoff,
            idle_timeout: self.idle_timeout,
            counters: Arc::new(Counters::new("relay", 1)),
        })
    }
}

impl std::fmt::Debug for RelayBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayBuilder").finish_non_exhaustive()
    }
}

impl Backplane for Relay {
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        let directory: Arc<dyn Directory> = Arc::<UpstreamDirectory>::clone(&self.directory);
        Some(directory)
    }

    fn report(&self) -> Option<Arc<dyn Report>> {
        let counters: Arc<dyn Report> = Arc::<Counters>::clone(&self.counters);
        Some(counters)
    }

    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let Self {
            endpoint,
            directory,
            backoff,
            idle_timeout,
            counters,
        } = *self;
        Box::pin(async move {
            let upstream =
                UpstreamTask::new(node.clone(), endpoint, backoff, idle_timeout, counters);
            tokio::join!(upstream.run(), directory.follow(&node));
        })
    }
}
