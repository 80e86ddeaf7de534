//! What a watcher is to watch, and how.

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use crate::message::{ChannelName, NameError};

use super::dial::Trust;
use super::track::Wishes;
use super::watcher::Plan;
use super::{Backoff, ChannelLister, Watcher};

/// Why a watcher cannot be made. All that can go wrong later is an [`Event`](super::Event).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The address is not one to connect to.
    #[error("{url:?} is not a WebSocket address such as ws://127.0.0.1:8080/ws: {reason}")]
    Url {
        /// The address, without its query, which may hold a token.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token has characters that no header can have.
    #[error("the token is no text that can be sent in a header")]
    Token,
    /// Nobody can be trusted for a connection over TLS.
    #[error("cannot connect over TLS: {0}")]
    Tls(String),
    /// A channel's name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Makes a [`Watcher`]. See [`Watcher::builder`].
#[derive(Clone)]
#[must_use]
pub struct WatcherBuilder {
    url: String,
    token: Option<String>,
    authorities: Option<Vec<u8>>,
    channels: Vec<String>,
    backoff: Backoff,
    retry: bool,
    raw: bool,
    patience: Duration,
    retries: Option<u32>,
    wishes: Wishes,
}

impl WatcherBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: None,
            authorities: None,
            channels: Vec::new(),
            backoff: Backoff::default(),
            retry: true,
            raw: false,
            patience: Duration::from_secs(75),
            retries: None,
            wishes: Wishes {
                tail: None,
                batch: true,
                resume: true,
            },
        }
    }

    /// Watches one more channel. A name given twice counts once.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channels.push(name.into());
        self
    }

    /// Shows this token to the server, as `Authorization: Bearer …`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Trusts the certificate authorities in this PEM, instead of those that the system trusts. For addresses with `wss://`, which need feature
    /// `tls`.
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// The pauses between attempts to connect.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Whether to connect again when there is no connection; it does by default, and also when the first
    /// attempt fails.
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Attempts to connect in a row that may fail before it ends; no limit by default. A connection on which something came counts anew.
    pub fn retry_limit(mut self, failures: u32) -> Self {
        self.retries = Some(failures);
        self
    }

    /// Begins with up to so many of the last messages that the server has kept of each channel.
    pub fn tail(mut self, messages: u64) -> Self {
        self.wishes.tail = Some(messages);
        self
    }

    /// Whether runs of lines may come in one message, which costs everybody less; they may by default. The items are the same.
    pub fn batch(mut self, batch: bool) -> Self {
        self.wishes.batch = batch;
        self
    }

    /// Whether to number messages, be told of gaps and go on after a break where it left off; it does by default.
    pub fn resume(mut self, resume: bool) -> Self {
        self.wishes.resume = resume;
        self
    }

    /// Whether all messages come as they are, as [`Event::Other`](super::Event::Other).
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// How long a server may be silent before the connection counts as lost: 75 s by default. It is pinged
    /// at 2/5 of that, so that a server that is merely idle is not mistaken for a dead one. The same
    /// patience, but 10 s at most, goes for making a connection.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The watcher, which connects when it is first asked for an item.
    ///
    /// # Errors
    /// When the address or a channel's name is not valid.
    pub fn build(self) -> Result<Watcher, WatchError> {
        let (request, trust) = self.request()?;
        let mut channels = Vec::new();
        for name in &self.channels {
            let name = ChannelName::parse(name)?;
            if !channels.contains(&name) {
                channels.push(name);
            }
        }
        Ok(Watcher::new(Plan {
            request,
            trust,
            channels,
            backoff: self.backoff,
            retry: self.retry,
            raw: self.raw,
            patience: self.patience,
            retries: self.retries,
            wishes: self.wishes,
        }))
    }

    /// What asks the same server for its channels, with the same token and trust.
    ///
    /// # Errors
    /// When the address is not valid.
    pub fn lister(&self) -> Result<ChannelLister, WatchError> {
        let (request, trust) = self.request()?;
        Ok(ChannelLister { request, trust })
    }

    fn request(&self) -> Result<(Request, Trust), WatchError> {
        let wrong = |reason: &str| WatchError::Url {
            url: without_secrets(&self.url).to_owned(),
            reason: reason.to_owned(),
        };
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .map_err(|error| wrong(&error.to_string()))?;
        let trust = match request.uri().scheme_str() {
            Some("ws") => Trust::default(),
            #[cfg(feature = "tls")]
            Some("wss") => Trust::new(self.authorities.as_deref()).map_err(WatchError::Tls)?,
            #[cfg(not(feature = "tls"))]
            Some("wss") => return Err(WatchError::Tls("it is not built in".to_owned())),
            _ => return Err(wrong("it must begin with ws:// or wss://")),
        };
        if let Some(token) = &self.token {
            let header = HeaderValue::try_from(format!("Bearer {token}"));
            let mut header = header.map_err(|_| WatchError::Token)?;
            header.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        Ok((request, trust))
    }
}

impl fmt::Debug for WatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherBuilder")
            .field("url", &without_secrets(&self.url))
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// An address without its query, in which a token may be.
pub(super) fn without_secrets(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
