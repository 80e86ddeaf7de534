//! The subprotocols that a hub chooses from the offers of a client (RFC 6455 section 1.9).

use http::{HeaderMap, HeaderValue};

use super::credentials::{is_token_subprotocol, offered_subprotocols};

/// The subprotocol that every hub knows. A page that offers a token offers this name too, because
/// a browser requires that one of its offers is chosen.
const OWN: &str = "outrace";

/// The names of subprotocols that the application speaks.
#[derive(Debug, Default)]
pub(crate) struct Subprotocols(Vec<String>);

impl Subprotocols {
    pub(crate) fn add(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// Returns the first name that no response may have: it is not a token (RFC 9110 section
    /// 5.6.2), or it would carry a secret.
    pub(crate) fn first_unusable(&self) -> Option<&str> {
        let is_usable = |name: &str| {
            !name.is_empty()
                && !is_token_subprotocol(name)
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        self.0
            .iter()
            .map(String::as_str)
            .find(|name| !is_usable(name))
    }

    /// Chooses the first offer that is known. Without one, none is chosen, and a client that needs
    /// one ends the connection. An offer that carries a token is never chosen, so that no response
    /// repeats the token.
    pub(crate) fn choose(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        offered_subprotocols(headers)
            .filter(|offer| !is_token_subprotocol(offer))
            .find(|&offer| offer == OWN || self.0.iter().any(|name| name == offer))
            .and_then(|offer| HeaderValue::from_str(offer).ok())
    }
}
