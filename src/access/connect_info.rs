//! The peer address that axum knows. The only file here that names axum: a hub that any axum
//! application serves has to find it, also in [`Hub::upgrade`](crate::Hub::upgrade).

use std::net::SocketAddr;

use http::Extensions;

/// Returns the address that axum's `into_make_service_with_connect_info::<SocketAddr>` has added.
#[cfg(feature = "server")]
pub(super) fn connect_info(extensions: &Extensions) -> Option<SocketAddr> {
    use axum::extract::ConnectInfo;
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|&ConnectInfo(peer)| peer)
}

#[cfg(not(feature = "server"))]
pub(super) fn connect_info(_: &Extensions) -> Option<SocketAddr> {
    None
}
