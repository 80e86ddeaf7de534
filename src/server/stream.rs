//! Plain HTTP streams of a channel: text lines for curl, Server-Sent Events for browsers. Other encodings of the same blocks, through the same
//! outbox, under the same rules.

use std::collections::VecDeque;
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
use super::refusal::{Admitted, refuse};
use crate::Hub;
use crate::access::expired;
use crate::channel::{Client, ClientKind, Subscription};
use crate::connection::HandshakeRefusal;
use crate::encode::Encoding;
use crate::hub::{ConnectionSlot, Engine};
use crate::message::ChannelName;
use crate::outbox::{Parcel, Used};
use crate::protocol::{Since, SubscribeOptions, SubscribeRefusal};
use crate::reason::{CloseReason, RefusalReason};

/// What may be asked for in the address.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamQuery {
    /// Up to so many of the last lines first.
    tail: Option<u64>,
}

/// An event stream that has nothing to say says so: proxies close what is silent, and a vanished reader is found by writing.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/channels/{channel}/stream`: the lines, each followed by `\n`. A gap shows as a line of its own.
pub(super) async fn text(
    State(hub): State<Hub>,
    admitted: Admitted,
    Path(channel): Path<String>,
    Query(query): Query<StreamQuery>,
    underway: Option<Extension<InFlight>>,
) -> Response {
    let options = SubscribeOptions {
        gaps: true,
        tail: query.tail,
        ..SubscribeOptions::default()
    };
    leave(
        underway,
        answer(&hub, admitted, &channel, Encoding::Text, options),
    )
}

/// `GET /api/channels/{channel}/events`: Server-Sent Events, each with the id `EPOCH:SEQ`, from which a browser resumes by itself.
pub(super) async fn events(
    State(hub): State<Hub>,
    admitted: Admitted,
    Path(channel): Path<String>,
    Query(query): Query<StreamQuery>,
    underway: Option<Extension<InFlight>>,
    headers: HeaderMap,
) -> Response {
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(since);
    // Where a stream goes on it has had its tail.
    let tail = if last.is_some() { None } else { query.tail };
    let options = SubscribeOptions {
        gaps: true,
        tail,
        since: last,
        ..SubscribeOptions::default()
    };
    leave(
        underway,
        answer(&hub, admitted, &channel, Encoding::Events, options),
    )
}

/// A stream is no request under way any more.
fn leave(underway: Option<Extension<InFlight>>, answer: Response) -> Response {
    if let (Some(Extension(underway)), StatusCode::OK) = (underway, answer.status()) {
        underway.leave();
    }
    answer
}

fn since(id: &str) -> Option<Since> {
    let (epoch, seq) = id.split_once(':')?;
    Some(Since {
        epoch: epoch.to_owned(),
        seq: seq.parse().ok()?,
    })
}

fn answer(
    hub: &Hub,
    admitted: Admitted,
    channel: &str,
    encoding: Encoding,
    options: SubscribeOptions,
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
    let inner = hub.engine();
    if inner.is_stopping() {
        const TEXT: &str = "The server is shutting down.";
        return refuse(
            hub,
            RefusalReason::Stopping,
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
        );
    }
    let client = inner.make_client(admitted.0, ClientKind::Http);
    if !inner.authorizes(&client, &name) {
        let text = SubscribeRefusal::Unauthorized.as_str();
        return refuse(
            hub,
            RefusalReason::Subscription,
            StatusCode::FORBIDDEN,
            text,
        );
    }
    let slot = match ConnectionSlot::take(inner, client.address()) {
        Ok(slot) => slot,
        Err(limit) => return HandshakeRefusal::Full(limit).count(inner).into_response(),
    };
    let expiring = client
        .identity()
        .filter(|identity| identity.expiry().is_some())
        .cloned();
    let body = Stream {
        membership: inner.register(&client),
        client,
        waiting: VecDeque::new(),
        given: Used::default(),
        encoding,
        silence: Box::pin(tokio::time::sleep(KEEP_ALIVE)),
        expiry: expiring.map(|identity| Box::pin(expired(identity)) as Pin<Box<_>>),
        slot,
    };
    inner.notify_connected(&body.client);
    if let Err(refusal) = inner.join(&body.client, name, encoding, Some(options), None) {
        return refuse(
            hub,
            refusal.reason(),
            StatusCode::SERVICE_UNAVAILABLE,
            refusal.as_str(),
        );
    }
    let content_type = match encoding {
        Encoding::Events => "text/event-stream",
        _ => "text/plain; charset=utf-8",
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // The connection ends with the stream, and is counted as one until then.
        (CONNECTION, HeaderValue::from_static("close")),
        // Proxies that collect a response before they pass it on are asked not to.
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

/// A response's body that is a client of the hub.
struct Stream {
    client: Arc<Client>,
    membership: Arc<Subscription>,
    /// Taken from the outbox; still on the client's account.
    waiting: VecDeque<Parcel>,
    /// Handed to the HTTP connection and not yet given back: it asks for more when it has written that.
    given: Used,
    encoding: Encoding,
    silence: Pin<Box<Sleep>>,
    /// The end of the client's identity, if it has one.
    expiry: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    slot: ConnectionSlot,
}

impl Stream {
    fn hub(&self) -> &Arc<Engine> {
        self.slot.engine()
    }

    fn settle(&mut self) {
        let given = std::mem::take(&mut self.given);
        if given.messages > 0 {
            self.client.outbox.release(given);
            self.client.count_written(given.messages as u64);
            self.hub()
                .totals()
                .count_write(given.messages as u64, given.bytes as u64);
        }
    }

    fn next(&mut self) -> Option<Parcel> {
        if self.waiting.is_empty() && !self.client.outbox.take_or_sleep(&mut self.waiting) {
            if self.client.take_awaited() {
                self.hub().shared().room.notify_waiters();
            }
            if self.client.take_owed() {
                self.hub().resume(&self.client);
                self.client.outbox.take_or_sleep(&mut self.waiting);
            }
        }
        self.waiting.pop_front()
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        this.settle();
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
                return Poll::Ready(Some(Ok(Frame::data(parcel.bytes))));
            }
            // A message that has no text: nothing to hand on.
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

impl Drop for Stream {
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
        let answer = answer(
            &hub,
            Admitted(PeerInfo::default()),
            "c",
            Encoding::Text,
            options,
        );
        let mut body = pin!(answer.into_body());
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
        client.await_room();
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
