//! Tokens that a function of the application checks.

use std::fmt;
use std::future::{Future, ready};

use super::{AuthError, AuthFuture, Authenticator, Credentials, Identity};

type CheckToken = dyn Fn(&str) -> AuthFuture<'static> + Send + Sync;

/// Checks the token of a request with a function of the application.
///
/// The function is called for each token in [`Credentials::tokens`], until it accepts one: that of
/// `Authorization: Bearer …` first, that of `?token=…` last. A browser can set no header on a
/// WebSocket handshake.
///
/// A function that compares tokens should do so in constant time.
/// [`ApiKeys`](super::ApiKeys) and [`TokenTable`](super::TokenTable) already do.
///
/// ```
/// use outrace::access::{AuthError, Bearer, Identity};
///
/// let sessions = Bearer::with(|token| {
///     let token = token.to_owned();
///     async move { user_of(&token).await.map(Identity::new).ok_or(AuthError::Invalid) }
/// });
/// # async fn user_of(token: &str) -> Option<String> { None }
/// # let _ = outrace::Hub::builder().authenticator(sessions);
/// ```
pub struct Bearer(Box<CheckToken>);

impl Bearer {
    /// Creates an authenticator with a synchronous function.
    pub fn new<F>(check: F) -> Self
    where
        F: Fn(&str) -> Result<Identity, AuthError> + Send + Sync + 'static,
    {
        Self(Box::new(move |token| Box::pin(ready(check(token)))))
    }

    /// Creates an authenticator with an asynchronous function. The future has the time and the
    /// cancel safety of [`Authenticator`].
    pub fn with<F, W>(check: F) -> Self
    where
        F: Fn(&str) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Identity, AuthError>> + Send + 'static,
    {
        Self(Box::new(move |token| Box::pin(check(token))))
    }
}

impl Authenticator for Bearer {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(async move {
            let mut refusal = AuthError::Missing;
            for token in credentials.tokens() {
                match (self.0)(&token).await {
                    Ok(identity) => return Ok(identity),
                    Err(error) => refusal = refusal.or_more_specific(error),
                }
            }
            Err(refusal)
        })
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").finish_non_exhaustive()
    }
}
