//! The PROXY protocol over real sockets: whose address a connection has, and what is closed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use outrace::access::TrustedProxies;
use outrace::server::ServeOptions;
use outrace::{Client, Hub};
use outrace_testkit::http::{self, read_response};
use outrace_testkit::{Server, Socket, TIMEOUT, until};

/// The signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Serves a hub that expects the PROXY protocol from these networks.
fn expecting(networks: &[&str]) -> Server {
    let hub = Hub::new();
    let proxies = TrustedProxies::parse(networks).unwrap();
    let options = ServeOptions::new()
        .proxy_protocol(proxies)
        .header_timeout(Duration::from_millis(500));
    Server::with_router(hub.clone(), hub.router(), options)
}

/// Returns a header of version 2 with a command, a family and what follows the length.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

/// Returns the addresses of a connection over IPv4 as version 2 has them.
fn over_ipv4() -> Vec<u8> {
    let mut addresses = vec![192, 0, 2, 7, 10, 0, 0, 1];
    addresses.extend(4711_u16.to_be_bytes());
    addresses.extend(80_u16.to_be_bytes());
    addresses
}

/// Returns the addresses of a connection over IPv6 as version 2 has them.
fn over_ipv6() -> Vec<u8> {
    let mut addresses = Vec::new();
    for text in ["2001:db8::7", "2001:db8::1"] {
        addresses.extend(text.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    addresses.extend(4711_u16.to_be_bytes());
    addresses.extend(80_u16.to_be_bytes());
    addresses
}

fn with_extensions(mut addresses: Vec<u8>, bytes: usize) -> Vec<u8> {
    addresses.push(0x04);
    addresses.extend(u16::try_from(bytes).unwrap().to_be_bytes());
    addresses.resize(addresses.len() + bytes, 0);
    addresses
}

fn refused(server: &Server) -> u64 {
    let refused = server.hub.stats().refused;
    refused.get("PROXY header").copied().unwrap_or_default()
}

fn sole_client(hub: &Hub) -> Arc<Client> {
    let mut found = None;
    until("there is one client", || {
        found = hub.clients().next();
        found.is_some() && hub.clients().len() == 1
    });
    found.unwrap()
}

/// Connects, sends the header in the given pieces, shakes hands, and returns the client's address.
/// `None` stands for that of the connection itself.
fn address_after<'a>(
    server: &Server,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Option<SocketAddr> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        stream.write_all(piece).unwrap();
    }
    let own = stream.local_addr().unwrap();
    let mut socket = Socket::over(stream, Some(""));
    let address = sole_client(&server.hub).address();
    socket.send_text(r#"{"type":"ping"}"#);
    assert!(socket.text().contains("pong"));
    drop(socket);
    until("it has left", || server.hub.clients().len() == 0);
    address.filter(|&address| address != own)
}

#[test]
fn a_trusted_proxy_names_its_client_in_either_version_of_the_proxy_protocol() {
    let server = expecting(&["10.0.0.0/8", "127.0.0.0/8"]);
    let ipv4 = Some("192.0.2.7:4711".parse().unwrap());
    let ipv6 = Some("[2001:db8::7]:4711".parse().unwrap());
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(), ipv4),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n".to_vec(),
            ipv6,
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
        (version_2(1, 0x11, &over_ipv4()), ipv4),
        (version_2(1, 0x21, &over_ipv6()), ipv6),
        (
            version_2(1, 0x11, &with_extensions(over_ipv4(), 3000)),
            ipv4,
        ),
        (version_2(1, 0x31, &[0; 216]), None),
        (version_2(1, 0x00, &[]), None),
        (version_2(0, 0x00, &[]), None),
        (version_2(0, 0x11, &over_ipv4()), None),
    ] {
        let whole = std::iter::once(&header[..]);
        assert_eq!(address_after(&server, whole), expected, "{header:?}");
        assert_eq!(
            address_after(&server, header.chunks(1)),
            expected,
            "byte by byte: {header:?}"
        );
        let halves = header.chunks(header.len() / 2 + 1);
        assert_eq!(address_after(&server, halves), expected, "{header:?}");
    }
    assert_eq!(refused(&server), 0);
}

#[test]
fn a_request_in_one_packet_with_its_header_is_served_and_a_proxy_before_the_proxy_counts_too() {
    let hub = Hub::builder()
        .trusted_proxies(TrustedProxies::parse(["192.0.2.0/24"]).unwrap())
        .build()
        .unwrap();
    let options = ServeOptions::new().proxy_protocol(TrustedProxies::parse(["127.0.0.1"]).unwrap());
    let server = Server::with_router(hub.clone(), hub.router(), options);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .unwrap();
    assert_eq!(read_response(&mut stream).status, 200);

    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n")
        .unwrap();
    let _socket = Socket::over(stream, Some("X-Forwarded-For: 198.51.100.9\r\n"));
    assert_eq!(
        sole_client(&hub).address(),
        Some("198.51.100.9:0".parse().unwrap())
    );
}

#[test]
fn a_connection_of_a_trusted_proxy_without_a_header_is_closed_and_counted() {
    let server = expecting(&["127.0.0.1"]);
    let mut count = 0;
    let mut v2_of_another_version = version_2(1, 0x11, &over_ipv4());
    v2_of_another_version[12] = 0x31;
    for wrong in [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"POST /api/actions HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7\r\n\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\rGET / HTTP/1.1".to_vec(),
        [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
        b"PROXY UNKNOWN".to_vec(),
        SIGNATURE.to_vec(),
        version_2(1, 0x11, &over_ipv4()[..8]),
        version_2(1, 0x55, &over_ipv4()),
        v2_of_another_version,
        b"PRO".to_vec(),
        Vec::new(),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(&wrong).unwrap();
        // A reset is a close too: the server has not read all of it.
        let answered = stream.read(&mut [0; 100]).unwrap_or_default();
        assert_eq!(answered, 0, "{wrong:?}");
        count += 1;
        until("it is counted", || refused(&server) == count);
    }
    // A peer that leaves does not wait for the timeout.
    let left = TcpStream::connect(server.address).unwrap();
    left.shutdown(std::net::Shutdown::Write).unwrap();
    until("it is counted", || refused(&server) == count + 1);
}

#[test]
fn a_peer_that_is_no_trusted_proxy_needs_no_header_and_gets_nowhere_with_one() {
    for server in [expecting(&["10.0.0.0/8"]), Server::new()] {
        assert_eq!(http::get(server.address, "/healthz").status, 200);
        let forged = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n\r\n";
        assert_eq!(http::exchange(server.address, forged).status, 400);
    }
}
