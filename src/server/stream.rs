//! The plain HTTP streams of a channel: text lines for curl, Server-Sent Events for browsers.
//!
//! A stream is a client like a WebSocket: it gets the same blocks in another encoding, through the
//! same kind of outbox, under the same rules.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};

use super::in_flight::InFlight;
use super::refusal::{AdmittedPeer, refuse};
use super::silence::Silence;
use super::stream_query::StreamQuery;
use crate::Hub;
use crate::access::expired;
use crate::channel::{Client, ClientKind, Subscription};
use crate::connection::HandshakeRefusal;
use crate::encode::{Encoding, LINE_START};
use crate::hub::{ConnectionSlot, Engine};
use crate::message::ChannelName;
use crate::outbox::{OutboxReader, Parcel, Used};
use crate::protocol::{Since, SubscribeOptions, SubscribeRefusal};
use crate::reason::{CloseReason, RefusalReason};

/// The interval at which a silent event stream sends a comment. Proxies close silent connections,
/// and a vanished reader is found only by writing.
const EVENTS_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/channels/{channel}/stream`: the lines, each followed by `\n`. A gap is a line of its
/// own.
pub(super) async fn text(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    Path(channel): Path<String>,
    query: StreamQuery,
    in_flight: Option<Extension<InFlight>>,
) -> Response {
    let options = SubscribeOptions {
        gaps: true,
        tail: query.tail,
        ..SubscribeOptions::default()
    };
    let in_flight = in_flight.map(|Extension(in_flight)| in_flight);
    let keep_alive = query.keep_alive();
    open(
        &hub,
        admitted,
        &channel,
        Encoding::Text,
        options,
        keep_alive,
        in_flight,
    )
}

/// `GET /api/channels/{channel}/events`: Server-Sent Events. Each has the id `EPOCH:SEQ`, from
/// which a browser resumes by itself.
pub(super) async fn events(
    State(hub): State<Hub>,
    admitted: AdmittedPeer,
    Path(channel): Path<String>,
    query: StreamQuery,
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
    let keep_alive = query.keep_alive().unwrap_or(EVENTS_KEEP_ALIVE);
    open(
        &hub,
        admitted,
        &channel,
        Encoding::Events,
        options,
        Some(keep_alive),
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
    keep_alive: Option<Duration>,
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
        silence: keep_alive.map(Silence::new),
        is_within_line: false,
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

/// Replaces [`LINE_START`] by the end of the line before, if that has none.
fn on_its_line(bytes: Bytes, is_within_line: bool) -> Bytes {
    match bytes.split_first() {
        Some((&LINE_START, text)) if is_within_line => [b"\n", text].concat().into(),
        Some((&LINE_START, _)) => bytes.slice(1..),
        _ => bytes,
    }
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
    silence: Option<Silence>,
    /// Whether the last line is a piece of a longer one, so that its text has no end yet.
    is_within_line: bool,
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
                if let Some(silence) = &mut this.silence {
                    silence.begin();
                }
                let bytes = on_its_line(parcel.bytes, this.is_within_line);
                this.is_within_line = !bytes.ends_with(b"\n");
                this.note_writing(true);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            // The message has no text form.
            this.settle();
        }
        if this.client.outbox.close_asked().is_some() {
            return Poll::Ready(None);
        }
        let Some(silence) = this.silence.as_mut().filter(|_| !this.is_within_line) else {
            return Poll::Pending;
        };
        ready!(silence.poll_end(cx));
        let something: &[u8] = match this.encoding {
            Encoding::Events => b":\n\n",
            _ => b"\n",
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(something)))))
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

    #[test]
    fn a_gap_within_a_cut_line_stands_on_a_line_of_its_own() {
        let name = ChannelName::parse("c").expect("valid");
        let now = crate::encode::Timestamp::from_unix_millis(0);
        let gap = crate::encode::gap(Encoding::Text, &name, 1, 3, &now);
        assert_eq!(on_its_line(gap.clone(), false), "… 3 lines skipped …\n");
        assert_eq!(on_its_line(gap, true), "\n… 3 lines skipped …\n");
        let line = Bytes::from("… 3 lines skipped …\n");
        assert_eq!(on_its_line(line.clone(), true), line, "a line of a process");
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_sends_something_at_its_interval_and_a_text_only_when_asked_to() {
        use http_body_util::BodyExt;
        let seconds = Duration::from_secs;
        for (encoding, keep_alive, expected) in [
            (Encoding::Events, Some(seconds(15)), Some(":\n\n")),
            (Encoding::Text, Some(seconds(30)), Some("\n")),
            (Encoding::Text, None, None),
        ] {
            let hub = Hub::new();
            let options = SubscribeOptions::default();
            let admitted = AdmittedPeer(PeerInfo::default());
            let response = open(&hub, admitted, "c", encoding, options, keep_alive, None);
            let mut body = response.into_body();
            if encoding == Encoding::Events {
                let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
                let first = String::from_utf8_lossy(&first).into_owned();
                assert!(first.contains("subscribed"), "{first}");
            }
            let begun = tokio::time::Instant::now();
            for round in 1..3 {
                let frame = tokio::time::timeout(seconds(3600), body.frame()).await;
                let text = frame
                    .ok()
                    .map(|frame| frame.unwrap().unwrap().into_data().unwrap());
                assert_eq!(text.as_deref(), expected.map(str::as_bytes));
                if let Some(keep_alive) = keep_alive {
                    assert_eq!(begun.elapsed().as_secs(), (keep_alive * round).as_secs());
                }
            }
            // A line begins the silence anew.
            tokio::time::advance(seconds(10)).await;
            hub.send_to_channel("c", crate::Message::output("line"))
                .unwrap();
            hub.engine().flush();
            let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(line.ends_with(b"\n") && line.len() > 3, "{line:?}");
            let sent = tokio::time::Instant::now();
            if let Some(keep_alive) = keep_alive {
                body.frame().await.unwrap().unwrap();
                assert_eq!(sent.elapsed().as_secs(), keep_alive.as_secs());
            }
        }
    }
}
