//! The one gate through which every request has to pass that may see or change anything.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode, Uri, request};

use super::{
    AuthError, AuthFuture, Authenticator, Credentials, Hosts, Identity, LocalAddress, Origins,
    PeerAddress,
};
use crate::callback::catch_callback;
use crate::reason::RefusalReason;

/// How long an authenticator may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the application says to a request for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Let it in.
    Admit,
    /// Refuse with 401 `Unauthorised`.
    Unauthorized,
    /// Refuse with 403 `Forbidden`.
    Forbidden,
}

/// Why the gate stayed shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    /// 401. Whether something was shown that did not do.
    Unauthorized { shown: bool },
    /// 403.
    Forbidden,
    /// 403: the request names a host that this server is not.
    UnknownHost,
}

impl Denial {
    /// As what it is counted.
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

    /// The value of `WWW-Authenticate` (RFC 6750 section 3).
    pub(crate) fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized { shown: false } => Some("Bearer"),
            Self::Unauthorized { shown: true } => Some("Bearer error=\"invalid_token\""),
            Self::Forbidden | Self::UnknownHost => None,
        }
    }
}

type OnUpgrade = Box<dyn Fn(&Uri, &HeaderMap) -> Admission + Send + Sync>;
type OnFailure = Box<dyn Fn(&Credentials, &AuthError) + Send + Sync>;

/// What requests have to pass: the name they use, the page they come from, the application's judgement, and who they are.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
    pub(crate) on_upgrade: Option<OnUpgrade>,
    pub(crate) authenticator: Option<Box<dyn Authenticator>>,
    pub(crate) on_failure: Option<OnFailure>,
}

impl Gate {
    /// Who a request is from, if it may pass at all; nobody when nobody is asked for it.
    pub(crate) async fn admit(&self, head: &request::Parts) -> Result<Option<Identity>, Denial> {
        let peer = PeerAddress::of(&head.extensions);
        if !self
            .hosts
            .admit(&head.headers, LocalAddress::of(&head.extensions))
        {
            tracing::debug!(?peer, "refused a request that names another host");
            return Err(Denial::UnknownHost);
        }
        if !self.origins.admit(&head.headers) {
            tracing::debug!(?peer, "refused a request of a page of another site");
            return Err(Denial::Forbidden);
        }
        if let Some(judge) = &self.on_upgrade {
            match catch_callback("on_upgrade", || judge(&head.uri, &head.headers)) {
                Some(Admission::Admit) => {}
                Some(Admission::Unauthorized) => return Err(Denial::Unauthorized { shown: false }),
                Some(Admission::Forbidden) | None => return Err(Denial::Forbidden),
            }
        }
        let Some(authenticator) = &self.authenticator else {
            return Ok(None);
        };
        let credentials = Credentials::of(head);
        let error = match ask(authenticator.as_ref(), &credentials).await {
            Ok(identity) if identity.expiry().is_none_or(super::expiry::is_ahead) => {
                return Ok(Some(identity));
            }
            Ok(_) => AuthError::Expired,
            Err(error) => error,
        };
        tracing::debug!(?peer, %error, "refused a request");
        if let Some(tell) = &self.on_failure {
            catch_callback("on_auth_failure", || tell(&credentials, &error));
        }
        Err(match error {
            AuthError::Missing => Denial::Unauthorized { shown: false },
            AuthError::Invalid | AuthError::Expired | AuthError::NotYetValid => {
                Denial::Unauthorized { shown: true }
            }
            AuthError::Forbidden | AuthError::Failed => Denial::Forbidden,
        })
    }
}

/// What an authenticator finds, within its time. A panic of it is logged, and finds nobody.
async fn ask(
    authenticator: &dyn Authenticator,
    credentials: &Credentials,
) -> Result<Identity, AuthError> {
    /// A panic in any poll ends it; it is not polled again.
    struct Guarded<'a>(AuthFuture<'a>);

    impl Future for Guarded<'_> {
        type Output = Result<Identity, AuthError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            catch_callback("authenticator", || self.0.as_mut().poll(cx))
                .unwrap_or(Poll::Ready(Err(AuthError::Failed)))
        }
    }

    let finding = catch_callback("authenticator", || authenticator.authenticate(credentials));
    let finding = Guarded(finding.ok_or(AuthError::Failed)?);
    match tokio::time::timeout(PATIENCE, finding).await {
        Ok(found) => found,
        Err(_) => {
            tracing::warn!(
                "the authenticator did not answer within {} s",
                PATIENCE.as_secs()
            );
            Err(AuthError::Failed)
        }
    }
}
