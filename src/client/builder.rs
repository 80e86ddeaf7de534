//! Builds watchers and listers.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::access::Pattern;
use crate::message::ChannelName;

use super::backoff::Backoff;
use super::connect_options::ConnectOptions;
use super::endpoint::without_query;
use super::error::WatchError;
use super::lister::ChannelLister;
use super::resume_point::ResumePoint;
use super::token_source::TokenSource;
use super::tracked_channel::WatchOptions;
use super::watcher::{Watcher, WatcherConfig};

/// Builds a [`Watcher`] or a [`ChannelLister`]. Returned by [`Watcher::builder`].
///
/// ```
/// use std::time::Duration;
/// use outrace::client::Watcher;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let watcher = Watcher::builder("ws://127.0.0.1:7223/ws")
///     .channel("process:web")
///     .channel("process:db")
///     .tail(100)
///     .idle_timeout(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(watcher.channels().len(), 2);
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone)]
#[must_use]
pub struct WatcherBuilder {
    connect: ConnectOptions,
    channels: Vec<String>,
    patterns: Vec<String>,
    retry: bool,
    retry_limit: Option<u32>,
    raw: bool,
    options: WatchOptions,
    token_source: Option<TokenSource>,
    restored: ResumePoint,
}

impl Watcher {
    /// Returns a builder for a watcher of the server at `url`, such as `ws://127.0.0.1:7223/ws`.
    ///
    /// Where `url` has no WebSocket, as the address of a page, the watcher tries `ws` in it, beside
    /// it and at the root of the server.
    pub fn builder(url: &str) -> WatcherBuilder {
        WatcherBuilder {
            connect: ConnectOptions::new(url, Backoff::default(), Duration::from_secs(75)),
            channels: Vec::new(),
            patterns: Vec::new(),
            retry: true,
            retry_limit: None,
            raw: false,
            options: WatchOptions {
                tail: None,
                batch: true,
                resume: true,
                detail: true,
                partial: false,
            },
            token_source: None,
            restored: ResumePoint::default(),
        }
    }
}

impl WatcherBuilder {
    /// Adds a channel to watch. A name that is given twice counts once.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channels.push(name.into());
        self
    }

    /// Watches all channels whose names fit a [`Pattern`], such as `process:*`, now and later.
    ///
    /// A channel that exists already is watched from now on, or begins with the
    /// [tail](Self::tail). A channel that appears later is watched from its first message. The
    /// server has to list its channels, as every server of this crate does. Otherwise
    /// [`Event::ListFailed`](super::Event::ListFailed) tells the reason. At most 2,000 channels are
    /// watched ([`Event::PatternLimit`](super::Event::PatternLimit)), and no more than the server
    /// lets a client subscribe to: 1,024 by default.
    ///
    /// ```
    /// # use outrace::client::Watcher;
    /// let watcher = Watcher::builder("ws://127.0.0.1:7223/ws").pattern("process:*").build()?;
    /// # Ok::<(), outrace::client::WatchError>(())
    /// ```
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Sends this token to the server, as `Authorization: Bearer …`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.connect.token = Some(token.into());
        self
    }

    /// Asks for the token before each attempt to connect. It takes the place of
    /// [`token`](Self::token).
    ///
    /// The function has 10 s, or the [idle timeout](Self::idle_timeout) if that is shorter. Its
    /// error fails the attempt. When the server does not accept the token (401), the function is
    /// asked again for the next attempt. The watcher ends if it returns the same token then, and
    /// the server refuses that one too. A [lister](Self::lister) uses [`token`](Self::token) alone.
    ///
    /// ```
    /// # use outrace::client::Watcher;
    /// let watcher = Watcher::builder("ws://127.0.0.1:7223/ws")
    ///     .channel("process:web")
    ///     .token_with(|| async {
    ///         let token = tokio::fs::read_to_string("/run/secrets/outrace").await?;
    ///         Ok::<_, std::io::Error>(token.trim().to_owned())
    ///     });
    /// ```
    pub fn token_with<F, W, E>(mut self, ask: F) -> Self
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.token_source = Some(TokenSource::new(ask));
        self
    }

    /// Adds a header to the handshake and to every other request, such as a cookie or what a proxy
    /// wants. A name that is given twice is sent twice.
    ///
    /// [`build`](Self::build) refuses those that belong to the connection: `Host`, `Authorization`,
    /// `Connection`, `Upgrade`, `Sec-WebSocket-…`, and those of a body.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.connect.headers.push((name.into(), value.into()));
        self
    }

    /// Continues where an earlier run of the program stopped: with the messages after those that
    /// [`Watcher::resume_point`] tells of, as far as the server keeps them. It needs
    /// [`resume`](Self::resume), which is on by default.
    ///
    /// Each of its channels begins with an [`Event::Reconnected`](super::Event::Reconnected). A
    /// channel that is not in it begins as usual.
    pub fn resume_from(mut self, point: ResumePoint) -> Self {
        self.restored = point;
        self
    }

    /// Trusts the root certificates in this PEM instead of the system's.
    ///
    /// They apply to addresses with `wss://`, which need the feature `tls`.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connect.root_certificates = Some(pem.into());
        self
    }

    /// Sets the delays between attempts to connect.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.connect.backoff = backoff;
        self
    }

    /// Sets whether the watcher connects again after a failure, also when the first attempt fails.
    /// It does by default, unless the first attempt shows that there is
    /// [no WebSocket server](super::DisconnectReason::NoWebSocket) at the address. A server that
    /// does not accept the token ends the watcher too.
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Ends the watcher when more than this many attempts in a row have failed. There is no limit
    /// by default.
    ///
    /// A connection on which the server sent anything but a close frame resets the count.
    pub fn retry_limit(mut self, failures: u32) -> Self {
        self.retry_limit = Some(failures);
        self
    }

    /// Begins each channel with up to this many of the last messages that the server keeps.
    pub fn tail(mut self, messages: u64) -> Self {
        self.options.tail = Some(messages);
        self
    }

    /// Sets whether the server may send a run of lines as one message. It may by default, which
    /// costs the server, the network and the watcher less. The events are the same.
    pub fn batch(mut self, batch: bool) -> Self {
        self.options.batch = batch;
        self
    }

    /// Sets whether each line tells its stream, and whether it is a piece of a longer one. It does
    /// by default.
    pub fn detail(mut self, detail: bool) -> Self {
        self.options.detail = detail;
        self
    }

    /// Sets whether the line that a process is still writing is shown as it grows, as
    /// [`Event::Partial`](super::Event::Partial). Off by default.
    pub fn partial(mut self, partial: bool) -> Self {
        self.options.partial = partial;
        self
    }

    /// Sets whether messages are numbered, gaps are reported, and a channel continues after a
    /// break with the messages missed. All of this is on by default.
    pub fn resume(mut self, resume: bool) -> Self {
        self.options.resume = resume;
        self
    }

    /// Sets whether every message is returned unparsed, as
    /// [`Event::Other`](super::Event::Other). Off by default.
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// Sets how long the server may be silent before the connection counts as lost: 75 s by
    /// default.
    ///
    /// The watcher pings the server after 2/5 of that time, so that an idle server is not mistaken
    /// for a dead one. An attempt to connect fails after the same time, but after 10 s at most.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.connect.idle_timeout = timeout;
        self
    }

    /// Builds the watcher. It connects when its first event is asked for.
    ///
    /// # Errors
    /// If the address, the token, a header, a root certificate, the name of a channel or a pattern
    /// is not valid, or if the address needs TLS and this build has none.
    pub fn build(self) -> Result<Watcher, WatchError> {
        let endpoint = self.connect.endpoint()?;
        let mut channels = Vec::new();
        for name in &self.channels {
            let name = ChannelName::parse(name)?;
            if !channels.contains(&name) {
                channels.push(name);
            }
        }
        let patterns: Vec<Pattern> = self
            .patterns
            .iter()
            .map(|pattern| pattern.parse())
            .collect::<Result<_, _>>()?;
        let config = WatcherConfig {
            endpoint,
            retry: self.retry,
            retry_limit: self.retry_limit,
            raw: self.raw,
            idle_timeout: self.connect.idle_timeout,
            options: self.options,
            token_source: self.token_source,
        };
        Ok(Watcher::new(
            config,
            channels,
            patterns,
            self.connect.backoff,
            self.restored,
        ))
    }

    /// Builds a lister that asks the same server for its channels, with the same token and root
    /// certificates.
    ///
    /// # Errors
    /// If the address, the token or a root certificate is not valid, or if the address needs TLS
    /// and this build has none.
    pub fn lister(&self) -> Result<ChannelLister, WatchError> {
        Ok(ChannelLister::new(self.connect.endpoint()?))
    }
}

impl fmt::Debug for WatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherBuilder")
            .field("url", &without_query(&self.connect.url))
            .field("channels", &self.channels)
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}
