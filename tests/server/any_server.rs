//! A hub behind servers that hand over their connections themselves.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response, StatusCode, request};
use outrace::access::{AuthError, Credentials, Identity};
use outrace::{CloseReason, Hub, PeerAddress, UpgradeBody};
use outrace_testkit::{JsonClient, bounded};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};

/// The head of a handshake.
fn head(extra: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get("/ws?token=secret")
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in extra {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// Reads the head of a request, and writes a response: a server without a library.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    respond: impl FnOnce(&request::Parts) -> Response<UpgradeBody>,
) {
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        received.push(io.read_u8().await.unwrap());
    }
    let text = String::from_utf8(received).unwrap();
    let mut lines = text.lines();
    let target = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut request = Request::get(target);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let response = respond(&request.body(()).unwrap().into_parts().0);
    let mut head = format!("HTTP/1.1 {}\r\n", response.status());
    for (name, value) in response.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    io.write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
}

/// A stream that is not `Unpin`.
struct Pinned<S>(S, std::marker::PhantomPinned);

impl<S: AsyncRead + Unpin> AsyncRead for Pinned<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        // SAFETY: the stream is `Unpin`, and nothing is moved out of it.
        let stream = unsafe { &mut self.get_unchecked_mut().0 };
        Pin::new(stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pinned<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        // SAFETY: as in `poll_read`.
        let stream = unsafe { &mut self.get_unchecked_mut().0 };
        Pin::new(stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // SAFETY: as in `poll_read`.
        Pin::new(unsafe { &mut self.get_unchecked_mut().0 }).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // SAFETY: as in `poll_read`.
        Pin::new(unsafe { &mut self.get_unchecked_mut().0 }).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_server_without_a_library_serves_clients_over_tcp() {
    bounded(async {
        let hub = Hub::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let server = tokio::spawn({
            let hub = hub.clone();
            async move {
                let (mut tcp, _): (TcpStream, _) = listener.accept().await.unwrap();
                let mut accepted = None;
                answer(&mut tcp, |parts| {
                    let accept = hub.handshake(parts).unwrap();
                    let response = accept.response();
                    accepted = Some(accept);
                    response
                })
                .await;
                hub.serve_stream(tcp, accepted.unwrap()).await;
            }
        });
        let mut client = JsonClient::subscribed(&url, "process:web").await;
        assert!(hub.clients().all(|client| client.address().is_some()));
        hub.send_process_output("web", "line").unwrap();
        client.until_line("line").await;
        hub.shutdown().await;
        assert_eq!(client.text_or_end().await, None);
        server.await.unwrap();
        assert_eq!(hub.stats().closed[CloseReason::Shutdown.name()], 1);
    })
    .await;
}

#[tokio::test]
async fn any_stream_is_served_and_its_connection_counts_until_it_has_ended() {
    bounded(async {
        let hub = Hub::builder().max_connections(1).build().unwrap();
        let accept = hub.handshake(&head(&[])).unwrap();
        assert_eq!(accept.response().status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(
            accept.response().headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        let refused = hub.handshake(&head(&[])).unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!refused.into_body().into_bytes().is_empty());
        // A handshake that leads to nothing gives its place back.
        drop(accept);
        let accept = hub.handshake(&head(&[])).unwrap();
        let (mut peer, io) = duplex(4096);
        let served = tokio::spawn({
            let hub = hub.clone();
            async move {
                hub.serve_stream(Pinned(io, std::marker::PhantomPinned), accept)
                    .await
            }
        });
        // A masked ping message: {"type":"ping"}
        peer.write_all(b"\x81\x8f\0\0\0\0{\"type\":\"ping\"}")
            .await
            .unwrap();
        let mut answer = vec![0; 16];
        peer.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"{\"type\":\"pong\""), "{answer:?}");
        drop(peer);
        served.await.unwrap();
        assert!(hub.handshake(&head(&[])).is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_handshake_is_refused_and_counted_as_by_an_upgrade() {
    let hub = Hub::new();
    let mut plain = head(&[]);
    plain.headers.remove("upgrade");
    for (parts, status) in [
        (plain, StatusCode::UPGRADE_REQUIRED),
        (
            head(&[("origin", "https://evil.example")]),
            StatusCode::FORBIDDEN,
        ),
    ] {
        let (parts_of_upgrade, refused) = (parts.clone(), hub.handshake(&parts).unwrap_err());
        assert_eq!(refused.status(), status);
        let upgrade = Request::from_parts(parts_of_upgrade, ());
        let upgraded = hub.upgrade(upgrade).await;
        assert_eq!(refused.headers(), upgraded.headers());
        assert_eq!(
            refused.into_body().into_bytes(),
            upgraded.into_body().into_bytes()
        );
    }
    assert_eq!(hub.stats().refused.values().sum::<u64>(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_waits_is_waited_for_by_the_asynchronous_handshake_alone() {
    async fn slow(_: Credentials) -> Result<Identity, AuthError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Identity::new("ann"))
    }
    struct Slow;
    impl outrace::access::Authenticator for Slow {
        fn authenticate<'a>(
            &'a self,
            credentials: &'a Credentials,
        ) -> outrace::access::AuthFuture<'a> {
            Box::pin(slow(credentials.clone()))
        }
    }
    let hub = Hub::builder().authenticator(Slow).build().unwrap();
    let mut parts = head(&[]);
    parts
        .extensions
        .insert(PeerAddress(([192, 0, 2, 7], 80).into()));
    parts.headers.insert("host", "192.0.2.1".parse().unwrap());
    let refused = hub.handshake(&parts).unwrap_err();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let accept = hub.handshake_async(&parts).await.unwrap();
    assert_eq!(accept.identity().map(Identity::user), Some("ann"));
}

#[tokio::test]
async fn a_user_whom_the_application_has_identified_needs_no_authenticator() {
    use outrace::access::{ApiKeys, Grants};
    let keys = ApiKeys::new().key("secret", "bob");
    for hub in [
        Hub::new(),
        Hub::builder().authenticator(keys).build().unwrap(),
    ] {
        let grants = Grants::default().subscribe(["process:web"]).unwrap();
        let ann = Identity::new("ann").with_grants(grants);
        let mut parts = head(&[]);
        parts.uri = "/ws".parse().unwrap();
        parts.extensions.insert(ann.clone());
        let accept = hub.handshake(&parts).unwrap();
        assert_eq!(accept.identity(), Some(&ann));
        // Expired, whoever said it.
        parts
            .extensions
            .insert(ann.clone().expires_at(std::time::SystemTime::UNIX_EPOCH));
        let refused = hub.handshake(&parts).unwrap_err();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        // The checks of the request itself stay.
        let mut foreign = head(&[("origin", "https://evil.example")]);
        foreign.extensions.insert(ann.clone());
        let response = hub.upgrade_as(ann, Request::from_parts(foreign, ())).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_graceful_server_ends_though_a_client_stays() {
    bounded(async {
        let hub = Hub::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served =
            axum::serve(listener, hub.router()).with_graceful_shutdown(hub.graceful(stopped));
        let server = tokio::spawn(async move { served.await });
        let mut client = JsonClient::subscribed(&url, "process:web").await;
        assert!(client.text_or_end().now_or_never().is_none());
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        assert_eq!(client.text_or_end().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_message_goes_to_one_client_alone() {
    bounded(async {
        let hub = Hub::builder()
            .on_connect(|client| {
                let message = outrace::Message::error("welcome");
                assert!(client.send_message(&message));
            })
            .build()
            .unwrap();
        let url = outrace_testkit::serve(&hub).await;
        let mut client = JsonClient::connect(&url).await;
        let message = client.message().await;
        assert_eq!(
            (&message["type"], &message["data"]),
            (&"error".into(), &"welcome".into())
        );
        assert!(message["timestamp"].is_string());
    })
    .await;
}

/// The head of a request for a stream.
fn stream_head(target: &str, extra: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get(target).header("host", "localhost");
    for (name, value) in extra {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[tokio::test]
async fn streams_are_bodies_for_any_server_and_end_with_the_hub() {
    bounded(async {
        let hub = Hub::builder().history(10).build().unwrap();
        for n in 1..=3 {
            hub.send_process_output("web", format!("line {n}")).unwrap();
        }
        let text = hub
            .text_stream("process:web", &stream_head("/logs?tail=2", &[]))
            .await;
        assert_eq!(text.status(), StatusCode::OK);
        let events = hub
            .event_stream("process:web", &stream_head("/events?tail=1", &[]))
            .await;
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        assert_eq!(hub.client_count(), 2);
        let (text, events, ()) = tokio::join!(collected(text), collected(events), hub.shutdown());
        assert_eq!(text, "line 2\nline 3\n");
        let id = events
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("id: "));
        let (epoch, seq) = id.unwrap().split_once(':').unwrap();
        assert_eq!((epoch.is_empty(), seq), (false, "3"), "{events}");
        assert_eq!(hub.client_count(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_event_stream_resumes_after_the_last_event_of_its_reader() {
    bounded(async {
        let hub = Hub::builder().history(10).build().unwrap();
        for n in 1..=3 {
            hub.send_process_output("web", format!("line {n}")).unwrap();
        }
        let epoch = hub.channels().next().unwrap().epoch.to_string();
        let last = format!("{epoch}:2");
        let head = stream_head("/events?tail=3", &[("last-event-id", &last)]);
        let events = hub.event_stream("process:web", &head).await;
        let (events, ()) = tokio::join!(collected(events), hub.shutdown());
        assert!(
            events.contains("line 3") && !events.contains("line 2"),
            "{events}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_refused_with_its_reason_and_counted() {
    bounded(async {
        let hub = Hub::builder()
            .authenticator(outrace::access::from_fn(|credentials| {
                let token = credentials.query_token().ok_or(AuthError::Missing)?;
                Ok(Identity::new(token))
            }))
            .on_subscribe(|_, channel| channel.as_str() != "secret")
            .build()
            .unwrap();
        for (channel, target, status) in [
            ("c", "/", StatusCode::UNAUTHORIZED),
            ("secret", "/?token=t", StatusCode::FORBIDDEN),
            ("no name", "/?token=t", StatusCode::BAD_REQUEST),
            ("c", "/?token=t&tail=x", StatusCode::BAD_REQUEST),
        ] {
            let response = hub.text_stream(channel, &stream_head(target, &[])).await;
            assert_eq!(response.status(), status, "{channel} {target}");
            assert!(!collected(response).await.is_empty());
        }
        assert_eq!(hub.stats().refused.values().sum::<u64>(), 4);
        assert_eq!(hub.client_count(), 0);
        drop(hub.text_stream("c", &stream_head("/?token=t", &[])).await);
        assert_eq!(hub.stats().connected, 1);
        assert_eq!(hub.client_count(), 0);
    })
    .await;
}

/// Reads a body to its end.
async fn collected(response: Response<outrace::StreamBody>) -> String {
    let body = http_body_util::BodyExt::collect(response.into_body());
    let bytes = body.await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}
