//! Byte streams to a server: TCP, and TLS where the address asks for it.

use std::io;

use http::Uri;
use tokio::net::TcpStream;

use super::tls::{ClientTls, Transport};

/// Connects to the host and port of `uri`. The default ports are 443 for `wss` and 80 otherwise.
pub(super) async fn connect(uri: &Uri, tls: &ClientTls) -> io::Result<Box<dyn Transport>> {
    let default_port = if uri.scheme_str() == Some("wss") {
        443
    } else {
        80
    };
    let host = uri.host().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the address has no host name")
    })?;
    // `Uri` keeps the brackets of an IPv6 address, which the resolver and TLS do not accept.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(default_port))).await?;
    // The client's messages are small and the server's answer depends on them, so Nagle's
    // algorithm would only delay them. A socket that rejects the option still works.
    let _ = tcp.set_nodelay(true);
    tls.wrap(tcp, host).await
}
