//! API keys.

use std::future::ready;

use super::secret::{Digest, find};
use super::{AuthError, AuthFuture, Authenticator, Credentials, Identity};

/// Identifies users by the key in `X-API-Key`, in `Authorization: Bearer …`, or in any other place
/// of [`Credentials::tokens`].
///
/// Keys are stored as SHA-256. A request's key is compared with every stored key, in constant time.
/// The hash is unsalted and fast, so keys have to be random.
///
/// ```
/// use outrace::access::{ApiKeys, Identity};
///
/// let keys = ApiKeys::new()
///     .key("4f9d0c6e51b2ce83", "deployer")
///     .key("88ab09c1f0e2d7a4", Identity::new("dashboard").with_claim("read_only", true));
/// let hub = outrace::Hub::builder().authenticator(keys).build()?;
/// # Ok::<(), outrace::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Vec<(Digest, Identity)>);

impl ApiKeys {
    /// Creates a set without keys, which admits no request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key of the given identity. A key that is added twice has the later identity.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>, identity: impl Into<Identity>) -> Self {
        self.0.push((Digest::of(key.as_ref()), identity.into()));
        self
    }
}

impl Authenticator for ApiKeys {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(ready(credentials.check(|key| {
            find(&self.0, key).cloned().ok_or(AuthError::Invalid)
        })))
    }
}

impl From<&str> for Identity {
    fn from(user: &str) -> Self {
        Self::new(user)
    }
}

impl From<String> for Identity {
    fn from(user: String) -> Self {
        Self::new(user)
    }
}
