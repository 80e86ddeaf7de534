//! Tokens that the application knows how to judge.

use std::fmt;
use std::future::{Future, ready};

use super::{AuthError, AuthFuture, Authenticator, Credentials, Identity};

type Judge = dyn Fn(&str) -> AuthFuture<'static> + Send + Sync;

/// Judges the token of `Authorization: Bearer …` or, as browsers have to send it, of `?token=…`, by a function of the application's.
///
/// A function that compares tokens by itself should do so in constant time; [`ApiKeys`](super::ApiKeys) and [`TokenTable`](super::TokenTable) do.
///
/// ```
/// use outrace::access::{AuthError, Bearer, Identity};
///
/// let sessions = Bearer::with(|token| {
///     let token = token.to_owned();
///     async move { who_has(&token).await.map(Identity::new).ok_or(AuthError::Invalid) }
/// });
/// # async fn who_has(token: &str) -> Option<String> { None }
/// # let _ = outrace::Hub::builder().authenticator(sessions);
/// ```
pub struct Bearer(Box<Judge>);

impl Bearer {
    /// By a function that knows at once.
    pub fn new<F>(judge: F) -> Self
    where
        F: Fn(&str) -> Result<Identity, AuthError> + Send + Sync + 'static,
    {
        Self(Box::new(move |token| Box::pin(ready(judge(token)))))
    }

    /// By a function that may have to wait.
    pub fn with<F, W>(judge: F) -> Self
    where
        F: Fn(&str) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Identity, AuthError>> + Send + 'static,
    {
        Self(Box::new(move |token| Box::pin(judge(token))))
    }
}

impl Authenticator for Bearer {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        match shown.token() {
            Some(token) => (self.0)(&token),
            None => Box::pin(ready(Err(AuthError::Missing))),
        }
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").finish_non_exhaustive()
    }
}
