//! The two ends of the connection that a request came on.

use std::net::SocketAddr;

use http::Extensions;

/// The address a request came from, as a request's extension.
///
/// [`server::serve_with`](crate::server::serve_with) adds it to every request. Another server that carries a hub adds it itself, if clients are to have
/// an [address](crate::Client::address) and connections are to be counted by it. Behind a proxy that is trusted, a layer of one's own may put the
/// address in its place that the proxy tells.
///
/// ```
/// # fn add<B>(request: &mut http::Request<B>, accepted_from: std::net::SocketAddr) {
/// request.extensions_mut().insert(outrace::PeerAddress(accepted_from));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub SocketAddr);

impl PeerAddress {
    /// The one among a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get().map(|&Self(address)| address)
    }
}

/// The address of ours that a request was sent to, as a request's extension.
///
/// [`server::serve_with`](crate::server::serve_with) adds it to every request. Where it is a loopback address the hub answers to loopback names alone,
/// and to those of [`HubBuilder::allow_host`](crate::HubBuilder::allow_host).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalAddress(pub SocketAddr);

impl LocalAddress {
    /// The one among a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get().map(|&Self(address)| address)
    }
}
