//! The body of a request, within limits of size and time.

use axum::extract::{FromRequest, Request};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::refusal::refuse;
use crate::Hub;
use crate::reason::RefusalReason;

/// A complete body. Memory is allocated as the bytes arrive, not by the `Content-Length`.
pub(super) struct RequestBody(pub(super) Bytes);

impl FromRequest<Hub> for RequestBody {
    type Rejection = Response;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, Response> {
        let config = hub.engine().config();
        let too_large = || {
            refuse(
                hub,
                RefusalReason::BodySize,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The body of a request may have {} bytes.", config.max_body),
            )
        };
        if !has_only(request.headers(), &TRANSFER_ENCODING, "chunked") {
            return Err(refuse(
                hub,
                RefusalReason::Actions,
                StatusCode::NOT_IMPLEMENTED,
                "The body is sent as it is: the only Transfer-Encoding is chunked.",
            ));
        }
        if !has_only(request.headers(), &CONTENT_ENCODING, "identity") {
            let response = refuse(
                hub,
                RefusalReason::Actions,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is sent as it is, without a Content-Encoding.",
            );
            return Err(([(ACCEPT_ENCODING, "identity")], response).into_response());
        }
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > config.max_body as u64) {
            return Err(too_large());
        }
        let body = Limited::new(request.into_body(), config.max_body).collect();
        match tokio::time::timeout(config.body_timeout, body).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            // The peer is gone, or its chunked encoding is invalid.
            Ok(Err(_)) => {
                Err((StatusCode::BAD_REQUEST, "The body cannot be read.").into_response())
            }
            Err(_) => Err(refuse(
                hub,
                RefusalReason::BodyTimeout,
                StatusCode::REQUEST_TIMEOUT,
                "The body did not come in time.",
            )),
        }
    }
}

/// Whether a list of codings, which several headers may hold, has no other coding than this one
/// (RFC 9110 section 8.4, RFC 9112 section 6.1).
fn has_only(headers: &HeaderMap, list: &HeaderName, coding: &str) -> bool {
    headers
        .get_all(list)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .all(|found| found.is_empty() || found.eq_ignore_ascii_case(coding.as_bytes()))
}
