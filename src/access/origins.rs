//! The pages that may send requests (RFC 6455 section 10.2).

use std::net::IpAddr;

use http::header::ORIGIN;
use http::{HeaderMap, Uri};

use super::credentials::sole;
use super::hosts::{host, is_loopback};
use super::origin::{Origin, Place, default_port, parse_scheme};

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
    SameHostOr(Vec<ListedOrigin>),
    Only(Vec<ListedOrigin>),
    Any,
}

/// An origin that an application has listed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ListedOrigin {
    /// This origin.
    Exactly(Origin),
    /// The hosts below that of this origin, at any depth.
    Below(Place),
    /// Every origin of this scheme, which is that of an application.
    OfScheme(String),
}

/// The error for a text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin; an origin is a scheme, a host and optionally a port, \
     such as https://example.org, http://localhost:3000, https://*.example.org, \
     tauri://localhost or vscode-webview://*, or it is null"
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
    /// | an origin such as | admits pages of |
    /// |---|---|
    /// | `https://example.org` | this scheme, this host, and the scheme's default port |
    /// | `http://localhost:3000` | this scheme, this host and this port |
    /// | `https://*.example.org` | the hosts below `example.org`, but not `example.org` itself |
    /// | `tauri://localhost`, `chrome-extension://ID` | an application of this scheme and host |
    /// | `vscode-webview://*` | every host of this scheme, but not of `http` and `https` |
    /// | `null` | every page without an origin: sandboxed frames and local files |
    ///
    /// Any site can put a page into a sandboxed frame. `null` is therefore only for a hub that
    /// requires a token from every client.
    ///
    /// # Errors
    /// Returns an [`OriginError`] for the first text that is not an origin.
    pub fn allow<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        Ok(Self(OriginRule::SameHostOr(list(origins)?)))
    }

    /// Admits pages of these origins, and no others: neither those of the server's own host nor
    /// those of loopback. The origins are written as for [`Origins::allow`].
    ///
    /// ```
    /// use outrace::access::Origins;
    ///
    /// let origins = Origins::only(["https://app.example.org"])?;
    /// let hub = outrace::Hub::builder().origins(origins).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an [`OriginError`] for the first text that is not an origin.
    pub fn only<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        Ok(Self(OriginRule::Only(list(origins)?)))
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
        let (listed, same_host) = match &self.0 {
            OriginRule::SameHost => (&[][..], true),
            OriginRule::SameHostOr(listed) => (&listed[..], true),
            OriginRule::Only(listed) => (&listed[..], false),
            OriginRule::Any => return true,
        };
        if !headers.contains_key(ORIGIN) {
            return true;
        }
        let Some(page) = sole(headers, ORIGIN.as_str()).and_then(Origin::parse) else {
            return false;
        };
        listed.iter().any(|listed| listed.admits(&page))
            || (same_host && is_same_host(&page, headers, uri))
    }
}

/// Parses a list of origins.
fn list<S: AsRef<str>>(
    origins: impl IntoIterator<Item = S>,
) -> Result<Vec<ListedOrigin>, OriginError> {
    let parse = |text: S| {
        let text = text.as_ref();
        ListedOrigin::parse(text).ok_or_else(|| OriginError(text.to_owned()))
    };
    origins.into_iter().map(parse).collect()
}

impl ListedOrigin {
    fn parse(text: &str) -> Option<Self> {
        if let Some(scheme) = text.strip_suffix("://*") {
            // Any site can have an origin of the schemes of the web.
            return parse_scheme(scheme)
                .filter(|scheme| default_port(scheme).is_none())
                .map(Self::OfScheme);
        }
        let Some((scheme, host)) = text.split_once("://*.") else {
            return Origin::parse(text).map(Self::Exactly);
        };
        let place = Place::parse(&format!("{scheme}://{host}"))?;
        // Only the names of a domain are ordered from the right.
        let is_domain = place.host.parse::<IpAddr>().is_err() && !place.host.starts_with('[');
        is_domain.then_some(Self::Below(place))
    }

    fn admits(&self, page: &Origin) -> bool {
        match (self, page) {
            (Self::Exactly(listed), page) => listed == page,
            (Self::Below(domain), Origin(Some(page))) => {
                page.scheme == domain.scheme
                    && page.port == domain.port
                    && page
                        .host
                        .strip_suffix(&domain.host)
                        .and_then(|rest| rest.strip_suffix('.'))
                        .is_some_and(|below| !below.is_empty())
            }
            (Self::OfScheme(scheme), Origin(Some(page))) => page.scheme == *scheme,
            (Self::Below(_) | Self::OfScheme(_), Origin(None)) => false,
        }
    }
}

fn is_same_host(page: &Origin, headers: &HeaderMap, uri: &Uri) -> bool {
    let (Origin(Some(page)), Some(server)) = (page, host(headers, uri)) else {
        return false;
    };
    // Pages of other schemes are applications, which do not come from this server.
    let Some(default_port) = default_port(&page.scheme) else {
        return false;
    };
    if is_loopback(&page.host) && is_loopback(server.host()) {
        return true;
    }
    // A `Host` without a port means the default port of the page's scheme: a proxy may terminate
    // TLS.
    page.host.eq_ignore_ascii_case(server.host())
        && Some(server.port_u16().unwrap_or(default_port)) == page.port
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::super::hosts::tests::headers;
    use super::*;

    #[test]
    fn pages_of_the_servers_own_host_are_let_in_and_others_are_not() {
        let rule = Origins::same_host();
        for (origin, host, expected) in [
            ("http://example.org", "example.org", true),
            ("https://example.org", "example.org", true),
            ("http://example.org:8080", "example.org:8080", true),
            ("http://EXAMPLE.org", "example.ORG", true),
            ("http://localhost:5173", "127.0.0.1:8080", true),
            ("https://app.localhost", "127.0.0.1:8080", true),
            ("http://app.localhost.evil.example", "localhost:8080", false),
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
            "https://u@a",
        ] {
            assert!(Origins::allow([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_origin_that_can_be_named_admits_its_pages_and_no_others() {
        let admits = |rule: &Origins, origin: &str| {
            let headers = headers(&[(ORIGIN, origin), (HOST, "127.0.0.1:8080")]);
            rule.admit(&headers, &Uri::default())
        };
        for origin in [
            "tauri://localhost",
            "capacitor://localhost",
            "app://obsidian.md",
            "app://.",
            "vscode-webview://1f3a0c2e-5b7d-4e6f-8a9b-0c1d2e3f4a5b",
            "vscode-webview://0abc123def456ghi789",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://8f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "file://",
            "null",
            "http://[2001:db8::7]:3000",
            "ftp://files.example.org",
        ] {
            assert!(
                admits(&Origins::allow([origin]).unwrap(), origin),
                "{origin}"
            );
            assert!(
                admits(&Origins::only([origin]).unwrap(), origin),
                "{origin}"
            );
            assert!(!admits(&Origins::same_host(), origin), "{origin}");
            let other = Origins::allow(["tauri://other", "https://example.org"]).unwrap();
            assert!(!admits(&other, origin), "{origin}");
        }
    }

    #[test]
    fn a_star_stands_for_the_hosts_below_a_domain() {
        let rule = Origins::allow(["https://*.Example.org", "http://*.dev.example:3000"]).unwrap();
        for (origin, expected) in [
            ("https://app.example.org", true),
            ("https://a.b.EXAMPLE.org:443", true),
            ("http://x.dev.example:3000", true),
            ("https://example.org", false),
            ("https://.example.org", false),
            ("https://evilexample.org", false),
            ("https://example.org.evil.example", false),
            ("http://app.example.org", false),
            ("https://app.example.org:8443", false),
            ("http://x.dev.example", false),
            ("null", false),
        ] {
            let headers = headers(&[(ORIGIN, origin), (HOST, "127.0.0.1:8080")]);
            assert_eq!(rule.admit(&headers, &Uri::default()), expected, "{origin}");
        }
        for wrong in [
            "https://*",
            "https://*.",
            "https://*.*.org",
            "https://a.*.org",
            "https://a*.example.org",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "*://example.org",
            "*.example.org",
            "https://example.org:*",
            "https://example.org:",
            "https://example.org:99999",
            "https://b\u{fc}cher.example",
            "1http://example.org",
            "tauri://",
            "NULL",
        ] {
            assert!(Origins::allow([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_alone_stands_for_every_host_of_the_scheme_of_an_application() {
        let rule = Origins::only(["vscode-webview://*", "Chrome-Extension://*"]).unwrap();
        for (origin, expected) in [
            (
                "vscode-webview://1f3a0c2e-5b7d-4e6f-8a9b-0c1d2e3f4a5b",
                true,
            ),
            ("chrome-extension://abcdefghijklmnopabcdefghijklmnop", true),
            (
                "moz-extension://8f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
                false,
            ),
            ("vscode-webview-x://a", false),
            ("https://vscode-webview.example", false),
            ("null", false),
        ] {
            let headers = headers(&[(ORIGIN, origin), (HOST, "127.0.0.1:8080")]);
            assert_eq!(rule.admit(&headers, &Uri::default()), expected, "{origin}");
        }
        for wrong in ["http://*", "HTTPS://*", "://*", "1app://*", "tauri://*:1"] {
            assert!(Origins::allow([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exclusive_origins_admit_neither_the_own_host_nor_loopback() {
        let rule = Origins::only(["https://app.example.org"]).unwrap();
        for (origin, host, expected) in [
            ("https://app.example.org", "api.example.org", true),
            ("https://api.example.org", "api.example.org", false),
            ("http://localhost:3000", "127.0.0.1:8080", false),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", false),
        ] {
            let headers = headers(&[(ORIGIN, origin), (HOST, host)]);
            assert_eq!(
                rule.admit(&headers, &Uri::default()),
                expected,
                "{origin} on {host}"
            );
        }
        let no_page = headers(&[(HOST, "api.example.org")]);
        assert!(rule.admit(&no_page, &Uri::default()), "no page");
    }
}
