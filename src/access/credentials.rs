//! What a request shows of who sends it.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Uri, request};

use super::PeerAddress;

/// What a request shows of who sends it: its address, its headers and where it comes from.
///
/// [`fmt::Debug`] shows the path and the peer, and nothing that may be secret.
#[derive(Clone)]
pub struct Credentials {
    uri: Uri,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
}

impl Credentials {
    /// What a request's head shows. The peer is known if a [`PeerAddress`] is among its extensions.
    pub fn of(head: &request::Parts) -> Self {
        Self {
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            peer: PeerAddress::of(&head.extensions),
        }
    }

    /// The request's address, with its query. A `token` in it is a secret: see that it gets into no log.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The request's headers, with their secrets.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Where it comes from; `None` when the server did not say. Behind a proxy this is the proxy.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The token of `Authorization: Bearer …` (RFC 6750 section 2.1). None when there are several such headers.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = sole(&self.headers, AUTHORIZATION.as_str())?.split_once(' ')?;
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }

    /// The first `token` of the query, percent-decoded: browsers can send no header with a WebSocket handshake. A `+` stands for itself.
    pub fn query_token(&self) -> Option<Cow<'_, str>> {
        let pairs = self.uri.query()?.split('&');
        let token = pairs
            .filter_map(|pair| pair.strip_prefix("token="))
            .next()?;
        percent_decoded(token).filter(|token| !token.is_empty())
    }

    /// The bearer token, or if there is none that of the query.
    pub fn token(&self) -> Option<Cow<'_, str>> {
        self.bearer()
            .map(Cow::Borrowed)
            .or_else(|| self.query_token())
    }

    /// The key in `X-API-Key`. None when there are several such headers.
    pub fn api_key(&self) -> Option<&str> {
        sole(&self.headers, "x-api-key")
            .map(str::trim)
            .filter(|key| !key.is_empty())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("path", &self.uri.path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A header's value, if it is there once and is text.
pub(super) fn sole<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => Some(value),
        _ => None,
    }
}

/// None when an escape is broken or the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn shown(uri: &str, headers: &[(&str, &str)]) -> Credentials {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Credentials::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_bearer_token_is_found_in_any_case_of_its_scheme_and_nowhere_else() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(
                shown("/ws", &[("authorization", header)]).bearer(),
                expected,
                "{header}"
            );
        }
        let two = shown(
            "/ws",
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        );
        assert_eq!(
            two.bearer(),
            None,
            "which of the two is not for us to guess"
        );
    }

    #[test]
    fn a_token_in_the_query_is_percent_decoded() {
        for (uri, expected) in [
            ("/ws?token=abc", Some("abc")),
            ("/ws?tail=3&token=a%2Bb%3d+c", Some("a+b=+c")),
            ("/ws?token=%C3%A9", Some("é")),
            ("/ws?token=", None),
            ("/ws?token=%", None),
            ("/ws?token=%2", None),
            ("/ws?token=%+f", None),
            ("/ws?token=%ff", None),
            ("/ws?atoken=abc", None),
            ("/ws", None),
        ] {
            assert_eq!(shown(uri, &[]).query_token().as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn a_bearer_token_counts_before_one_in_the_query() {
        let both = shown("/ws?token=query", &[("authorization", "Bearer header")]);
        assert_eq!(both.token().as_deref(), Some("header"));
        assert_eq!(
            shown("/ws?token=query", &[]).token().as_deref(),
            Some("query")
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let credentials = shown(
            "/ws?token=SECRET",
            &[
                ("authorization", "Bearer SECRET"),
                ("x-api-key", "SECRET"),
                ("cookie", "SECRET"),
            ],
        );
        let text = format!("{credentials:?}");
        assert!(text.contains("/ws") && !text.contains("SECRET"), "{text}");
    }

    proptest! {
        #[test]
        fn every_text_survives_being_percent_encoded(text in "\\PC{1,40}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let uri = format!("/ws?token={encoded}");
            let shown = shown(&uri, &[]);
            prop_assert_eq!(shown.query_token(), Some(Cow::Borrowed(text.as_str())));
        }
    }
}
