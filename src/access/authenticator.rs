//! The trait that identifies the sender of a request, and its combinators.

use std::error::Error;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{AuthCause, Credentials, Identity, QueryOnly};

/// The reason why a request was not authenticated. No text contains anything from the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The request has no token or key. Answered with 401.
    #[error("the request has no token or key")]
    Missing,
    /// The token or key is unknown or not valid. Answered with 401.
    #[error("the token or key is not valid")]
    Invalid,
    /// The token has expired. Answered with 401.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet. Answered with 401.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The user is known, and may not connect. Answered with 403.
    #[error("the user may not connect")]
    Forbidden,
    /// The user could not be determined: a service did not respond, or the authenticator panicked.
    /// Answered with 403.
    #[error("the user could not be determined")]
    Failed,
    /// The authenticator refuses for a reason of its own, which
    /// [`on_auth_failure`](crate::HubBuilder::on_auth_failure) gets. Answered with 401.
    #[error("the authenticator refuses")]
    Custom(#[source] AuthCause),
}

impl AuthError {
    /// Returns an error with a reason of the authenticator's own.
    ///
    /// ```
    /// use outrace::access::{AuthError, Bearer, Identity};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// #[error("the account of {0} is locked")]
    /// struct Locked(String);
    ///
    /// let hub = outrace::Hub::builder()
    ///     .authenticator(Bearer::new(|token| match token {
    ///         "bob's" => Err(AuthError::custom(Locked("bob".into()))),
    ///         _ => Err(AuthError::Invalid),
    ///     }))
    ///     .on_auth_failure(|_, error| {
    ///         if let AuthError::Custom(cause) = error
    ///             && let Some(Locked(user)) = cause.error().downcast_ref()
    ///         {
    ///             eprintln!("{user} has tried to connect");
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn custom(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Custom(AuthCause::new(error.into()))
    }

    /// The precedence of the error. When several authenticators refuse, the error with the highest
    /// precedence is returned.
    fn weight(&self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::Invalid => 1,
            Self::Failed => 2,
            Self::NotYetValid => 3,
            Self::Expired => 4,
            Self::Custom(_) => 5,
            Self::Forbidden => 6,
        }
    }

    /// Returns the error with the higher precedence.
    pub(super) fn or_more_specific(self, other: Self) -> Self {
        if other.weight() > self.weight() {
            other
        } else {
            self
        }
    }
}

/// The future of [`Authenticator::authenticate`].
pub type AuthFuture<'a> = Pin<Box<dyn Future<Output = Result<Identity, AuthError>> + Send + 'a>>;

/// Identifies the sender of a request.
///
/// The hub calls it once for each handshake, stream and request to the API, before it does anything
/// else for the request. It may wait, for example for a database. After 10 s the request is refused
/// with [`AuthError::Failed`]. A panic also refuses the request, and is logged.
///
/// ```
/// use outrace::access::{AuthError, AuthFuture, Authenticator, Credentials, Identity};
///
/// struct Sessions;
///
/// impl Authenticator for Sessions {
///     fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
///         Box::pin(async move {
///             let token = credentials.token().ok_or(AuthError::Missing)?;
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
/// The hub drops the future after the timeout, or when the peer disconnects. An implementation has
/// to tolerate this at every `.await`.
pub trait Authenticator: Send + Sync {
    /// Returns the identity of the sender.
    ///
    /// # Errors
    /// Resolves to an [`AuthError`] when the credentials admit no user.
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a>;

    /// Returns an authenticator that sees no other token than those of the query: `?token=…`.
    ///
    /// The tokens of headers are removed from what this authenticator gets: `Authorization`,
    /// `X-API-Key`, `X-Outrace-Token` and the offered subprotocols.
    ///
    /// ```
    /// use outrace::access::{ApiKeys, Authenticator};
    ///
    /// let keys = ApiKeys::new().key("4f9d0c6e51b2ce83", "dashboard").query_only();
    /// let hub = outrace::Hub::builder().authenticator(keys).build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    fn query_only(self) -> QueryOnly<Self>
    where
        Self: Sized,
    {
        QueryOnly::new(self)
    }
}

impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        (**self).authenticate(credentials)
    }
}

impl<A: Authenticator + ?Sized> Authenticator for Box<A> {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        (**self).authenticate(credentials)
    }
}

/// Returns an authenticator that calls a synchronous function.
///
/// An authenticator that has to wait implements [`Authenticator`], or uses
/// [`Bearer::with`](super::Bearer::with).
///
/// ```
/// use outrace::access::{self, AuthError, Identity};
///
/// let authenticator = access::from_fn(|credentials| {
///     match credentials.headers().get("x-forwarded-user") {
///         Some(user) => Ok(Identity::new(user.to_str().map_err(|_| AuthError::Invalid)?)),
///         None => Err(AuthError::Missing),
///     }
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
        fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
            Box::pin(ready((self.0)(credentials)))
        }
    }

    FromFn(check)
}

/// Returns an authenticator that asks several in order, and returns the first identity found.
///
/// When all refuse, it returns the most specific of their errors: [`AuthError::Forbidden`], then
/// `Custom`, `Expired`, `NotYetValid`, `Failed`, `Invalid` and `Missing`. Without any
/// authenticator, it refuses every request with `Missing`.
///
/// ```
/// use outrace::access::{self, ApiKeys, Authenticator, TokenTable};
///
/// let authenticators: [Box<dyn Authenticator>; 2] = [
///     Box::new(TokenTable::parse("alice 0123456789abcdef")?),
///     Box::new(ApiKeys::new().key("4f9d0c6e51b2ce83", "deployer")),
/// ];
/// let hub = outrace::Hub::builder().authenticator(access::any_of(authenticators)).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn any_of(
    authenticators: impl IntoIterator<Item = Box<dyn Authenticator>>,
) -> impl Authenticator {
    struct AnyOf(Vec<Box<dyn Authenticator>>);

    impl Authenticator for AnyOf {
        fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
            Box::pin(async move {
                let mut refusal = AuthError::Missing;
                for authenticator in &self.0 {
                    match authenticator.authenticate(credentials).await {
                        Ok(identity) => return Ok(identity),
                        Err(error) => refusal = refusal.or_more_specific(error),
                    }
                }
                Err(refusal)
            })
        }
    }

    AnyOf(authenticators.into_iter().collect())
}

/// An authenticator that can be replaced while the hub runs, for example after a token file
/// changed.
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
pub struct Reloadable<A>(ArcSwap<A>);

impl<A: Authenticator> Reloadable<A> {
    /// Wraps the first authenticator.
    pub fn new(authenticator: A) -> Self {
        Self(ArcSwap::from_pointee(authenticator))
    }

    /// Replaces the authenticator. It applies to later requests; connected clients stay connected.
    pub fn replace(&self, authenticator: A) {
        self.0.store(Arc::new(authenticator));
    }

    /// Returns the current authenticator.
    pub fn current(&self) -> Arc<A> {
        self.0.load_full()
    }
}

impl<A: Authenticator> Authenticator for Reloadable<A> {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        let current = self.current();
        Box::pin(async move { current.authenticate(credentials).await })
    }
}
