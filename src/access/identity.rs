//! Who a request was found to come from.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Grants;

/// Who somebody is, as an [`Authenticator`](super::Authenticator) found: a user's name, and what else is known of them.
///
/// Cloning is cheap: all clones share one value. A connected client's is [`Client::identity`](crate::Client::identity).
///
/// ```
/// use outrace::access::Identity;
///
/// let identity = Identity::new("alice").with_claim("team", "web");
/// assert_eq!(identity.user(), "alice");
/// assert_eq!(identity.claim("team").and_then(|team| team.as_str()), Some("web"));
/// ```
#[derive(Clone, PartialEq)]
pub struct Identity(Arc<Parts>);

#[derive(Clone, PartialEq)]
struct Parts {
    user: String,
    claims: Map<String, Value>,
    grants: Option<Grants>,
    expires: Option<SystemTime>,
}

/// Who has passed the gate, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerInfo {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) identity: Option<Identity>,
}

impl Identity {
    /// Somebody of that name, of whom nothing else is known. They may do whatever the hub's callbacks let them.
    pub fn new(user: impl Into<String>) -> Self {
        Self(Arc::new(Parts {
            user: user.into(),
            claims: Map::new(),
            grants: None,
            expires: None,
        }))
    }

    /// With one more thing known of them; a claim of the same name is replaced.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        Arc::make_mut(&mut self.0)
            .claims
            .insert(name.into(), value.into());
        self
    }

    /// With these claims in place of those it has.
    #[must_use]
    pub fn with_claims(mut self, claims: Map<String, Value>) -> Self {
        Arc::make_mut(&mut self.0).claims = claims;
        self
    }

    /// Limited to these channels, which the hub enforces before it asks any callback.
    #[must_use]
    pub fn with_grants(mut self, grants: Grants) -> Self {
        Arc::make_mut(&mut self.0).grants = Some(grants);
        self
    }

    /// Valid until then: the connection is closed at that moment, with close code 1008.
    #[must_use]
    pub fn expires_at(mut self, moment: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).expires = Some(moment);
        self
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// What else is known of them.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    /// One claim.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// The channels they are limited to; `None` when nothing but the hub's callbacks limits them.
    pub fn grants(&self) -> Option<&Grants> {
        self.0.grants.as_ref()
    }

    /// Until when it is valid.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.expires
    }
}

impl fmt::Debug for Identity {
    /// The names of the claims without their values, which are nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("user", &self.0.user)
            .field("claims", &self.0.claims.keys().collect::<Vec<_>>())
            .field("grants", &self.0.grants)
            .field("expires", &self.0.expires)
            .finish()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.user)
    }
}
