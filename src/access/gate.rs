//! The gate that every request has to pass before it may read or change anything.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode, Uri, request};

use super::peer::Reach;
use super::subprotocol::Subprotocols;
use super::{
    AuthError, AuthFuture, Authenticator, Credentials, Hosts, Identity, Origins, PeerAddress,
    TrustedProxies,
};
use crate::callback::catch_callback;
use crate::reason::RefusalReason;

/// The maximum time for an authenticator.
const AUTHENTICATOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of the application's callback for a request
/// ([`HubBuilder::on_upgrade`](crate::HubBuilder::on_upgrade)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// Admits the request to the next check.
    Admit,
    /// Refuses the request with 401 `Unauthorised`.
    Unauthorized,
    /// Refuses the request with 403 `Forbidden`.
    Forbidden,
}

/// The reason why the gate refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    /// 401.
    Unauthorized {
        /// Whether the request had a token or key, which was not valid.
        has_token: bool,
    },
    /// 403.
    Forbidden,
    /// 403: the `Host` of the request is not a name of this server.
    UnknownHost,
}

impl Denial {
    /// The counter that this denial increments.
    pub(crate) fn reason(self) -> RefusalReason {
        match self {
            Self::Unauthorized { .. } => RefusalReason::Unauthorized,
            Self::Forbidden | Self::UnknownHost => RefusalReason::Forbidden,
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::UnknownHost => StatusCode::FORBIDDEN,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "Unauthorised",
            Self::Forbidden => "Forbidden",
            Self::UnknownHost => {
                "Forbidden: the server does not go by the name in the request's Host."
            }
        }
    }

    /// The value of the header `WWW-Authenticate` (RFC 6750 section 3).
    pub(crate) fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized { has_token: false } => Some("Bearer"),
            Self::Unauthorized { has_token: true } => Some("Bearer error=\"invalid_token\""),
            Self::Forbidden | Self::UnknownHost => None,
        }
    }
}

type OnUpgrade = Box<dyn Fn(&Uri, &HeaderMap) -> Admission + Send + Sync>;
type OnFailure = Box<dyn Fn(&Credentials, &AuthError) + Send + Sync>;

/// The checks for requests: the host, the origin, the application's callback and the authenticator.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
    pub(crate) proxies: TrustedProxies,
    pub(crate) subprotocols: Subprotocols,
    pub(crate) on_upgrade: Option<OnUpgrade>,
    pub(crate) authenticator: Option<Box<dyn Authenticator>>,
    pub(crate) on_failure: Option<OnFailure>,
}

impl Gate {
    /// Checks a request, and returns the identity of its sender. `None` if there is no
    /// authenticator, and the program has not identified the sender itself.
    ///
    /// # Errors
    /// Returns the denial of the first check that fails.
    pub(crate) async fn admit(&self, head: &request::Parts) -> Result<Option<Identity>, Denial> {
        let peer = PeerAddress::of(&head.extensions);
        if !self
            .hosts
            .admit(&head.headers, &head.uri, Reach::of(&head.extensions))
        {
            tracing::debug!(?peer, "refused a request for another host");
            return Err(Denial::UnknownHost);
        }
        if !self.origins.admit(&head.headers, &head.uri) {
            tracing::debug!(?peer, "refused a request from a page of another site");
            return Err(Denial::Forbidden);
        }
        if let Some(on_upgrade) = &self.on_upgrade {
            match catch_callback("on_upgrade", || on_upgrade(&head.uri, &head.headers)) {
                Some(Admission::Admit) => {}
                Some(Admission::Unauthorized) => {
                    return Err(Denial::Unauthorized { has_token: false });
                }
                Some(Admission::Forbidden) | None => return Err(Denial::Forbidden),
            }
        }
        // Only the program itself adds extensions: no client can.
        let known = head.extensions.get::<Identity>().cloned();
        if known.is_none() && self.authenticator.is_none() {
            return Ok(None);
        }
        let credentials = Credentials::of(head);
        let identified = match (known, &self.authenticator) {
            (Some(identity), _) => Ok(identity),
            (None, Some(authenticator)) => authenticate(authenticator.as_ref(), &credentials).await,
            (None, None) => Err(AuthError::Missing),
        };
        let error = match identified {
            // A blank name is no name: logs and callbacks could not tell its users apart.
            Ok(identity) if identity.user().trim().is_empty() => AuthError::Invalid,
            Ok(identity) if identity.expiry().is_none_or(super::expiry::is_future) => {
                return Ok(Some(identity));
            }
            Ok(_) => AuthError::Expired,
            Err(error) => error,
        };
        tracing::debug!(?peer, %error, "refused a request");
        if let Some(on_failure) = &self.on_failure {
            catch_callback("on_auth_failure", || on_failure(&credentials, &error));
        }
        Err(match error {
            AuthError::Missing => Denial::Unauthorized { has_token: false },
            AuthError::Invalid
            | AuthError::Expired
            | AuthError::NotYetValid
            | AuthError::Custom(_) => Denial::Unauthorized { has_token: true },
            AuthError::Forbidden | AuthError::Failed => Denial::Forbidden,
        })
    }
}

/// Calls an authenticator. A timeout or a panic is logged, and is [`AuthError::Failed`].
async fn authenticate(
    authenticator: &dyn Authenticator,
    credentials: &Credentials,
) -> Result<Identity, AuthError> {
    /// Fails when a poll of the inner future panics. The caller does not poll it again.
    struct CatchPanic<'a>(AuthFuture<'a>);

    impl Future for CatchPanic<'_> {
        type Output = Result<Identity, AuthError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            catch_callback("authenticator", || self.0.as_mut().poll(cx))
                .unwrap_or(Poll::Ready(Err(AuthError::Failed)))
        }
    }

    let future = catch_callback("authenticator", || authenticator.authenticate(credentials));
    let future = CatchPanic(future.ok_or(AuthError::Failed)?);
    match tokio::time::timeout(AUTHENTICATOR_TIMEOUT, future).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(
                "the authenticator did not answer within {} s",
                AUTHENTICATOR_TIMEOUT.as_secs()
            );
            Err(AuthError::Failed)
        }
    }
}
