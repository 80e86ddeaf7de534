//! The plain HTTP streams of a channel: text lines for curl, Server-Sent Events for browsers.
//!
//! A stream is a client like a WebSocket: it gets the same blocks in another encoding, through the
//! same kind of outbox, under the same rules.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use serde::Deserialize;
use tokio::time::{Instant, Sleep};

use super::in_flight::InFlight;
use super::refusal::{AdmittedPeer, refuse};
use crate::Hub;
use crate::access::expired;
use crate::channel::{Client, ClientKind, Subscription};
use crate::connection::HandshakeRefusal;
use crate::encode::Encoding;
use crate::hub::{ConnectionSlot, Engine};
use crate::message::ChannelName;
use crate::outbox::{OutboxReader, Parcel, Used};
use crate::protocol::{Since, SubscribeOptions, SubscribeRefusal};
use crate::reason::{CloseReason, RefusalReason};

/// The query of a stream's address.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamQuery {
    /// The maximum number of earlier lines to send first.
    tail: Option<u64>,
}

/// The interval at which a silent event stream sends a comment. Proxies close silent connections,
/// and a vanished reader is found only by writing.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/channels/{channel}/stream`: the lines, each followed by `\n`. A gap is a line of its
/// own.
pub(super) async fn text(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    Path(channel): Path<String>,
    Query(query): Query<StreamQuery>,
    in_flight: Option<Extension<InFlight>>,
) -> Response {
    let options = SubscribeOptions {
        gaps: true,
        tail: query.tail,
        ..SubscribeOptions::default()
    };
    let in_flight = in_flight.map(|Extension(in_flight)| in_flight);
    open(&hub, admitted, &channel, Encoding::Text, options, in_flight)
}

/// `GET /api/channels/{channel}/events`: Server-Sent Events. Each has the id `EPOCH:SEQ`, from
/// which a browser resumes by itself.
pub(super) async fn events(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    Path(channel): Path<String>,
    Query(query): Query<StreamQuery>,
    in_flight: Option<Extension<InFlight>>,
    headers: HeaderMap,
) -> Response {
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(since);
    // A stream that resumes has already had its tail.
    let tail = if last.is_some() { None } else { query.tail };
    let options = SubscribeOptions {
        gaps: true,
        tail,
        since: last,
        ..SubscribeOptions::default()
    };
    let in_flight = in_flight.map(|Extension(in_flight)| in_flight);
    open(
        &hub,
        admitted,
        &channel,
        Encoding::Events,
        options,
        in_flight,
    )
}

/// Parses the id of an event.
fn since(id: &str) -> Option<Since> {
    let (epoch, seq) = id.split_once(':')?;
    Some(Since {
        epoch: epoch.to_owned(),
        seq: seq.parse().ok()?,
    })
}

/// Subscribes a new client to a channel. Returns its stream as a response, or the refusal. The
/// connection of a stream no longer counts as a plain request.
fn open(
    hub: &Hub,
    admitted: AdmittedPeer,
    channel: &str,
    encoding: Encoding,
    options: SubscribeOptions,
    in_flight: Option<InFlight>,
) -> Response {
    let name = match ChannelName::parse(channel) {
        Ok(name) => name,
        Err(error) => {
            return refuse(
                hub,
                RefusalReason::Name,
                StatusCode::BAD_REQUEST,
                error.to_string(),
            );
        }
    };
    let engine = hub.engine();
    if engine.is_stopping() {
        const TEXT: &str = "The server is shutting down.";
        return refuse(
            hub,
            RefusalReason::Stopping,
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
        );
    }
    let client = engine.make_client(admitted.0, ClientKind::Http);
    if !engine.authorizes(&client, &name) {
        let text = SubscribeRefusal::Unauthorized.as_str();
        return refuse(
            hub,
            RefusalReason::Subscription,
            StatusCode::FORBIDDEN,
            text,
        );
    }
    let slot = match ConnectionSlot::take(engine, client.address()) {
        Ok(slot) => slot,
        Err(limit) => return HandshakeRefusal::Full(limit).count(engine).into_response(),
    };
    let expiring = client
        .identity()
        .filter(|identity| identity.expiry().is_some())
        .cloned();
    let body = ChannelStream {
        membership: engine.register(&client),
        client,
        reader: OutboxReader::default(),
        given: Used::default(),
        encoding,
        silence: Box::pin(tokio::time::sleep(KEEP_ALIVE)),
        in_flight,
        expiry: expiring.map(|identity| Box::pin(expired(identity)) as Pin<Box<_>>),
        slot,
    };
    engine.notify_connected(&body.client);
    if let Err(refusal) = engine.join(&body.client, name, encoding, Some(options), None) {
        return refuse(
            hub,
            refusal.reason(),
            StatusCode::SERVICE_UNAVAILABLE,
            refusal.as_str(),
        );
    }
    if let Some(in_flight) = &body.in_flight {
        in_flight.leave();
        if engine.config().write_timeout.is_some() {
            in_flight.carries(&body.client);
        }
    }
    let content_type = match encoding {
        Encoding::Events => "text/event-stream",
        _ => "text/plain; charset=utf-8",
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // The connection counts as a client until it closes, so it closes with the stream.
        (CONNECTION, HeaderValue::from_static("close")),
        // Asks proxies not to buffer the response.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
        (
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, Body::new(body)).into_response()
}

/// A response body that is a client of the hub.
struct ChannelStream {
    client: Arc<Client>,
    membership: Arc<Subscription>,
    /// Parcels taken from the outbox. They still count against the client's queue.
    reader: OutboxReader,
    /// The weight of the parcel that the HTTP connection is writing. It polls again after it has
    /// written the parcel.
    given: Used,
    encoding: Encoding,
    silence: Pin<Box<Sleep>>,
    /// The account of the connection, when the accept loop of this crate serves it.
    in_flight: Option<InFlight>,
    /// Completes when the client's identity expires. `None` if it does not expire.
    expiry: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    slot: ConnectionSlot,
}

impl ChannelStream {
    fn hub(&self) -> &Arc<Engine> {
        self.slot.engine()
    }

    /// Accounts for the parcel that has been written, if there is one.
    fn settle(&mut self) {
        let given = std::mem::take(&mut self.given);
        if given.messages > 0 {
            self.reader.release(&self.client.outbox, given);
            self.hub()
                .shared()
                .recorder
                .written(given.messages, given.bytes);
        }
    }

    /// Tells the account of the connection whether it has something to write. Costs an uncontended
    /// lock where there is a timeout for writing, and nothing elsewhere.
    fn note_writing(&self, writes: bool) {
        if let Some(in_flight) = &self.in_flight
            && self.hub().config().write_timeout.is_some()
        {
            in_flight.note_writing(writes);
        }
    }

    /// Returns the next parcel. Without one, the outbox will wake the registered task.
    fn next(&mut self) -> Option<Parcel> {
        if !self.reader.take_or_sleep(&self.client.outbox) {
            let drained = self.reader.drained(&self.client.outbox);
            if drained.awaited {
                self.hub().shared().room.notify_waiters();
            }
            if drained.pending {
                self.hub().resume(&self.client);
                self.reader.take_or_sleep(&self.client.outbox);
            }
        }
        self.reader.pop()
    }
}

impl HttpBody for ChannelStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        this.settle();
        this.note_writing(false);
        this.client.outbox.register(cx);
        if this
            .expiry
            .as_mut()
            .is_some_and(|expiry| expiry.as_mut().poll(cx).is_ready())
        {
            this.expiry = None;
            this.client.expire();
        }
        while let Some(parcel) = this.next() {
            this.given = parcel.weight();
            if !parcel.bytes.is_empty() {
                this.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                this.note_writing(true);
                return Poll::Ready(Some(Ok(Frame::data(parcel.bytes))));
            }
            // The message has no text form.
            this.settle();
        }
        if this.client.outbox.close_asked().is_some() {
            return Poll::Ready(None);
        }
        if this.encoding == Encoding::Events && this.silence.as_mut().poll(cx).is_ready() {
            this.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))));
        }
        Poll::Pending
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.settle();
        let reason = self
            .client
            .outbox
            .close_asked()
            .unwrap_or(CloseReason::PeerGone);
        self.hub().unregister(&self.membership, reason);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::access::PeerInfo;

    #[tokio::test]
    async fn who_waits_for_room_in_a_stream_is_told_when_it_has_written_everything() {
        let hub = Hub::new();
        let options = SubscribeOptions {
            gaps: true,
            ..SubscribeOptions::default()
        };
        let response = open(
            &hub,
            AdmittedPeer(PeerInfo::default()),
            "c",
            Encoding::Text,
            options,
            None,
        );
        let mut body = pin!(response.into_body());
        let mut poll = || {
            body.as_mut()
                .poll_frame(&mut Context::from_waker(Waker::noop()))
        };
        assert!(poll().is_pending());
        let client = hub.clients().next().expect("the stream's client");
        let mut room = pin!(hub.engine().shared().room.notified());
        room.as_mut().enable();
        let mut is_told = || {
            room.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        };
        client.outbox.await_room();
        hub.send_to_channel("c", crate::Message::output("line"))
            .expect("a valid name");
        hub.engine().flush();
        assert!(
            poll().is_ready() && !is_told(),
            "the line is not written yet"
        );
        assert!(poll().is_pending() && is_told());
    }
}
