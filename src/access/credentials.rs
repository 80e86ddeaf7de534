//! The parts of a request that identify its sender.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{Extensions, Uri, request};
use percent_encoding::percent_decode_str;

use super::{AuthError, Identity, PeerAddress};

/// The parts of a request that identify its sender: its URI, its headers, its peer address, and
/// what the application's own layers have found out.
///
/// The `Debug` output has the path and the peer, and nothing that may be secret.
#[derive(Clone)]
pub struct Credentials {
    uri: Uri,
    pub(super) headers: HeaderMap,
    extensions: Extensions,
    peer: Option<SocketAddr>,
}

impl Credentials {
    /// Copies the credentials from a request's head. The peer is known if the extensions contain a
    /// [`PeerAddress`].
    pub fn of(head: &request::Parts) -> Self {
        Self {
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            extensions: head.extensions.clone(),
            peer: PeerAddress::of(&head.extensions),
        }
    }

    /// Returns the request's URI with its query. The query may contain a secret `token`, so the URI
    /// must not be logged.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the request's headers, including their secrets.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the request's extensions: what layers of the application have added to it, such as a
    /// session.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Returns the value of a cookie (RFC 6265 section 5.4), as it was sent but for quotes around
    /// it. The first one counts if there are several of the name. `None` if a `Cookie` header is
    /// not text.
    ///
    /// ```
    /// use outrace::access::{AuthError, Identity, from_fn};
    ///
    /// let sessions = from_fn(|credentials| {
    ///     let user = credentials.cookie("session").and_then(user_of);
    ///     user.map(Identity::new).ok_or(AuthError::Missing)
    /// });
    /// # fn user_of(session: &str) -> Option<String> { None }
    /// # let _ = outrace::Hub::builder().authenticator(sessions);
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers.get_all(COOKIE).iter();
        let pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| {
                let quoted = value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'));
                quoted.unwrap_or(value)
            })
    }

    /// Returns the address that the request came from: behind a proxy, the proxy's. `None` if the
    /// server did not provide it.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the token of `Authorization: Bearer …` (RFC 6750 section 2.1). `None` if there are
    /// several `Authorization` headers.
    pub fn bearer(&self) -> Option<&str> {
        const BLANKS: [char; 2] = [' ', '\t'];
        let (scheme, token) = sole(&self.headers, AUTHORIZATION.as_str())?.split_once(BLANKS)?;
        let token = token.trim_matches(BLANKS);
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }

    /// Returns the first `token` of the query that is not empty. Its name and its value are
    /// percent-decoded. A `+` stands for itself.
    ///
    /// The query is for browsers, which can set no header on a WebSocket handshake. A token with an
    /// invalid escape, or that is not UTF-8, does not count.
    pub fn query_token(&self) -> Option<Cow<'_, str>> {
        self.query_tokens().next()
    }

    fn query_tokens(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        pairs
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                (percent_decoded(name)? == "token").then(|| percent_decoded(value))?
            })
            .filter(|token| !token.is_empty())
    }

    /// Returns the token in `X-Outrace-Token`, for clients behind a proxy that needs
    /// `Authorization` for itself. `None` if there are several such headers.
    pub fn token_header(&self) -> Option<&str> {
        header_value(&self.headers, TOKEN_HEADER)
    }

    /// Returns the token among the offered subprotocols: the rest of `outrace.token.…`,
    /// percent-decoded.
    ///
    /// It is for browsers that should not have the token in an address. Such a page offers
    /// `outrace` too, which the hub chooses: a browser requires that one of its offers is chosen,
    /// and the token is never repeated. Returns `None` under the conditions of
    /// [`query_token`](Self::query_token).
    pub fn subprotocol_token(&self) -> Option<Cow<'_, str>> {
        let token = offered_subprotocols(&self.headers)
            .find_map(|offer| offer.strip_prefix(SUBPROTOCOL_TOKEN))?;
        percent_decoded(token).filter(|token| !token.is_empty())
    }

    /// Returns the first of the [`tokens`](Self::tokens).
    pub fn token(&self) -> Option<Cow<'_, str>> {
        self.tokens().next()
    }

    /// Returns every token and key of the request, in this order: [`bearer`](Self::bearer),
    /// [`token_header`](Self::token_header), [`api_key`](Self::api_key),
    /// [`subprotocol_token`](Self::subprotocol_token), and each `token` of the query.
    ///
    /// A request may carry several, of which one is meant for a proxy. The authenticators of this
    /// crate accept a request if they accept any of them.
    pub fn tokens(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let headers = [self.bearer(), self.token_header(), self.api_key()];
        headers
            .into_iter()
            .flatten()
            .map(Cow::Borrowed)
            .chain(self.subprotocol_token())
            .chain(self.query_tokens())
    }

    /// Returns the key in `X-API-Key`. `None` if there are several such headers.
    pub fn api_key(&self) -> Option<&str> {
        header_value(&self.headers, KEY_HEADER)
    }

    /// Checks the [`tokens`](Self::tokens) in order. Returns the first identity, or the most
    /// specific error.
    pub(super) fn check(
        &self,
        check: impl Fn(&str) -> Result<Identity, AuthError>,
    ) -> Result<Identity, AuthError> {
        let mut refusal = AuthError::Missing;
        for token in self.tokens() {
            match check(&token) {
                Ok(identity) => return Ok(identity),
                Err(error) => refusal = refusal.or_more_specific(error),
            }
        }
        Err(refusal)
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

pub(super) const TOKEN_HEADER: &str = "x-outrace-token";
pub(super) const KEY_HEADER: &str = "x-api-key";

/// The beginning of a subprotocol that carries a token.
const SUBPROTOCOL_TOKEN: &str = "outrace.token.";

/// Returns the subprotocols that a client offers, in its order of preference (RFC 6455 section
/// 11.3.4).
pub(crate) fn offered_subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|offer| !offer.is_empty())
}

/// Whether a subprotocol carries a token.
pub(crate) fn is_token_subprotocol(name: &str) -> bool {
    name.starts_with(SUBPROTOCOL_TOKEN)
}

/// Returns the value of a header that occurs exactly once, without blanks around it.
fn header_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    sole(headers, name)
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// Returns the value of a header that occurs exactly once and is text.
pub(super) fn sole<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => Some(value),
        _ => None,
    }
}

/// Percent-decodes a text. Returns `None` for an invalid escape, which the decoder would keep as it
/// is, and for a result that is not UTF-8.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    let digits_follow = |rest: &str| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(digits_follow) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn credentials(uri: &str, headers: &[(&str, &str)]) -> Credentials {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Credentials::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_among_all_cookies() {
        let credentials = credentials(
            "/ws",
            &[
                ("cookie", "session=a=b; xsession=no;quoted=\"q\"; empty="),
                ("cookie", "later=1; session=second"),
            ],
        );
        for (name, value) in [
            ("session", Some("a=b")),
            ("quoted", Some("q")),
            ("empty", Some("")),
            ("later", Some("1")),
            ("sess", None),
            ("Session", None),
        ] {
            assert_eq!(credentials.cookie(name), value, "{name}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_in_any_case_of_its_scheme_and_nowhere_else() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc ", Some("abc")),
            ("Bearer\tabc", Some("abc")),
            ("Bearer \t abc\t", Some("abc")),
            ("Bearer\t", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(
                credentials("/ws", &[("authorization", header)]).bearer(),
                expected,
                "{header}"
            );
        }
        let two = credentials(
            "/ws",
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        );
        assert_eq!(two.bearer(), None, "two headers are ambiguous");
    }

    #[test]
    fn a_token_in_the_query_is_percent_decoded() {
        for (uri, expected) in [
            ("/ws?token=abc", Some("abc")),
            ("/ws?tail=3&token=a%2Bb%3d+c", Some("a+b=+c")),
            ("/ws?token=%C3%A9", Some("é")),
            ("/ws?%74ok%65n=abc", Some("abc")),
            ("/ws?%=x&token=abc", Some("abc")),
            ("/ws?token=&token=abc", Some("abc")),
            ("/ws?token=%&token=abc", Some("abc")),
            ("/ws?token=abc&token=def", Some("abc")),
            ("/ws?token=", None),
            ("/ws?token=%", None),
            ("/ws?token=%2", None),
            ("/ws?token=%+f", None),
            ("/ws?token=%ff", None),
            ("/ws?atoken=abc", None),
            ("/ws", None),
        ] {
            assert_eq!(
                credentials(uri, &[]).query_token().as_deref(),
                expected,
                "{uri}"
            );
        }
    }

    #[test]
    fn every_token_of_a_request_is_found_in_the_order_in_which_they_count() {
        let all = credentials(
            "/ws?token=query&token=more",
            &[
                ("authorization", "Bearer header"),
                ("x-api-key", "key"),
                ("x-outrace-token", " own "),
                ("sec-websocket-protocol", "chat, outrace"),
                ("sec-websocket-protocol", "outrace.token.a%2Fb%3D"),
            ],
        );
        let tokens: Vec<_> = all.tokens().collect();
        assert_eq!(tokens, ["header", "own", "key", "a/b=", "query", "more"]);
        assert_eq!(all.token().as_deref(), Some("header"));
        assert_eq!(
            credentials("/ws?token=query", &[]).token().as_deref(),
            Some("query")
        );
        let basic = credentials(
            "/ws",
            &[("authorization", "Basic dTpw"), ("x-outrace-token", "t")],
        );
        assert_eq!(basic.token().as_deref(), Some("t"));
        for offer in [
            "outrace.token.",
            "outrace.token.%",
            "outrace.tokens.a",
            "outrace",
        ] {
            let offered = credentials("/ws", &[("sec-websocket-protocol", offer)]);
            assert_eq!(offered.token(), None, "{offer}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let credentials = credentials(
            "/ws?token=SECRET",
            &[
                ("authorization", "Bearer SECRET"),
                ("x-api-key", "SECRET"),
                ("x-outrace-token", "SECRET"),
                ("sec-websocket-protocol", "outrace.token.SECRET"),
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
            let credentials = credentials(&uri, &[]);
            prop_assert_eq!(credentials.query_token(), Some(Cow::Borrowed(text.as_str())));
        }
    }
}
