//! The plain HTTP streams of a channel: text lines for curl, Server-Sent Events for browsers.
//!
//! A stream is a client like a WebSocket: it gets the same blocks in another encoding, through the
//! same kind of outbox, under the same rules.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode, request};

use super::refusal::HandshakeRefusal;
use super::silence::Silence;
use super::stream_body::{ChannelStream, Content, StreamBody};
use super::stream_query::{InvalidQuery, StreamQuery};
use crate::Hub;
use crate::access::{Denial, PeerAddress, PeerInfo, expired};
use crate::channel::{Client, ClientKind};
use crate::encode::Encoding;
use crate::hub::{ConnectionSlot, Engine};
use crate::message::ChannelName;
use crate::outbox::{OutboxReader, Used};
use crate::protocol::{Since, SubscribeOptions, SubscribeRefusal};
use crate::reason::RefusalReason;

/// The interval at which a silent event stream sends a comment. Proxies close silent connections,
/// and a vanished reader is found only by writing.
const EVENTS_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamForm {
    /// The lines, each followed by `\n`. A gap is a line of its own.
    Text,
    /// Server-Sent Events. Each has the id `EPOCH:SEQ`, from which a browser resumes by itself.
    Events,
}

/// The HTTP connection that carries a stream, as far as its server wants to know about the stream.
pub(crate) trait Carrier: Send + Sync {
    /// The connection has become the stream of this client.
    fn begin(&self, client: &Arc<Client>);

    /// The stream has given the connection something to write, or everything is written. It is
    /// called only if the hub has a timeout for writing.
    fn note_writing(&self, writes: bool);
}

impl Hub {
    /// Answers a request with the lines of a channel as plain text, each followed by `\n`: the
    /// stream of `GET /api/channels/{channel}/stream`.
    ///
    /// This works with any server that sends an `http_body::Body`, such as one built on hyper 1.
    /// The stream ends when the hub shuts down.
    ///
    /// The query of the request may have `tail`, the number of earlier lines to begin with, and
    /// `keep_alive`, the seconds after which a silent stream sends an empty line. The response is a
    /// refusal with a `text/plain` body if the query or the name is not valid, the request is not
    /// admitted, its sender may not subscribe to the channel, or the hub is full or shutting down.
    /// Refusals are counted: see [`Stats::refused`](crate::Stats::refused).
    ///
    /// The method waits for the [authenticator](crate::HubBuilder::authenticator), if there is one.
    /// The hub knows the peer's address if the caller has added a [`PeerAddress`] to the
    /// extensions.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use http::Request;
    /// use http_body_util::BodyExt;
    /// use outrace::Hub;
    ///
    /// let hub = Hub::new();
    /// let request = Request::get("/logs?tail=100").header("host", "localhost").body(())?;
    /// let response = hub.text_stream("process:web", &request.into_parts().0).await;
    /// assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    ///
    /// hub.send_process_output("web", "listening on :3000")?;
    /// let mut body = response.into_body();
    /// let frame = body.frame().await.ok_or("the stream has ended")??;
    /// assert_eq!(frame.into_data().ok(), Some("listening on :3000\n".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Panics outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request unanswered. Dropping the response ends the stream.
    pub async fn text_stream(&self, channel: &str, head: &request::Parts) -> Response<StreamBody> {
        self.stream(channel, head, StreamForm::Text).await
    }

    /// Answers a request with the messages of a channel as Server-Sent Events: the stream of
    /// `GET /api/channels/{channel}/events`.
    ///
    /// It resumes from the header `Last-Event-ID`, which browsers send by themselves. A silent
    /// stream sends a comment every 15 s, or as the query's `keep_alive` says. All else is as for
    /// [`Hub::text_stream`].
    ///
    /// # Panics
    /// As [`Hub::text_stream`].
    ///
    /// # Cancel safety
    /// As for [`Hub::text_stream`].
    pub async fn event_stream(&self, channel: &str, head: &request::Parts) -> Response<StreamBody> {
        self.stream(channel, head, StreamForm::Events).await
    }

    async fn stream(
        &self,
        channel: &str,
        head: &request::Parts,
        form: StreamForm,
    ) -> Response<StreamBody> {
        let engine = self.engine();
        let mut head = head.clone();
        engine.resolve_peer(&mut head);
        let peer = match engine.admit(&head).await {
            Ok(identity) => PeerInfo {
                address: PeerAddress::of(&head.extensions),
                identity,
            },
            Err(denial) => return deny(engine, denial),
        };
        open_stream(engine, peer, channel, form, &head, None)
    }
}

fn deny(engine: &Engine, denial: Denial) -> Response<StreamBody> {
    let mut response = refuse(engine, denial.reason(), denial.status(), denial.text());
    if let Some(challenge) = denial.challenge() {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Counts a refusal, and returns the response with its text.
fn refuse(
    engine: &Engine,
    reason: RefusalReason,
    status: StatusCode,
    text: impl Into<String>,
) -> Response<StreamBody> {
    engine.totals().count_refused(reason);
    refusal(status, text)
}

fn refusal(status: StatusCode, text: impl Into<String>) -> Response<StreamBody> {
    let mut response = Response::new(StreamBody(Content::Refusal(Some(text.into().into()))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Parses the id of an event.
fn since(id: &str) -> Option<Since> {
    let (epoch, seq) = id.split_once(':')?;
    Some(Since {
        epoch: epoch.to_owned(),
        seq: seq.parse().ok()?,
    })
}

/// Returns the position from which a browser resumes its events.
fn last_event(headers: &HeaderMap) -> Option<Since> {
    since(headers.get("last-event-id")?.to_str().ok()?)
}

/// Subscribes a new client to a channel. Returns its stream as a response, or the refusal.
pub(crate) fn open_stream(
    engine: &Arc<Engine>,
    peer: PeerInfo,
    channel: &str,
    form: StreamForm,
    head: &request::Parts,
    carrier: Option<Box<dyn Carrier>>,
) -> Response<StreamBody> {
    let query = match StreamQuery::parse(head.uri.query()) {
        Ok(query) => query,
        Err(InvalidQuery) => {
            let status = StatusCode::BAD_REQUEST;
            return refuse(engine, RefusalReason::Options, status, InvalidQuery::TEXT);
        }
    };
    let name = match ChannelName::parse(channel) {
        Ok(name) => name,
        Err(error) => {
            let status = StatusCode::BAD_REQUEST;
            return refuse(engine, RefusalReason::Name, status, error.to_string());
        }
    };
    if engine.is_stopping() {
        const TEXT: &str = "The server is shutting down.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return refuse(engine, RefusalReason::Stopping, status, TEXT);
    }
    let client = engine.make_client(peer, ClientKind::Http);
    if !engine.authorizes(&client, &name) {
        let text = SubscribeRefusal::Unauthorized.as_str();
        return refuse(
            engine,
            RefusalReason::Subscription,
            StatusCode::FORBIDDEN,
            text,
        );
    }
    let slot = match ConnectionSlot::take(engine, client.address()) {
        Ok(slot) => slot,
        Err(limit) => {
            let (status, text) = HandshakeRefusal::Full(limit).count(engine);
            return refusal(status, text);
        }
    };
    let (encoding, since, keep_alive) = match form {
        StreamForm::Text => (Encoding::Text, None, query.keep_alive()),
        StreamForm::Events => {
            let keep_alive = query.keep_alive().unwrap_or(EVENTS_KEEP_ALIVE);
            (
                Encoding::Events,
                last_event(&head.headers),
                Some(keep_alive),
            )
        }
    };
    let options = SubscribeOptions {
        gaps: true,
        // A stream that resumes has already had its tail.
        tail: query.tail.filter(|_| since.is_none()),
        since,
        ..SubscribeOptions::default()
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
        carrier,
        expiry: expiring.map(|identity| Box::pin(expired(identity)) as Pin<Box<_>>),
        slot,
    };
    engine.notify_connected(&body.client);
    if let Err(refusal) = engine.join(&body.client, name, encoding, Some(options), None) {
        return refuse(
            engine,
            refusal.reason(),
            StatusCode::SERVICE_UNAVAILABLE,
            refusal.as_str(),
        );
    }
    if let Some(carrier) = &body.carrier {
        carrier.begin(&body.client);
    }
    let mut response = Response::new(StreamBody(Content::Stream(Box::new(body))));
    let content_type = match form {
        StreamForm::Events => "text/event-stream",
        StreamForm::Text => "text/plain; charset=utf-8",
    };
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        // The connection counts as a client until it closes, so it closes with the stream.
        (CONNECTION, "close"),
        // Asks proxies not to buffer the response.
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use hyper::body::Body;

    use super::*;

    fn open(hub: &Hub, uri: &str, form: StreamForm) -> Response<StreamBody> {
        let request = http::Request::get(uri).body(()).expect("a valid address");
        let (head, ()) = request.into_parts();
        open_stream(hub.engine(), PeerInfo::default(), "c", form, &head, None)
    }

    #[tokio::test]
    async fn who_waits_for_room_in_a_stream_is_told_when_it_has_written_everything() {
        let hub = Hub::new();
        let response = open(&hub, "/", StreamForm::Text);
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
        for (form, uri, keep_alive, expected) in [
            (StreamForm::Events, "/", Some(seconds(15)), Some(":\n\n")),
            (
                StreamForm::Text,
                "/?keep_alive=30",
                Some(seconds(30)),
                Some("\n"),
            ),
            (StreamForm::Text, "/", None, None),
        ] {
            let hub = Hub::new();
            let response = open(&hub, uri, form);
            let mut body = response.into_body();
            if form == StreamForm::Events {
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
