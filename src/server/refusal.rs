//! The gate in front of the plain routes, and the refusals that are counted.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use crate::Hub;
use crate::access::{Denial, PeerAddress, PeerInfo};
use crate::reason::RefusalReason;

/// The peer of a request that has passed the gate. A handler that takes it is behind the gate.
pub(super) struct AdmittedPeer(pub(super) PeerInfo);

impl FromRequestParts<Hub> for AdmittedPeer {
    type Rejection = Response;

    async fn from_request_parts(head: &mut Parts, hub: &Hub) -> Result<Self, Response> {
        hub.engine().resolve_peer(head);
        match hub.engine().admit(head).await {
            Ok(identity) => Ok(Self(PeerInfo {
                address: PeerAddress::of(&head.extensions),
                identity,
            })),
            Err(denial) => Err(deny(hub, denial)),
        }
    }
}

fn deny(hub: &Hub, denial: Denial) -> Response {
    let mut response = refuse(hub, denial.reason(), denial.status(), denial.text());
    if let Some(challenge) = denial.challenge() {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Counts a refusal, and returns the response with its text.
pub(super) fn refuse(
    hub: &Hub,
    reason: RefusalReason,
    status: StatusCode,
    text: impl Into<String>,
) -> Response {
    hub.engine().totals().count_refused(reason);
    (status, text.into()).into_response()
}
