//! The pages that may send requests (RFC 6455 section 10.2), and the host names of the server.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};

use super::credentials::sole;
use super::peer::Reach;

/// The pages that may send requests to a hub.
///
/// A browser sends the page's origin in the header `Origin`. Requests without this header are
/// admitted, because they do not come from a page.
///
/// ```
/// use outrace::access::Origins;
///
/// let origins = Origins::allow(["https://app.example.org"])?;
/// let hub = outrace::Hub::builder().origins(origins).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(OriginRule);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum OriginRule {
    #[default]
    SameHost,
    SameHostOr(Vec<Origin>),
    Any,
}

/// An origin (RFC 6454): scheme and host in lower case, and the port, which is explicit here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// The error for a text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin; an origin is a scheme, a host and optionally a port, \
     such as https://example.org or http://localhost:3000"
)]
pub struct OriginError(String);

impl Origins {
    /// Admits pages of the host and port that the request is sent to; on loopback, of any port.
    /// This is the default.
    pub fn same_host() -> Self {
        Self(OriginRule::SameHost)
    }

    /// Admits the pages of [`Origins::same_host`], and pages of these origins.
    ///
    /// An origin is a scheme, a host and optionally a port, such as `https://example.org`.
    ///
    /// # Errors
    /// Returns an [`OriginError`] for the first text that is not an origin.
    pub fn allow<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        let read =
            |text: S| origin(text.as_ref()).ok_or_else(|| OriginError(text.as_ref().to_owned()));
        Ok(Self(OriginRule::SameHostOr(
            origins.into_iter().map(read).collect::<Result<_, _>>()?,
        )))
    }

    /// Admits every page.
    ///
    /// Any page that a user visits can then send requests from the user's browser, and reaches
    /// whatever that browser can reach. Use it only for a hub that requires a token from every
    /// client.
    pub fn any() -> Self {
        Self(OriginRule::Any)
    }

    /// Whether a request with these headers is admitted.
    pub(super) fn admit(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let (listed, any) = match &self.0 {
            OriginRule::SameHost => (&[][..], false),
            OriginRule::SameHostOr(listed) => (&listed[..], false),
            OriginRule::Any => (&[][..], true),
        };
        if any || !headers.contains_key(ORIGIN) {
            return true;
        }
        let Some(page) = sole(headers, ORIGIN.as_str()).and_then(origin) else {
            return false;
        };
        listed.contains(&page) || is_same_host(&page, headers, uri)
    }
}

fn is_same_host(page: &Origin, headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(server) = host(headers, uri) else {
        return false;
    };
    if is_loopback(&page.host) && is_loopback(server.host()) {
        return true;
    }
    // A `Host` without a port means the default port of the page's scheme: a proxy may terminate
    // TLS.
    page.host.eq_ignore_ascii_case(server.host())
        && server.port_u16().or_else(|| default_port(&page.scheme)) == Some(page.port)
}

/// Returns the host that the request is addressed to. HTTP/2 has it in the URI instead of a header.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    if headers.contains_key(HOST) {
        sole(headers, HOST.as_str())?.parse().ok()
    } else {
        uri.authority().cloned()
    }
}

/// Parses an origin.
fn origin(text: &str) -> Option<Origin> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    // An origin has no path and no query.
    let is_origin = text.len() == scheme.len() + "://".len() + authority.as_str().len();
    if !is_origin || authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = authority.port_u16().or_else(|| default_port(scheme))?;
    Some(Origin {
        scheme: scheme.to_ascii_lowercase(),
        host: authority.host().to_ascii_lowercase(),
        port,
    })
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn is_loopback(host: &str) -> bool {
    let host = unbracketed(host);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The host names by which a server may be addressed, beyond the loopback names.
///
/// They guard against DNS rebinding. A foreign page can let its own name resolve to a loopback
/// address. The browser then treats the page and the server as one origin, but `Host` still has the
/// page's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    allowed: Vec<String>,
    any: bool,
}

impl Hosts {
    /// Adds a name. A port in it is ignored. `*` allows every name.
    pub(crate) fn allow(&mut self, name: &str) {
        if name == "*" {
            self.any = true;
            return;
        }
        let authority = name.parse::<Authority>().ok();
        let name = authority.as_ref().map_or(name, Authority::host);
        self.allowed.push(unbracketed(name).to_ascii_lowercase());
    }

    /// Whether a request that came over such a connection is admitted.
    ///
    /// Over loopback, the host has to be a loopback name or one of the added names. Over the
    /// network that is required only after a name has been added. Over an unknown connection, which
    /// may be loopback, an IP address is admitted too: only a name can be rebound.
    pub(super) fn admit(&self, headers: &HeaderMap, uri: &Uri, reach: Reach) -> bool {
        if self.any || (reach == Reach::Network && self.allowed.is_empty()) {
            return true;
        }
        let Some(host) = host(headers, uri) else {
            return false;
        };
        let name = unbracketed(host.host());
        is_loopback(name)
            || self
                .allowed
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name))
            || (reach == Reach::Unknown
                && self.allowed.is_empty()
                && name.parse::<IpAddr>().is_ok())
    }
}

/// Returns a host without the brackets of an IPv6 address.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn pages_of_the_servers_own_host_are_let_in_and_others_are_not() {
        let rule = Origins::same_host();
        for (origin, host, expected) in [
            ("http://example.org", "example.org", true),
            ("https://example.org", "example.org", true),
            ("http://example.org:8080", "example.org:8080", true),
            ("http://EXAMPLE.org", "example.ORG", true),
            ("http://localhost:5173", "127.0.0.1:8080", true),
            ("http://[::1]:5173", "localhost:8080", true),
            ("http://evil.example", "example.org", false),
            ("http://evil.example", "127.0.0.1:8080", false),
            ("http://example.org:8081", "example.org:8080", false),
            ("http://localhost.evil.example", "localhost:8080", false),
            ("http://127.0.0.1.evil.example", "localhost:8080", false),
            ("http://localhost@evil.example", "localhost:8080", false),
            ("http://evil@example.org", "example.org", false),
            ("ftp://example.org", "example.org", false),
            ("http://example.org/path", "example.org", false),
            ("null", "example.org", false),
            ("garbage garbage", "example.org", false),
            ("", "example.org", false),
        ] {
            let headers = headers(&[(ORIGIN, origin), (HOST, host)]);
            assert_eq!(
                rule.admit(&headers, &Uri::default()),
                expected,
                "{origin} on {host}"
            );
        }
        assert!(
            rule.admit(&headers(&[(HOST, "example.org")]), &Uri::default()),
            "a client that is not a browser sends no origin"
        );
        let two = headers(&[(ORIGIN, "http://a"), (ORIGIN, "http://evil"), (HOST, "a")]);
        assert!(
            !rule.admit(&two, &Uri::default()),
            "two origins are ambiguous"
        );
    }

    #[test]
    fn listed_origins_are_let_in_exactly_as_they_are_listed() {
        let rule =
            Origins::allow(["https://app.example.org", "http://other.example:3000"]).unwrap();
        for (origin, expected) in [
            ("https://app.example.org", true),
            ("https://APP.example.org:443", true),
            ("http://other.example:3000", true),
            ("http://127.0.0.1:9", true),
            ("http://app.example.org", false),
            ("https://app.example.org:8443", false),
            ("https://sub.app.example.org", false),
            ("http://other.example", false),
            ("null", false),
        ] {
            let headers = headers(&[(ORIGIN, origin), (HOST, "127.0.0.1:8080")]);
            assert_eq!(rule.admit(&headers, &Uri::default()), expected, "{origin}");
        }
        assert!(Origins::any().admit(&headers(&[(ORIGIN, "null"), (HOST, "a")]), &Uri::default()));
        for wrong in [
            "example.org",
            "https://",
            "https://a/b",
            "https://a?b",
            "*",
            "",
            "foo://a",
            "https://u@a",
        ] {
            assert!(Origins::allow([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_listens_on_loopback_answers_to_loopback_names_alone() {
        let local = |text: &str| {
            let mut extensions = http::Extensions::new();
            extensions.insert(super::super::LocalAddress(text.parse().unwrap()));
            Reach::of(&extensions)
        };
        let none = Hosts::default();
        let mut named = Hosts::default();
        named.allow("App.example.org:8080");
        for (host, listens, by_default, if_named) in [
            ("127.0.0.1:8080", local("127.0.0.1:8080"), true, true),
            ("localhost:8080", local("127.0.0.1:8080"), true, true),
            ("[::1]:8080", local("[::1]:8080"), true, true),
            ("localhost", local("[::ffff:127.0.0.1]:8080"), true, true),
            ("evil.example:8080", local("127.0.0.1:8080"), false, false),
            (
                "evil.example:8080",
                local("[::ffff:127.0.0.1]:8080"),
                false,
                false,
            ),
            ("localhost.evil.example", local("[::1]:8080"), false, false),
            ("app.example.org", local("127.0.0.1:8080"), false, true),
            ("192.0.2.7:8080", local("192.0.2.7:8080"), true, false),
            ("app.example.org:8080", local("192.0.2.7:8080"), true, true),
            ("anything", Reach::Unknown, false, false),
            ("app.example.org", Reach::Unknown, false, true),
            ("localhost:8080", Reach::Unknown, true, true),
            ("192.0.2.7:8080", Reach::Unknown, true, false),
            ("[2001:db8::7]:8080", Reach::Unknown, true, false),
            ("192.0.2.7.evil.example", Reach::Unknown, false, false),
        ] {
            let headers = headers(&[(HOST, host)]);
            assert_eq!(
                none.admit(&headers, &Uri::default(), listens),
                by_default,
                "{host} at {listens:?}"
            );
            assert_eq!(
                named.admit(&headers, &Uri::default(), listens),
                if_named,
                "{host} at {listens:?}, named"
            );
        }
        assert!(
            !none.admit(&headers(&[]), &Uri::default(), Reach::Loopback),
            "a missing name is refused"
        );
        let two = headers(&[(HOST, "localhost"), (HOST, "evil.example")]);
        assert!(!none.admit(&two, &Uri::default(), Reach::Loopback));
        let http2 = |uri: &str| none.admit(&headers(&[]), &uri.parse().unwrap(), Reach::Loopback);
        assert!(http2("http://localhost:8080/ws") && !http2("http://evil.example/ws"));
        let mut any = Hosts::default();
        any.allow("*");
        assert!(any.admit(&two, &Uri::default(), Reach::Loopback));
    }
}
