//! The limits of the accept loop.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::ConfigError;
use crate::access::TrustedProxies;
use crate::config::{MAX_DURATION, check_duration, check_range};

/// The smallest header limit: hyper's HTTP/1 parser accepts no smaller buffer.
const MIN_HEADER_BYTES: usize = 8 * 1024;
/// The largest header limit.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// The shortest timeout.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// The limits of [`serve_with`](super::serve_with), and its TLS certificate.
///
/// Every limit has a default and a range. [`serve_with`](super::serve_with) refuses a limit that is
/// out of range; [`check`](Self::check) tells earlier.
///
/// ```
/// use std::time::Duration;
/// use outrace::server::ServeOptions;
///
/// let options = ServeOptions::new()
///     .max_requests(1000)
///     .header_timeout(Duration::from_secs(5));
/// assert!(options.check().is_ok());
/// assert!(options.header_bytes(1).check().is_err());
/// ```
#[derive(Debug, Clone)]
pub struct ServeOptions {
    pub(super) header_timeout: Duration,
    pub(super) header_bytes: usize,
    pub(super) max_requests: usize,
    pub(super) request_timeout: Duration,
    pub(super) proxies: TrustedProxies,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::Tls>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            max_requests: 4096,
            request_timeout: Duration::from_secs(60),
            proxies: TrustedProxies::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ServeOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the header of a request may take to arrive: 10 s by default, from 1 ms to a
    /// year.
    ///
    /// The time of the first request begins when its connection is accepted. A connection that
    /// exceeds it is closed.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// Sets the maximum size of a request's header in bytes: 16 KiB by default, from 8 KiB to
    /// 1 MiB. A longer header is answered with 431.
    #[must_use]
    pub fn header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes;
        self
    }

    /// Sets the maximum number of connections that are neither a WebSocket nor a stream: 4,096 by
    /// default, at least 1.
    ///
    /// A connection counts until it becomes a WebSocket or a stream. At the limit no connection is
    /// accepted; new ones wait in the system's queue.
    #[must_use]
    pub fn max_requests(mut self, connections: usize) -> Self {
        self.max_requests = connections;
        self
    }

    /// Sets how long a request may take, from its header to the end of its response: 60 s by
    /// default, from 1 ms to a year.
    ///
    /// The effective timeout is at least one second longer than
    /// [`header_timeout`](Self::header_timeout). A connection that exceeds it is cut, because a
    /// peer that does not read its response would hold the connection forever. The limit does not
    /// apply to the streams of a hub. It does apply to an endless response of the application's
    /// router.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Expects the PROXY protocol, version 1 or 2, from these proxies. By default from none.
    ///
    /// Each connection of such a proxy has to begin with the protocol's header, which names the
    /// [address](crate::PeerAddress) of the client, and is closed otherwise. The header comes
    /// before a TLS handshake, and has to arrive within
    /// [`header_timeout`](Self::header_timeout). A connection of the proxy itself, such as a health
    /// check (`LOCAL` or `UNKNOWN`), keeps the proxy's address. Connections of other peers are
    /// served without the protocol: a header from them is answered with 400.
    ///
    /// ```
    /// use outrace::access::TrustedProxies;
    /// use outrace::server::ServeOptions;
    ///
    /// let proxies = TrustedProxies::parse(["10.0.0.0/8"])?;
    /// let options = ServeOptions::new().proxy_protocol(proxies);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn proxy_protocol(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Serves TLS with this certificate, and refuses plain connections.
    ///
    /// The TLS handshake has to finish within [`header_timeout`](Self::header_timeout).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: super::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Checks that every limit is within its range.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] names the first limit that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_range(
            "header_bytes",
            self.header_bytes,
            MIN_HEADER_BYTES,
            MAX_HEADER_BYTES,
        )?;
        check_range("max_requests", self.max_requests, 1, Semaphore::MAX_PERMITS)?;
        check_duration(
            "header_timeout",
            self.header_timeout,
            MIN_TIMEOUT,
            MAX_DURATION,
        )?;
        check_duration(
            "request_timeout",
            self.request_timeout,
            MIN_TIMEOUT,
            MAX_DURATION,
        )
    }
}
