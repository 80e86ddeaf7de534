//! The addresses of the two ends of a request's connection.

use std::net::SocketAddr;

use http::Extensions;

use super::connect_info::connect_info;

/// The address that a request came from, as an extension of the request.
///
/// `server::serve_with` adds it to every request. Any other server has to add it, so that clients
/// have an [address](crate::Client::address) and connections are limited per address. With
/// `axum::serve`, `into_make_service_with_connect_info::<SocketAddr>()` is enough. Behind a
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
    /// Returns the address among a request's extensions: this one, or axum's `ConnectInfo`.
    pub(crate) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions
            .get()
            .map(|&Self(address)| address)
            .or_else(|| connect_info(extensions))
    }
}

/// The peer address of the connection itself, after a trusted proxy has named its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionPeer(pub(super) SocketAddr);

/// The kind of connection that a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Over loopback: every page in a browser on this machine can send such a request.
    Loopback,
    /// From another machine, or to an address that other machines can reach.
    Network,
    /// The server has added no address to the request.
    Unknown,
}

impl Reach {
    /// Determines the kind from the addresses among a request's extensions.
    ///
    /// The address of the connection counts before a [`PeerAddress`], which a layer may have
    /// replaced with one that a header of the request names.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let address = LocalAddress::of(extensions)
            .or_else(|| connect_info(extensions))
            .or_else(|| extensions.get().map(|&ConnectionPeer(address)| address))
            .or_else(|| PeerAddress::of(extensions));
        match address {
            Some(address) if address.ip().to_canonical().is_loopback() => Self::Loopback,
            Some(_) => Self::Network,
            None => Self::Unknown,
        }
    }
}

/// The local address that a request was sent to, as an extension of the request.
///
/// `server::serve_with` adds it to every request. If it is a loopback address, the hub accepts only
/// requests whose `Host` is a loopback name or one of
/// [`HubBuilder::allow_host`](crate::HubBuilder::allow_host). Without this extension, a loopback
/// peer (axum's `ConnectInfo<SocketAddr>` or a [`PeerAddress`]) means the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalAddress(pub SocketAddr);

impl LocalAddress {
    /// Returns the address among a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<SocketAddr> {
        extensions.get().map(|&Self(address)| address)
    }
}
