//! The body of a request, within bounds of size and time.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::Hub;
use crate::reason::RefusalReason;

/// A body, whole. It takes memory as it comes, not as it is announced.
pub(super) struct Body(pub(super) Bytes);

impl FromRequest<Hub> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, Response> {
        let inner = hub.engine();
        let config = inner.config();
        let refuse = |status: StatusCode, reason: RefusalReason, text: String| {
            inner.totals().count_refused(reason);
            (status, text).into_response()
        };
        let too_big = || {
            let text = format!("The body of a request may have {} bytes.", config.max_body);
            refuse(StatusCode::PAYLOAD_TOO_LARGE, RefusalReason::BodySize, text)
        };
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > config.max_body as u64) {
            return Err(too_big());
        }
        let body = Limited::new(request.into_body(), config.max_body).collect();
        match tokio::time::timeout(config.body_timeout, body).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_big()),
            // The peer has gone, or cuts its body into chunks wrongly.
            Ok(Err(_)) => {
                Err((StatusCode::BAD_REQUEST, "The body cannot be read.").into_response())
            }
            Err(_) => {
                let text = "The body did not come in time.".to_owned();
                Err(refuse(
                    StatusCode::REQUEST_TIMEOUT,
                    RefusalReason::BodyTimeout,
                    text,
                ))
            }
        }
    }
}
