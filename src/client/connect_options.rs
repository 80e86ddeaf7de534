//! The settings of every connection to a server.

use std::fmt;
use std::time::Duration;

use super::backoff::Backoff;
use super::endpoint::{Endpoint, without_query};
use super::error::WatchError;

/// The settings that a watcher and a relay share: who the server is, how to be let in, and how to
/// hold the connection.
#[derive(Clone)]
pub(crate) struct ConnectOptions {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    /// Headers to add to every request.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) root_certificates: Option<Vec<u8>>,
    pub(crate) backoff: Backoff,
    pub(crate) idle_timeout: Duration,
}

impl ConnectOptions {
    pub(crate) fn new(url: &str, backoff: Backoff, idle_timeout: Duration) -> Self {
        Self {
            url: url.to_owned(),
            token: None,
            headers: Vec::new(),
            root_certificates: None,
            backoff,
            idle_timeout,
        }
    }

    /// Returns the server at the address.
    ///
    /// # Errors
    /// If the address, the token or a root certificate is not valid, or if the address needs TLS
    /// and this build has none.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, WatchError> {
        self.endpoint_at(&self.url)
    }

    /// Returns the server at another address, which is shown the same token.
    ///
    /// # Errors
    /// The same as of [`endpoint`](Self::endpoint).
    pub(crate) fn endpoint_at(&self, url: &str) -> Result<Endpoint, WatchError> {
        let mut endpoint = Endpoint::new(
            url,
            self.token.as_deref(),
            self.root_certificates.as_deref(),
        )?;
        endpoint.add_headers(&self.headers)?;
        Ok(endpoint)
    }
}

/// Shows no token.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("url", &without_query(&self.url))
            .field("backoff", &self.backoff)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}
