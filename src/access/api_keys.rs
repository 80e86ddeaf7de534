//! Keys in a header of their own.

use std::future::ready;

use super::secret::{Digest, find};
use super::{AuthError, AuthFuture, Authenticator, Credentials, Identity};

/// Knows users by the key in `X-API-Key`. Keys are kept as SHA-256 and compared in constant time, each with all: they should be random.
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
    /// No keys: nobody is let in.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more key. Of a key given twice the last counts.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>, whose: impl Into<Identity>) -> Self {
        self.0.push((Digest::of(key.as_ref()), whose.into()));
        self
    }
}

impl Authenticator for ApiKeys {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(ready(match shown.api_key() {
            Some(key) => find(&self.0, key).cloned().ok_or(AuthError::Invalid),
            None => Err(AuthError::Missing),
        }))
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
