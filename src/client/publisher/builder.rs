//! Builds publishers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Publisher;
use super::account::Account;
use super::task::Task;
use crate::client::backoff::Backoff;
use crate::client::endpoint::{Endpoint, without_query};
use crate::client::error::WatchError;

/// Builds a [`Publisher`]. Returned by [`Publisher::connect`].
#[derive(Clone)]
#[must_use]
pub struct PublisherBuilder {
    url: String,
    token: Option<String>,
    root_certificates: Option<Vec<u8>>,
    backoff: Backoff,
    queue_bytes: usize,
    linger: Duration,
}

impl Publisher {
    /// Returns a builder for a publisher to the server at `url`, which is the address of its
    /// WebSocket such as `ws://127.0.0.1:7223/ws`. The messages go to `api/actions` beside it.
    pub fn connect(url: &str) -> PublisherBuilder {
        PublisherBuilder {
            url: url.to_owned(),
            token: None,
            root_certificates: None,
            backoff: Backoff::default(),
            queue_bytes: 8 << 20,
            linger: Duration::from_secs(5),
        }
    }
}

impl PublisherBuilder {
    /// Sends this token to the server, as `Authorization: Bearer …`.
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

    /// Sets the delays between attempts to reach the server.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the room for messages that have no outcome yet, in bytes of their JSON. It is 8 MiB by
    /// default, at least 1 KiB, and at most 512 MiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Sets how long the task sends what waits after the last handle was dropped. It is 5 s by
    /// default.
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Starts the publisher's task in the current runtime. It connects with the first message.
    ///
    /// # Errors
    /// If the address, the token or the certificates cannot be used, or there is no tokio runtime.
    pub fn build(self) -> Result<Publisher, WatchError> {
        let endpoint = Endpoint::new(
            &self.url,
            self.token.as_deref(),
            self.root_certificates.as_deref(),
        )?;
        let runtime = Handle::try_current().map_err(|_| WatchError::NoRuntime)?;
        let limit = self
            .queue_bytes
            .clamp(1 << 10, Semaphore::MAX_PERMITS.min(512 << 20));
        let account = Arc::new(Account::new(limit));
        let (queue, waiting) = mpsc::unbounded_channel();
        let url = endpoint.shown_url().into();
        let (alive, gone) = oneshot::channel();
        let task = Task::new(endpoint, waiting, Arc::clone(&account), self.backoff);
        runtime.spawn(task.run(gone, self.linger));
        Ok(Publisher {
            queue,
            account,
            url,
            alive: Arc::new(alive),
        })
    }
}

impl fmt::Debug for PublisherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherBuilder")
            .field("url", &without_query(&self.url))
            .field("queue_bytes", &self.queue_bytes)
            .finish_non_exhaustive()
    }
}
