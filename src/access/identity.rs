//! The identity of a user.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Grants;

/// The identity of a user, as an [`Authenticator`](super::Authenticator) determined it: a name,
/// claims, grants and an expiry.
///
/// Cloning is cheap, because clones share one value. The identity of a connected client is
/// [`Client::identity`](crate::Client::identity).
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
    expiry: Option<SystemTime>,
}

/// The peer of a request that has passed the gate, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerInfo {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) identity: Option<Identity>,
}

impl Identity {
    /// Creates the identity of a user with this name, without claims or an expiry. The user has the
    /// default [`Grants`]: they may subscribe to every channel, and neither publish nor control a
    /// process.
    pub fn new(user: impl Into<String>) -> Self {
        Self::with_full_access(user).with_grants(Grants::default())
    }

    /// Creates the identity of a user with this name, whom no grants limit. The user may publish to
    /// every channel and to all clients, and control processes, as far as the hub's callbacks
    /// allow.
    pub fn with_full_access(user: impl Into<String>) -> Self {
        Self(Arc::new(Parts {
            user: user.into(),
            claims: Map::new(),
            grants: None,
            expiry: None,
        }))
    }

    /// Adds a claim. A claim of the same name is replaced.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        Arc::make_mut(&mut self.0)
            .claims
            .insert(name.into(), value.into());
        self
    }

    /// Replaces all claims.
    #[must_use]
    pub fn with_claims(mut self, claims: Map<String, Value>) -> Self {
        Arc::make_mut(&mut self.0).claims = claims;
        self
    }

    /// Limits the user to the channels of these grants. The hub checks grants before it calls any
    /// callback.
    #[must_use]
    pub fn with_grants(mut self, grants: Grants) -> Self {
        Arc::make_mut(&mut self.0).grants = Some(grants);
        self
    }

    /// Sets when the identity expires. The user's connections are then closed with code 1008.
    ///
    /// A request with an expired identity is refused, as with
    /// [`AuthError::Expired`](super::AuthError::Expired).
    #[must_use]
    pub fn expires_at(mut self, moment: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).expiry = Some(moment);
        self
    }

    /// Returns the user's name.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Returns all claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    /// Returns the claim with this name.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// Returns the grants that limit the user. `None` if only the hub's callbacks limit them.
    pub fn grants(&self) -> Option<&Grants> {
        self.0.grants.as_ref()
    }

    /// Returns when the identity expires. `None` if it does not expire.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.expiry
    }
}

impl fmt::Debug for Identity {
    /// Writes the names of the claims without their values, which may be private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("user", &self.0.user)
            .field("claims", &self.0.claims.keys().collect::<Vec<_>>())
            .field("grants", &self.0.grants)
            .field("expiry", &self.0.expiry)
            .finish()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.user)
    }
}
