//! What peers may ask of a server, and what they get when they ask for more: each bound over real sockets, each refusal named and counted.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod sockets;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use outrace::{Hub, PeerAddress};
use sockets::{Server, Socket, until};

/// Asks for a stream and leaves it open.
fn open_stream(address: SocketAddr, path: &str, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(sockets::PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n").as_bytes()).unwrap();
    stream
}

/// A server behind a proxy that names the peer in a header.
fn behind_proxy(hub: &Hub) -> Server {
    let trusting = axum::middleware::map_request(async |mut request: axum::extract::Request| {
        let told = request.headers().get("x-peer").and_then(|peer| peer.to_str().ok()?.parse().ok());
        if let Some(peer) = told {
            request.extensions_mut().insert(PeerAddress(SocketAddr::new(peer, 4711)));
        }
        request
    });
    Server::routed(hub.clone(), hub.router().layer(trusting), Default::default())
}

#[test]
fn clients_and_streams_have_the_address_they_came_from_or_the_one_a_proxy_tells() {
    let hub = Hub::new();
    let server = behind_proxy(&hub);
    let socket = server.connect();
    assert_eq!(server.client(&socket).address(), Some(socket.local_address()));
    let stream = open_stream(server.address, "/api/channels/c/stream", "");
    until("the stream's client is there", || {
        hub.clients().any(|client| client.address() == stream.local_addr().ok())
    });
    let _told = open_stream(server.address, "/api/channels/c/stream", "X-Peer: 2001:db8::7\r\n");
    let _told = Socket::connect_as(server.address, "X-Peer: 192.0.2.7\r\n");
    for address in ["[2001:db8::7]:4711", "192.0.2.7:4711"] {
        let address = Some(address.parse().unwrap());
        until("the client has the address that the proxy told", || {
            hub.clients().any(|client| client.address() == address)
        });
    }
}
