//! `/api`: publish, and look.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::body::Body;
use super::refusal::{Admitted, refuse};
use crate::channel::ClientKind;
use crate::hub::Reply;
use crate::message::{Action, Actions};
use crate::reason::RefusalReason;
use crate::{ChannelStats, Hub, Stats};

use super::processes::{self, Processes};

/// Publishes. One result for each action, in order; an array for an array, an object for an object. One bad action refuses
/// the whole request, and so does one that the sender may not do.
///
/// The content type has to be JSON: a foreign page can't send that without the browser asking first (a "simple request" has none of
/// it), and a page of another site is refused whatever it sends.
pub(super) async fn actions(
    State(hub): State<Hub>,
    admitted: Admitted,
    processes: Option<Extension<Processes>>,
    headers: HeaderMap,
    Body(body): Body,
) -> Response {
    if !is_json(&headers) {
        return refuse(
            &hub,
            RefusalReason::Actions,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Actions are sent with Content-Type: application/json.",
        );
    }
    let actions = match Actions::parse(&body) {
        Ok(actions) => actions,
        Err(error) => {
            return refuse(
                &hub,
                RefusalReason::Actions,
                StatusCode::BAD_REQUEST,
                error.to_string(),
            );
        }
    };
    let inner = hub.engine();
    let client = inner.make_client(admitted.0, ClientKind::Http);
    if !actions.iter().all(|action| inner.permits(&client, action)) {
        return refuse(
            &hub,
            RefusalReason::Forbidden,
            StatusCode::FORBIDDEN,
            "Forbidden",
        );
    }
    if let Err((reason, status, text)) = processes::check(processes.as_deref(), &actions) {
        return refuse(&hub, reason, status, text);
    }
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let mut replies: Vec<Reply> = actions
        .into_iter()
        .map(|action| match action {
            Action::OrderProcess { process_id, order } => {
                processes::order(processes.as_deref(), &process_id, order)
            }
            action => hub.execute(action),
        })
        .collect();
    match replies.pop() {
        Some(reply) if !is_array => Json(reply).into_response(),
        last => {
            replies.extend(last);
            Json(replies).into_response()
        }
    }
}

pub(super) async fn stats(State(hub): State<Hub>, _: Admitted) -> Json<Stats> {
    Json(hub.stats())
}

/// Those that the caller may subscribe to.
pub(super) async fn channels(
    State(hub): State<Hub>,
    admitted: Admitted,
) -> Json<Vec<ChannelStats>> {
    let inner = hub.engine();
    let client = inner.make_client(admitted.0, ClientKind::Http);
    Json(
        hub.channels()
            .filter(|stats| inner.authorizes(&client, &stats.channel))
            .collect(),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}
