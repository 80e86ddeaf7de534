//! The plain HTTP streams of a channel as routes: text lines for curl, Server-Sent Events for
//! browsers.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::response::Response;

use super::in_flight::InFlight;
use super::refusal::AdmittedPeer;
use crate::Hub;
use crate::channel::Client;
use crate::connection::{Carrier, StreamForm, open_stream};

/// `GET /api/channels/{channel}/stream`.
pub(super) async fn text(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    Path(channel): Path<String>,
    in_flight: Option<Extension<InFlight>>,
    head: Parts,
) -> Response {
    open(&hub, admitted, &channel, StreamForm::Text, &head, in_flight)
}

/// `GET /api/channels/{channel}/events`.
pub(super) async fn events(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    Path(channel): Path<String>,
    in_flight: Option<Extension<InFlight>>,
    head: Parts,
) -> Response {
    open(
        &hub,
        admitted,
        &channel,
        StreamForm::Events,
        &head,
        in_flight,
    )
}

/// Opens a stream. Its connection no longer counts as a plain request.
fn open(
    hub: &Hub,
    admitted: AdmittedPeer,
    channel: &str,
    form: StreamForm,
    head: &Parts,
    in_flight: Option<Extension<InFlight>>,
) -> Response {
    let carrier = in_flight.map(|Extension(in_flight)| {
        let is_timed = hub.engine().config().write_timeout.is_some();
        Box::new(StreamAccount {
            in_flight,
            is_timed,
        }) as Box<dyn Carrier>
    });
    open_stream(hub.engine(), admitted.0, channel, form, head, carrier).map(Body::new)
}

/// The account of a connection that becomes a stream.
struct StreamAccount {
    in_flight: InFlight,
    /// Whether the hub has a timeout for writing.
    is_timed: bool,
}

impl Carrier for StreamAccount {
    fn begin(&self, client: &Arc<Client>) {
        self.in_flight.leave();
        if self.is_timed {
            self.in_flight.carries(client);
        }
    }

    fn note_writing(&self, writes: bool) {
        self.in_flight.note_writing(writes);
    }
}
