//! What a watcher is to watch, and how.

use std::time::Duration;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::message::{ChannelName, NameError};

use super::watcher::Plan;
use super::{Backoff, Watcher};

/// Why a watcher cannot be made. All that can go wrong later is an [`Item`](super::Item).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The address is not one to connect to.
    #[error("{url:?} is not a WebSocket address such as ws://127.0.0.1:8080/ws: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A channel's name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Makes a [`Watcher`]. See [`Watcher::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct WatcherBuilder {
    url: String,
    channels: Vec<String>,
    backoff: Backoff,
    retry: bool,
    raw: bool,
    patience: Duration,
}

impl WatcherBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            channels: Vec::new(),
            backoff: Backoff::default(),
            retry: true,
            raw: false,
            patience: Duration::from_secs(75),
        }
    }

    /// Watches one more channel. A name given twice counts once.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channels.push(name.into());
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

    /// Whether all messages come as they are, as [`Item::Other`](super::Item::Other).
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
        let wrong = |reason: &str| WatchError::Url { url: self.url.clone(), reason: reason.to_owned() };
        let request = self.url.as_str().into_client_request().map_err(|error| wrong(&error.to_string()))?;
        match request.uri().scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(wrong("TLS is not built in")),
            _ => return Err(wrong("it must begin with ws://")),
        }
        let mut channels = Vec::new();
        for name in &self.channels {
            let name = ChannelName::parse(name)?;
            if !channels.contains(&name) {
                channels.push(name);
            }
        }
        Ok(Watcher::new(Plan {
            request,
            channels,
            backoff: self.backoff,
            retry: self.retry,
            raw: self.raw,
            patience: self.patience,
        }))
    }
}
