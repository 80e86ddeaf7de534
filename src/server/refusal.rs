//! Refusals of plain requests, counted, and the gate in front of the routes.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::Hub;
use crate::access::{Denial, PeerAddress, PeerInfo};
use crate::reason::RefusalReason;

/// A request that has passed the gate: who sends it, and from where.
pub(super) struct Admitted(pub(super) PeerInfo);

impl FromRequestParts<Hub> for Admitted {
    type Rejection = Response;

    async fn from_request_parts(head: &mut Parts, hub: &Hub) -> Result<Self, Response> {
        complete(&mut head.extensions);
        match hub.engine().admit(head).await {
            Ok(identity) => Ok(Self(PeerInfo {
                address: PeerAddress::of(&head.extensions),
                identity,
            })),
            Err(denial) => Err(deny(hub, denial)),
        }
    }
}

/// Says where a request comes from, if only axum's own server knows.
pub(super) fn complete(extensions: &mut Extensions) {
    if extensions.get::<PeerAddress>().is_none()
        && let Some(&ConnectInfo(peer)) = extensions.get::<ConnectInfo<SocketAddr>>()
    {
        extensions.insert(PeerAddress(peer));
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

/// Counts a refusal, and answers with its text.
pub(super) fn refuse(
    hub: &Hub,
    reason: RefusalReason,
    status: StatusCode,
    text: impl Into<String>,
) -> Response {
    hub.engine().totals().count_refused(reason);
    (status, text.into()).into_response()
}
