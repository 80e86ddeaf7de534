//! The errors of the client.

use std::error::Error;

use crate::access::PatternError;
use crate::message::NameError;

/// An error of any type, as the source of a [`ListError`].
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The reason why a watcher, a lister or a publisher cannot be built.
///
/// Failures after that are events: see [`Event::Disconnected`](super::Event::Disconnected).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The address is not a WebSocket address.
    #[error("{url:?} is not a WebSocket address such as ws://127.0.0.1:7223/ws: {reason}")]
    InvalidUrl {
        /// The address without its query, which may hold a token.
        url: String,
        /// The part of the address that is wrong.
        reason: String,
    },
    /// The token contains characters that an HTTP header cannot hold.
    #[error("the token contains characters that an HTTP header cannot hold")]
    InvalidToken,
    /// A header has a name or a value that no header can have, or belongs to the handshake.
    #[error("the header {name:?} cannot be added to a handshake")]
    InvalidHeader {
        /// The name that was given.
        name: String,
    },
    /// The address begins with `wss://`, and this build lacks the feature `tls`.
    #[error("cannot connect over TLS: it is not built in")]
    TlsNotBuiltIn,
    /// The root certificates cannot be used.
    #[error("cannot connect over TLS: {reason}")]
    InvalidRootCertificates {
        /// The reason, from the TLS library.
        reason: String,
    },
    /// Neither the PEM nor the system holds a root certificate, so no server can be trusted.
    #[error("cannot connect over TLS: there is no certificate of an authority to trust")]
    NoRootCertificates,
    /// There is no tokio runtime for the publisher's task.
    #[error("there is no tokio runtime: build the publisher within one")]
    NoRuntime,
    /// A channel's name is not valid.
    #[error(transparent)]
    InvalidChannel(#[from] NameError),
    /// A pattern of channel names is not valid.
    #[error(transparent)]
    InvalidPattern(#[from] PatternError),
}

/// The reason why [`ChannelLister::channels`](super::ChannelLister::channels) returned no list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The connection could not be made, or was lost before the response was complete.
    #[error("cannot connect")]
    Connection(#[source] BoxError),
    /// The response did not come within 10 s.
    #[error("the server did not answer within 10 s")]
    Timeout,
    /// The server answered with this HTTP status instead of 200. It refuses, or does not know the
    /// request.
    #[error("the server answers {0}")]
    Status(u16),
    /// The response is not a list of channels, is not HTTP, or is larger than 32 MiB.
    #[error("the server's answer is not a list of channels")]
    InvalidResponse(#[source] BoxError),
}
