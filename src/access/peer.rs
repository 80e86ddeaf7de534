//! The addresses of the two ends of a request's connection.

use std::net::SocketAddr;

use http::Extensions;

/// The address that a request came from, as an extension of the request.
///
/// `server::serve_with` adds it to every request. Any other server has to add it, so that clients
/// have an [address](crate::Client::address) and connections are limited per address. Behind a
/// trusted proxy, a layer of the application may replace it with the address that the proxy
/// reports.
///
/// ```
/// # fn add<B>(request: &mut http::Request<B>, accepted_from: std::net::SocketAddr) {
/// request.extensions_mut().insert(outrace::PeerAddress(accepted_from));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub SocketAddr);

impl PeerAddress {
    /// Returns the address among a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get().map(|&Self(address)| address)
    }
}

/// The local address that a request was sent to, as an extension of the request.
///
/// `server::serve_with` adds it to every request. If it is a loopback address, the hub accepts only
/// requests whose `Host` is a loopback name or one of
/// [`HubBuilder::allow_host`](crate::HubBuilder::allow_host).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalAddress(pub SocketAddr);

impl LocalAddress {
    /// Returns the address among a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get().map(|&Self(address)| address)
    }
}
