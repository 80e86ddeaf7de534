//! Authentication by the token of the query alone.

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use super::credentials::{KEY_HEADER, TOKEN_HEADER};
use super::{AuthFuture, Authenticator, Credentials};

/// An authenticator that sees no other token than those of the query. Returned by
/// [`Authenticator::query_only`].
#[derive(Debug, Clone)]
pub struct QueryOnly<A>(A);

impl<A> QueryOnly<A> {
    pub(super) fn new(authenticator: A) -> Self {
        Self(authenticator)
    }
}

impl<A: Authenticator> Authenticator for QueryOnly<A> {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(async move {
            let narrowed = credentials.without_header_tokens();
            self.0.authenticate(&narrowed).await
        })
    }
}

impl Credentials {
    /// Returns a copy without the tokens that stand in headers.
    fn without_header_tokens(&self) -> Self {
        let mut copy = self.clone();
        for name in [
            AUTHORIZATION.as_str(),
            SEC_WEBSOCKET_PROTOCOL.as_str(),
            TOKEN_HEADER,
            KEY_HEADER,
        ] {
            copy.headers.remove(name);
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::tests::credentials;
    use super::super::{ApiKeys, AuthError, Bearer, Identity};
    use super::*;

    const HEADERS: [(&str, &str); 4] = [
        ("authorization", "Bearer right"),
        ("x-api-key", "right"),
        ("x-outrace-token", "right"),
        ("sec-websocket-protocol", "outrace, outrace.token.right"),
    ];

    async fn user(
        authenticator: &dyn Authenticator,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<String, AuthError> {
        let identity = authenticator.authenticate(&credentials(uri, headers)).await;
        identity.map(|identity| identity.user().to_owned())
    }

    #[tokio::test]
    async fn a_token_counts_in_the_query_alone_for_every_authenticator() {
        let keys = ApiKeys::new().key("right", "alice");
        let bearer = Bearer::new(|token| match token {
            "right" => Ok(Identity::new("alice")),
            _ => Err(AuthError::Invalid),
        });
        let authenticators: [Box<dyn Authenticator>; 2] =
            [Box::new(keys.query_only()), Box::new(bearer.query_only())];
        for authenticator in &authenticators {
            for header in HEADERS {
                let refused = user(authenticator, "/ws", &[header]).await;
                assert_eq!(refused, Err(AuthError::Missing), "{header:?}");
                let wrong = user(authenticator, "/ws?token=wrong", &[header]).await;
                assert_eq!(wrong, Err(AuthError::Invalid), "{header:?}");
            }
            let alice = user(authenticator, "/ws?token=right", &HEADERS).await;
            assert_eq!(alice.as_deref(), Ok("alice"));
        }
    }
}
