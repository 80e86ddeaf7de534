//! The JSON routes of `/api`: publishing actions, and reading counters and channels.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::body::RequestBody;
use super::refusal::{AdmittedPeer, refuse};
use crate::channel::ClientKind;
use crate::hub::Reply;
use crate::message::{Action, Actions};
use crate::reason::RefusalReason;
use crate::{Hub, Stats};

use super::processes::{self, Processes};

/// `POST /api/actions`: executes one action or an array of them.
///
/// The response has one result for each action, in order: an object for an object, an array for an
/// array. An invalid or forbidden action refuses the whole request before any action is executed.
///
/// The content type has to be JSON. A foreign page cannot send it without a CORS preflight, because
/// a "simple request" may not have this type. The gate refuses pages of other sites in any case.
pub(super) async fn actions(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    processes: Option<Extension<Processes>>,
    headers: HeaderMap,
    RequestBody(body): RequestBody,
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
    let engine = hub.engine();
    let client = engine.make_client(admitted.0, ClientKind::Http);
    if !actions.iter().all(|action| engine.permits(&client, action)) {
        return refuse(
            &hub,
            RefusalReason::Forbidden,
            StatusCode::FORBIDDEN,
            "Forbidden",
        );
    }
    if engine.has_only_mirrors() && actions.iter().any(names_channel) {
        return refuse(
            &hub,
            RefusalReason::Mirror,
            StatusCode::MISDIRECTED_REQUEST,
            "The channels here are those of another server: publish there.",
        );
    }
    if !engine.has_room_for_homes(&actions) {
        return refuse(
            &hub,
            RefusalReason::PendingLimit,
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many messages wait for the servers that number their channels. Try again later.",
        );
    }
    let forwarded =
        match processes::check(processes.as_deref(), engine.directory().is_some(), &actions) {
            Ok(forwarded) => forwarded,
            Err((reason, status, text)) => return refuse(&hub, reason, status, text),
        };
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if let Some((id, order)) = forwarded
        && let Some(directory) = engine.directory()
    {
        let on_behalf_of = processes::on_behalf_of(&headers, &client);
        return match processes::forward(directory, id, order, on_behalf_of).await {
            Ok(reply) => respond(vec![reply], is_array),
            Err((reason, status, text)) => refuse(&hub, reason, status, text),
        };
    }
    processes::log_forwarded(&headers, &client, &actions);
    if let Some(action) = engine.find_too_long(&actions) {
        let most = engine.config().max_outgoing_message;
        return refuse(
            &hub,
            RefusalReason::MessageSize,
            StatusCode::BAD_REQUEST,
            format!("{action}: the message must have at most {most} bytes with its envelope"),
        );
    }
    let replies: Vec<Reply> = actions
        .into_iter()
        .map(|action| match action {
            Action::OrderProcess { process_id, order } => {
                processes::order(processes.as_deref(), &process_id, order)
            }
            action => hub.execute(action),
        })
        .collect();
    respond(replies, is_array)
}

/// Returns an array of replies, or the only one.
fn respond(mut replies: Vec<Reply>, is_array: bool) -> Response {
    match replies.pop() {
        Some(reply) if !is_array => Json(reply).into_response(),
        last => {
            replies.extend(last);
            Json(replies).into_response()
        }
    }
}

/// `GET /api/stats`.
pub(super) async fn stats(State(hub): State<Hub>, _: AdmittedPeer) -> Json<Stats> {
    Json(hub.stats())
}

/// Returns whether the action publishes to a channel.
fn names_channel(action: &Action) -> bool {
    matches!(
        action,
        Action::SendChannel { .. }
            | Action::SendProcessOutput { .. }
            | Action::SendProcessStatus { .. }
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
