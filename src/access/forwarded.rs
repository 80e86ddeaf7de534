//! The address of a client behind proxies that are trusted to name it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::FORWARDED;
use http::{HeaderMap, request};

use super::PeerAddress;
use super::peer::ConnectionPeer;

/// The networks of proxies that are trusted to name the address of a client, in `X-Forwarded-For`
/// or `Forwarded` (RFC 7239).
///
/// The address that is found is that of [`Client::address`](crate::Client::address) and of
/// [`Credentials::peer`](super::Credentials::peer), and the limit of connections for each address
/// counts it. It is the last one in the header that is not itself a trusted proxy: what stands
/// before it was written by the client, which can claim anything. A header from any other peer is
/// ignored.
///
/// `X-Forwarded-For` counts before `Forwarded`. A proxy that writes only `Forwarded` therefore has
/// to remove `X-Forwarded-For` from what its clients send.
///
/// ```
/// use outrace::access::TrustedProxies;
///
/// let proxies = TrustedProxies::parse(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])?;
/// let hub = outrace::Hub::builder().trusted_proxies(proxies).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

/// The error for a text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network; a network is an IP address, or one with a prefix such as 10.0.0.0/8")]
pub struct NetworkError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl TrustedProxies {
    /// Parses networks, each an IP address or one with the length of its prefix.
    ///
    /// # Errors
    /// Returns a [`NetworkError`] for the first text that is not a network.
    pub fn parse<S: AsRef<str>>(
        networks: impl IntoIterator<Item = S>,
    ) -> Result<Self, NetworkError> {
        let parse = |text: S| {
            let text = text.as_ref();
            Network::parse(text).ok_or_else(|| NetworkError(text.to_owned()))
        };
        networks
            .into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Replaces the peer address of a request by that of the client behind trusted proxies.
    pub(crate) fn resolve(&self, head: &mut request::Parts) {
        if self.0.is_empty() {
            return;
        }
        let Some(peer) = PeerAddress::of(&head.extensions) else {
            return;
        };
        let client = self.client(peer, &head.headers);
        if client != peer {
            head.extensions.insert(ConnectionPeer(peer));
            head.extensions.insert(PeerAddress(client));
        }
    }

    /// Returns the address of the client of a request that `peer` has sent.
    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = peer;
        let mut named = named(headers).into_iter().rev();
        while self.trust(client.ip()) {
            match named.next() {
                Some(Some(address)) => client = address,
                // A hop without an address hides all before it.
                Some(None) | None => break,
            }
        }
        client
    }

    /// Whether an address is that of a trusted proxy.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|&prefix: &u32| prefix <= bits)?
            }
            Some(_) => return None,
            None => bits,
        };
        Some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - self.prefix;
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - self.prefix;
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// Returns the addresses that the proxies have named, the nearest last. `None` is one that cannot
/// be read, such as `unknown`. Empty elements do not count (RFC 9110 section 5.6.1).
fn named(headers: &HeaderMap) -> Vec<Option<SocketAddr>> {
    let values = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    };
    let simple: Vec<_> = values("x-forwarded-for")
        .iter()
        .flat_map(|value| elements(value, ','))
        .map(node)
        .collect();
    if !simple.is_empty() {
        return simple;
    }
    values(FORWARDED.as_str())
        .iter()
        .flat_map(|value| elements(value, ','))
        .map(|element| {
            elements(element, ';').into_iter().find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then(|| node(value))
            })?
        })
        .collect()
}

/// Splits a list at the separators that are not within a quoted string, and leaves out the empty
/// elements.
///
/// A quotation that does not end is none: a client could otherwise hide what its proxy appends.
fn elements(list: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let ends = |c: char| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = is_quoted && c == '\\';
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    };
    let mut elements: Vec<_> = list.split(ends).collect();
    if is_quoted {
        elements = list.split(separator).collect();
    }
    elements
        .into_iter()
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .collect()
}

/// Parses the name of a node (RFC 7239 section 6): an address with or without a port. The port is 0
/// where there is none, or a name such as `_port`.
fn node(text: &str) -> Option<SocketAddr> {
    let text = text.trim().trim_matches('"');
    if let Ok(address) = SocketAddr::from_str(text) {
        return Some(address);
    }
    let text = text.split_once(":_").map_or(text, |(address, _)| address);
    let address = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    Some(SocketAddr::new(address.parse().ok()?, 0))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_client() {
        let proxies = TrustedProxies::parse(["127.0.0.1", "10.0.0.0/8", "fd00::/8"]).unwrap();
        let x = "x-forwarded-for";
        for (peer, headers, expected) in [
            ("127.0.0.1:5", &[(x, "192.0.2.7")][..], "192.0.2.7:0"),
            ("127.0.0.1:5", &[(x, "192.0.2.7:99")], "192.0.2.7:99"),
            ("127.0.0.1:5", &[(x, "2001:db8::1")], "[2001:db8::1]:0"),
            (
                "127.0.0.1:5",
                &[(x, "[2001:db8::1]:99")],
                "[2001:db8::1]:99",
            ),
            (
                "127.0.0.1:5",
                &[(x, "6.6.6.6, 192.0.2.7, 10.1.2.3")],
                "192.0.2.7:0",
            ),
            (
                "127.0.0.1:5",
                &[(x, "6.6.6.6"), (x, "192.0.2.7")],
                "192.0.2.7:0",
            ),
            (
                "127.0.0.1:5",
                &[(x, "6.6.6.6, unknown, 10.1.2.3")],
                "10.1.2.3:0",
            ),
            ("127.0.0.1:5", &[(x, "garbage")], "127.0.0.1:5"),
            ("127.0.0.1:5", &[], "127.0.0.1:5"),
            ("[::ffff:127.0.0.1]:5", &[(x, "192.0.2.7")], "192.0.2.7:0"),
            ("[fd00::1]:5", &[(x, "192.0.2.7")], "192.0.2.7:0"),
            ("192.0.2.9:5", &[(x, "192.0.2.7")], "192.0.2.9:5"),
            ("11.0.0.1:5", &[(x, "192.0.2.7")], "11.0.0.1:5"),
            (
                "10.0.0.1:5",
                &[("forwarded", "for=192.0.2.7;proto=http")],
                "192.0.2.7:0",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", "For=6.6.6.6, by=x; FOR=\"[2001:db8::1]:4711\"")],
                "[2001:db8::1]:4711",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", "for=6.6.6.6, for=_hidden")],
                "10.0.0.1:5",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", "for=6.6.6.6"), (x, "192.0.2.7")],
                "192.0.2.7:0",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", r#"for="192.0.2.7:_gazonk""#)],
                "192.0.2.7:0",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", r#"by=_b;for="[2001:db8::1]:_p""#)],
                "[2001:db8::1]:0",
            ),
            ("10.0.0.1:5", &[(x, "6.6.6.6, , 192.0.2.7,")], "192.0.2.7:0"),
            (
                "10.0.0.1:5",
                &[("forwarded", "for=192.0.2.7"), (x, " ")],
                "192.0.2.7:0",
            ),
            (
                "10.0.0.1:5",
                &[(
                    "forwarded",
                    r#"host="a;for=6.6.6.6, for=6.6.6.6";for="192.0.2.7:80""#,
                )],
                "192.0.2.7:80",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", r#"host="a\";for=6.6.6.6";for=192.0.2.7"#)],
                "192.0.2.7:0",
            ),
            (
                "10.0.0.1:5",
                &[("forwarded", r#"for="6.6.6.6, for=192.0.2.7"#)],
                "192.0.2.7:0",
            ),
            (
                "10.0.0.1:5",
                &[
                    ("forwarded", r#"for="6.6.6.6"#),
                    ("forwarded", "for=192.0.2.7"),
                ],
                "192.0.2.7:0",
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            let found = proxies.client(peer.parse().unwrap(), &map);
            assert_eq!(found, expected.parse().unwrap(), "{peer} {headers:?}");
        }
    }

    #[test]
    fn a_network_is_an_address_with_or_without_a_prefix() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "::1", "192.0.2.7/32"] {
            assert!(TrustedProxies::parse([text]).is_ok(), "{text}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "host",
        ] {
            assert!(TrustedProxies::parse([text]).is_err(), "{text}");
        }
        let all = TrustedProxies::parse(["0.0.0.0/0"]).unwrap();
        assert!(all.trust("255.1.2.3".parse().unwrap()) && !all.trust("::1".parse().unwrap()));
    }
}
