//! From which pages, and by which names, the server may be reached (RFC 6455 section 10.2).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::Uri;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;

use super::credentials::sole;

/// The pages that may talk to a hub. A browser says in `Origin` which page it acts for; programs that are no browsers send none, and are let
/// through whatever the rule is.
///
/// ```
/// use outrace::access::Origins;
///
/// let hub = outrace::Hub::builder().origins(Origins::allow(["https://app.example.org"])?).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Rule);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Rule {
    #[default]
    SameHost,
    Also(Vec<Origin>),
    Any,
}

/// An origin (RFC 6454): scheme, host and port, in lower case and with the port always there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin: it has to be a scheme, a host and perhaps a port, such as https://example.org or http://localhost:3000"
)]
pub struct OriginError(String);

impl Origins {
    /// The default: pages of the host and port that the request itself is sent to. On loopback those of any port.
    pub fn same_host() -> Self {
        Self(Rule::SameHost)
    }

    /// Those of [`Origins::same_host`], and these.
    ///
    /// # Errors
    /// One of them is no origin.
    pub fn allow<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        let read =
            |text: S| origin(text.as_ref()).ok_or_else(|| OriginError(text.as_ref().to_owned()));
        Ok(Self(Rule::Also(
            origins.into_iter().map(read).collect::<Result<_, _>>()?,
        )))
    }

    /// Any page. Whatever a visitor of any page can reach with their browser, that page can: only for a hub whose every client shows a token.
    pub fn any() -> Self {
        Self(Rule::Any)
    }

    /// Whether a request with these headers may pass.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let (listed, any) = match &self.0 {
            Rule::SameHost => (&[][..], false),
            Rule::Also(listed) => (&listed[..], false),
            Rule::Any => (&[][..], true),
        };
        if any || !headers.contains_key(ORIGIN) {
            return true;
        }
        let Some(page) = sole(headers, ORIGIN.as_str()).and_then(origin) else {
            return false;
        };
        listed.contains(&page) || is_same_host(&page, headers)
    }
}

fn is_same_host(page: &Origin, headers: &HeaderMap) -> bool {
    let Some(server) = host(headers) else {
        return false;
    };
    if is_loopback(&page.host) && is_loopback(server.host()) {
        return true;
    }
    // Behind a proxy that ends TLS the page's scheme says which port the host means.
    page.host.eq_ignore_ascii_case(server.host())
        && server.port_u16().or_else(|| default_port(&page.scheme)) == Some(page.port)
}

/// What the request says it is sent to.
fn host(headers: &HeaderMap) -> Option<Authority> {
    sole(headers, HOST.as_str())?.parse().ok()
}

fn origin(text: &str) -> Option<Origin> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    // An origin ends where its authority does.
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
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The names under which a server may be addressed.
///
/// A foreign page can have its own name point at a loopback address (DNS rebinding): to the browser it is then of the same site as the
/// server. What gives it away is the name in `Host`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    pub(crate) fn allow(&mut self, name: &str) {
        // Of a name with a port, which is no part of it, the name.
        let authority = name.parse::<Authority>().ok();
        let name = authority.as_ref().map_or(name, Authority::host);
        self.0.push(
            name.trim_start_matches('[')
                .trim_end_matches(']')
                .to_ascii_lowercase(),
        );
    }

    /// Whether a request that came to this address may pass. What listens on loopback is addressed by a loopback name; anything else
    /// only has to fit once names have been said.
    pub(super) fn admit(&self, headers: &HeaderMap, local: Option<SocketAddr>) -> bool {
        let is_local = local.is_some_and(|address| address.ip().to_canonical().is_loopback());
        if !is_local && self.0.is_empty() {
            return true;
        }
        let Some(host) = host(headers) else {
            return false;
        };
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        is_loopback(name)
            || self
                .0
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
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
            assert_eq!(rule.admit(&headers), expected, "{origin} on {host}");
        }
        assert!(
            rule.admit(&headers(&[(HOST, "example.org")])),
            "no browser, no origin"
        );
        let two = headers(&[(ORIGIN, "http://a"), (ORIGIN, "http://evil"), (HOST, "a")]);
        assert!(
            !rule.admit(&two),
            "which of two origins counts is not for us to guess"
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
            assert_eq!(rule.admit(&headers), expected, "{origin}");
        }
        assert!(Origins::any().admit(&headers(&[(ORIGIN, "null"), (HOST, "a")])));
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
        let local = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
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
            ("anything", None, true, false),
        ] {
            let headers = headers(&[(HOST, host)]);
            assert_eq!(
                none.admit(&headers, listens),
                by_default,
                "{host} at {listens:?}"
            );
            assert_eq!(
                named.admit(&headers, listens),
                if_named,
                "{host} at {listens:?}, named"
            );
        }
        assert!(
            !none.admit(&headers(&[]), local("127.0.0.1:1")),
            "no name is none of ours"
        );
        let two = headers(&[(HOST, "localhost"), (HOST, "evil.example")]);
        assert!(!none.admit(&two, local("127.0.0.1:1")));
    }
}
