//! The PROXY protocol, versions 1 and 2: the header by which a proxy names its client before the
//! first byte of the connection.

use std::io;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const CONFIG: ParseConfig = ParseConfig {
    include_tlvs: false,
    allow_v1: true,
    allow_v2: true,
};

/// The bytes that are looked at in one call. A header without extensions is shorter.
const CHUNK_BYTES: usize = 256;

/// Reads the header of a connection. Returns the address of the client, or `None` if the proxy
/// itself is the client, as for a health check.
///
/// Reads no byte beyond the header. The connection therefore needs no buffer in front of it, and a
/// WebSocket on it is still a plain TCP socket.
///
/// # Errors
/// Returns an error if the connection fails, ends, or begins with anything else.
///
/// # Cancel safety
/// Dropping the future may lose a part of the header.
pub(super) async fn read(tcp: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let peeked = tcp.peek(&mut chunk).await?;
        if peeked == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let taken = header.len();
        header.extend_from_slice(&chunk[..peeked]);
        match ProxyHeader::parse(&header, CONFIG) {
            Ok((parsed, length)) => {
                let client = parsed.proxied_address().map(|address| address.source);
                // What was taken before was too short, so the header ends within this chunk.
                tcp.read_exact(&mut chunk[..length - taken]).await?;
                return Ok(client);
            }
            // All of it belongs to the header. It is taken, so that the next call waits for more.
            Err(Error::BufferTooShort) => {
                tcp.read_exact(&mut chunk[..peeked]).await?;
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}
