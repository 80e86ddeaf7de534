//! AuthFuture out who sends a request.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Credentials, Identity};

/// Why a request was not let in. None of its texts holds anything of what the request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// It shows no token or key: 401.
    #[error("no token or key was shown")]
    Missing,
    /// What it shows is not known, or not valid: 401.
    #[error("the token or key is not valid")]
    Invalid,
    /// The token was valid once: 401.
    #[error("the token has expired")]
    Expired,
    /// The token will be valid later: 401.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is known who this is, and they may not come in: 403.
    #[error("they may not come in")]
    Forbidden,
    /// It could not be found out (a service that did not answer, a panic): 403.
    #[error("who it is could not be found out")]
    Failed,
}

impl AuthError {
    /// How much it tells; where several authenticators refuse, the one that tells the most is the answer.
    fn weight(self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::Invalid => 1,
            Self::Failed => 2,
            Self::NotYetValid => 3,
            Self::Expired => 4,
            Self::Forbidden => 5,
        }
    }
}

/// What an [`Authenticator`] will have found.
pub type AuthFuture<'a> = Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>>;

/// Finds out who sends a request, before anything else is done for it.
///
/// Asked once for each handshake, stream and request to the API. It may wait (for a database, say); after 10 s the request is refused. A panic
/// refuses too, and is logged.
///
/// ```
/// use outrace::access::{AuthError, Authenticator, Credentials, AuthFuture, Identity};
///
/// struct Sessions;
///
/// impl Authenticator for Sessions {
///     fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
///         Box::pin(async move {
///             let token = shown.token().ok_or(AuthError::Missing)?;
///             match lookup(&token).await {
///                 Some(user) => Ok(Identity::new(user)),
///                 None => Err(AuthError::Invalid),
///             }
///         })
///     }
/// }
/// # async fn lookup(token: &str) -> Option<String> { None }
/// let hub = outrace::Hub::builder().authenticator(Sessions).build()?;
/// # Ok::<(), outrace::ConfigError>(())
/// ```
///
/// # Cancel safety
/// The future is dropped when the time is up, or when the peer has gone meanwhile.
pub trait Authenticator: Send + Sync {
    /// Says who it is.
    ///
    /// # Errors
    /// When nobody is let in on what was shown.
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a>;
}

impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        (**self).authenticate(shown)
    }
}

impl<A: Authenticator + ?Sized> Authenticator for Box<A> {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        (**self).authenticate(shown)
    }
}

/// An authenticator of a function that knows at once. (One that has to wait implements [`Authenticator`], or is a
/// [`Bearer::with`](super::Bearer::with).)
///
/// ```
/// use outrace::access::{self, AuthError, Identity};
///
/// let authenticator = access::from_fn(|shown| match shown.headers().get("x-forwarded-user") {
///     Some(user) => Ok(Identity::new(user.to_str().map_err(|_| AuthError::Invalid)?)),
///     None => Err(AuthError::Missing),
/// });
/// # let _ = outrace::Hub::builder().authenticator(authenticator);
/// ```
pub fn from_fn<F>(check: F) -> impl Authenticator
where
    F: Fn(&Credentials) -> Result<Identity, AuthError> + Send + Sync,
{
    struct FromFn<F>(F);

    impl<F> Authenticator for FromFn<F>
    where
        F: Fn(&Credentials) -> Result<Identity, AuthError> + Send + Sync,
    {
        fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
            Box::pin(ready((self.0)(shown)))
        }
    }

    FromFn(check)
}

/// Lets in whom any of these lets in: asks them in order, until one does.
pub fn any_of(
    authenticators: impl IntoIterator<Item = Box<dyn Authenticator>>,
) -> impl Authenticator {
    struct AnyOf(Vec<Box<dyn Authenticator>>);

    impl Authenticator for AnyOf {
        fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
            Box::pin(async move {
                let mut refusal = AuthError::Missing;
                for authenticator in &self.0 {
                    match authenticator.authenticate(shown).await {
                        Ok(identity) => return Ok(identity),
                        Err(error) if error.weight() > refusal.weight() => refusal = error,
                        Err(_) => {}
                    }
                }
                Err(refusal)
            })
        }
    }

    AnyOf(authenticators.into_iter().collect())
}

/// An authenticator that can be replaced while the hub runs: keys that were read anew.
///
/// ```
/// use std::sync::Arc;
/// use outrace::access::{Reloadable, TokenTable};
///
/// let tokens = Arc::new(Reloadable::new(TokenTable::parse("")?));
/// let hub = outrace::Hub::builder().authenticator(Arc::clone(&tokens)).build()?;
/// tokens.replace(TokenTable::parse("alice 0123456789abcdef0123456789abcdef")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reloadable<A>(RwLock<Arc<A>>);

impl<A: Authenticator> Reloadable<A> {
    /// One that begins as this.
    pub fn new(authenticator: A) -> Self {
        Self(RwLock::new(Arc::new(authenticator)))
    }

    /// From now on this one is asked. Whoever is connected stays.
    pub fn replace(&self, authenticator: A) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(authenticator);
    }

    /// The one that is asked now.
    pub fn current(&self) -> Arc<A> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<A: Authenticator> Authenticator for Reloadable<A> {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        let current = self.current();
        Box::pin(async move { current.authenticate(shown).await })
    }
}
