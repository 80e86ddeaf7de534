//! The host names by which a server may be addressed.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};

use super::credentials::sole;
use super::peer::Reach;

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

/// Returns the host that the request is addressed to. HTTP/2 has it in the URI instead of a header.
pub(super) fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    if headers.contains_key(HOST) {
        sole(headers, HOST.as_str())?.parse().ok()
    } else {
        uri.authority().cloned()
    }
}

/// Returns whether the host is an address of loopback or a name of it: `localhost` and the names
/// under it, which nobody can register (RFC 6761). `app.localhost` is usual in development.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = unbracketed(host);
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit_once('.').map_or(name, |(_, top)| top);
    top.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Returns a host without the brackets of an IPv6 address.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
pub(super) mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    pub(in crate::access) fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
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
            ("app.LocalHost:8080", local("127.0.0.1:8080"), true, true),
            ("localhost.:8080", local("127.0.0.1:8080"), true, true),
            ("notlocalhost:8080", local("127.0.0.1:8080"), false, false),
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
