//! The own error of an authenticator.

use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The own error of an authenticator, in an [`AuthError::Custom`](super::AuthError::Custom).
///
/// Clones are the same error. Two of them are equal if one is a clone of the other.
///
/// The error is for the program alone: the hub shows it to no client and writes it to no log.
#[derive(Clone)]
pub struct AuthCause(Arc<dyn Error + Send + Sync>);

impl AuthCause {
    pub(super) fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Arc::from(error))
    }

    /// Returns the error.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }

    fn address(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }
}

/// For `#[source]`.
impl Deref for AuthCause {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for AuthCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthCause").finish_non_exhaustive()
    }
}

impl PartialEq for AuthCause {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.address(), other.address())
    }
}

impl Eq for AuthCause {}

impl Hash for AuthCause {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}
