//! `GET /api/channels`: the list of channels, at once or when one has appeared.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CONNECTION, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use tokio::time::timeout;

use super::in_flight::InFlight;
use super::refusal::{AdmittedPeer, refuse};
use crate::access::expired;
use crate::channel::{Client, ClientKind};
use crate::hub::{ConnectionSlot, Engine};
use crate::reason::RefusalReason;
use crate::{ChannelStats, Hub};

/// The longest time that a request waits. Proxies close connections that are silent for a minute.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// `Prefer`, from RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Returns the channels that the caller may subscribe to, with the version of the list as `ETag`.
///
/// A request with `Prefer: wait=SECONDS` (RFC 7240) and the present version as `If-None-Match` is
/// answered when a channel has appeared, or after that time. Any other request is answered at once.
pub(super) async fn list(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    in_flight: Option<Extension<InFlight>>,
    headers: HeaderMap,
) -> Response {
    let engine = hub.engine();
    let client = engine.make_client(admitted.0, ClientKind::Http);
    let mut has_waited = false;
    let version = engine.shared().listing.version();
    if let Some(wait) = preferred_wait(&headers)
        && headers.get(IF_NONE_MATCH) == Some(&etag(version))
        // Without a slot the caller is answered at once, as by a server that cannot wait.
        && let Ok(slot) = ConnectionSlot::take(engine, client.address())
    {
        has_waited = true;
        // The connection counts as a client's while it waits. It closes with the response.
        if let Some(Extension(in_flight)) = &in_flight {
            in_flight.wait();
        }
        let is_admitted = wait_for_another(engine, &client, version, wait).await;
        if let Some(Extension(in_flight)) = &in_flight {
            in_flight.resume();
        }
        if !is_admitted {
            return refuse(
                &hub,
                RefusalReason::Unauthorized,
                StatusCode::UNAUTHORIZED,
                "Unauthorised",
            );
        }
        drop(slot);
    }
    // Before the list is made: a channel that appears meanwhile makes another version.
    let version = engine.shared().listing.version();
    let mut channels: Vec<ChannelStats> = hub.channels().collect();
    if let Some(directory) = engine.directory() {
        channels = merged(channels, directory.channels().await);
    }
    channels.retain(|stats| engine.authorizes(&client, &stats.channel));
    let mut response = Json(channels).into_response();
    response.headers_mut().insert(ETAG, etag(version));
    if has_waited {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Adds the channels of a directory to those of this hub. A channel that is in both is counted as
/// here, and has the status and the node that the directory says. The list is ordered by name.
fn merged(here: Vec<ChannelStats>, elsewhere: Vec<ChannelStats>) -> Vec<ChannelStats> {
    let mut all: BTreeMap<_, _> = here
        .into_iter()
        .map(|channel| (channel.channel.as_str().to_owned(), channel))
        .collect();
    for channel in elsewhere {
        match all.entry(channel.channel.as_str().to_owned()) {
            Entry::Occupied(mut mirror) => {
                let mirror = mirror.get_mut();
                mirror.status = channel.status;
                mirror.node = channel.node;
                if mirror.epoch != channel.epoch {
                    // It has not caught up yet.
                    (mirror.epoch, mirror.seq) = (channel.epoch, channel.seq);
                }
            }
            Entry::Vacant(place) => {
                place.insert(ChannelStats {
                    subscribers: 0,
                    ..channel
                });
            }
        }
    }
    all.into_values().collect()
}

/// Completes when the list has another version, the time is over, or the hub stops. Returns false
/// if the caller's identity has expired.
async fn wait_for_another(engine: &Engine, client: &Client, version: u64, wait: Duration) -> bool {
    if engine.is_stopping() {
        return true;
    }
    let identity = client.identity().cloned();
    let expiry = async {
        match identity {
            Some(identity) => expired(identity).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = timeout(wait, engine.shared().listing.changed_from(version)) => true,
        () = expiry => false,
    }
}

/// Returns how long the caller prefers to wait.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| {
            let (name, seconds) = preference.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case("wait") {
                return None;
            }
            let seconds = seconds.trim().trim_matches('"').parse().ok()?;
            Some(Duration::from_secs(seconds).min(MAX_WAIT))
        })
}

/// Returns the weak tag of a version: the counters in two lists of one version may differ.
fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("W/\"{version:016x}\"")).expect("it is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_read_among_other_preferences() {
        for (prefer, seconds) in [
            (&["wait=5"][..], Some(5)),
            (&["respond-async, Wait = 7"], Some(7)),
            (&["handling=lenient", "wait=\"3\""], Some(3)),
            (&["wait=9999999"], Some(20)),
            (&["wait=0"], Some(0)),
            (&["wait=-1"], None),
            (&["wait"], None),
            (&["await=5"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in prefer {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            let wait = seconds.map(Duration::from_secs);
            assert_eq!(preferred_wait(&headers), wait, "{prefer:?}");
        }
    }
}
