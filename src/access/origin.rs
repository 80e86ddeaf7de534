//! The origin of a page (RFC 6454).

use std::net::Ipv6Addr;

/// An origin (RFC 6454): scheme and host in lower case, and the port, which is explicit here if the
/// scheme has a default. `None` stands for `null`, the origin of a page that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin(pub(super) Option<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scheme: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Origin {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self(None));
        }
        Place::parse(text).map(|place| Self(Some(place)))
    }
}

impl Place {
    /// Parses `scheme://host` or `scheme://host:port`. An origin has no path and no query. The host
    /// of `file://` is empty.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = parse_scheme(scheme)?;
        // The colons of an IPv6 address are within brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_host = match host.strip_prefix('[') {
            Some(address) => address
                .strip_suffix(']')
                .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
            None => host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
        };
        if !is_host || (host.is_empty() && text != "file://") {
            return None;
        }
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None => default_port(&scheme),
        };
        Some(Self {
            host: host.to_ascii_lowercase(),
            scheme,
            port,
        })
    }
}

/// Returns a scheme in lower case (RFC 3986 section 3.1).
pub(super) fn parse_scheme(text: &str) -> Option<String> {
    let is_scheme = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then(|| text.to_ascii_lowercase())
}

pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
