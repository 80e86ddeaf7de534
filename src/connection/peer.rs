//! Where a request came from.

use std::net::SocketAddr;

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
