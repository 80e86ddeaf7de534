//! The query of a stream's address.

use std::num::NonZeroU16;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;

use super::refusal::refuse;
use crate::Hub;
use crate::reason::RefusalReason;

/// The query of a stream's address. Other parameters, such as `token`, are not read here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamQuery {
    /// The maximum number of earlier lines to send first.
    pub(super) tail: Option<u64>,
    /// The interval in seconds at which a silent stream sends something. By default 15 for events,
    /// and none for text, in which every byte is a part of a line.
    keep_alive: Option<NonZeroU16>,
}

impl StreamQuery {
    pub(super) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
            .map(|seconds| Duration::from_secs(seconds.get().into()))
    }
}

impl FromRequestParts<Hub> for StreamQuery {
    type Rejection = Response;

    async fn from_request_parts(head: &mut Parts, hub: &Hub) -> Result<Self, Response> {
        match Query::try_from_uri(&head.uri) {
            Ok(Query(query)) => Ok(query),
            Err(_) => Err(refuse(
                hub,
                RefusalReason::Options,
                StatusCode::BAD_REQUEST,
                "The query takes tail, a number of lines, and keep_alive, a number of seconds from \
                 1 to 65535, each at most once, such as ?tail=100&keep_alive=30.",
            )),
        }
    }
}
