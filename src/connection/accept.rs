//! The opening handshake (RFC 6455 section 4.2): checks the request, and answers it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request};
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::refusal::HandshakeRefusal;
use super::{Socket, UpgradeBody};
use crate::Hub;
use crate::access::{Identity, PeerAddress, PeerInfo, expired};
use crate::backplane::PATH_HEADER;
use crate::channel::{Client, ClientKind};
use crate::hub::{ConnectionSlot, Engine};
use crate::reason::RefusalReason;

impl Hub {
    /// Answers a WebSocket handshake. If it succeeds, serves the client in a task of its own.
    ///
    /// This works with any server built on hyper 1 that serves the connection with upgrades
    /// enabled (`with_upgrades`).
    ///
    /// The response is a refusal with a `text/plain` body if the request is not a handshake (RFC
    /// 6455 section 4.2.1), if the page that sends it belongs to another site, if the request is
    /// not admitted, or if the hub is full or shutting down. Refusals are counted: see
    /// [`Stats::refused`](crate::Stats::refused).
    ///
    /// A server that takes hyper's upgrade out of the request, or is not built on hyper, uses
    /// [`Hub::handshake`].
    ///
    /// The method waits for the [authenticator](crate::HubBuilder::authenticator), if there is one.
    /// For the handshake of a relay, a hub that is a relay itself asks its upstream servers whether
    /// this would close a loop, for 3 s at most.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request unanswered. The hub keeps nothing of it.
    pub async fn upgrade<B>(&self, request: Request<B>) -> Response<UpgradeBody> {
        match accept(self.engine(), request).await {
            Ok(response) => response,
            Err(refusal) => refusal.refuse(self.engine()),
        }
    }

    /// Answers a WebSocket handshake of a user whom the application has identified itself.
    ///
    /// The identity takes the place of the hub's authenticator. All other checks are made. The same
    /// happens if the extensions of a request contain an [`Identity`], on every route of the hub.
    ///
    /// # Panics
    /// As [`Hub::upgrade`].
    ///
    /// # Cancel safety
    /// As for [`Hub::upgrade`].
    pub async fn upgrade_as<B>(
        &self,
        identity: Identity,
        mut request: Request<B>,
    ) -> Response<UpgradeBody> {
        request.extensions_mut().insert(identity);
        self.upgrade(request).await
    }

    /// Checks a WebSocket handshake for a server that hands over its connections itself.
    ///
    /// This is for servers that are not built on hyper, or do not leave hyper's upgrade in the
    /// request. The caller sends [`Accept::response`] and then calls [`Hub::serve_stream`] with the
    /// bare connection. The checks, the refusals and the counts are those of [`Hub::upgrade`].
    ///
    /// The hub knows the peer's address if the caller has added a [`PeerAddress`] to the
    /// extensions.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use http::{Request, StatusCode};
    /// use outrace::Hub;
    ///
    /// let hub = Hub::new();
    /// let (parts, ()) = Request::get("/ws")
    ///     .header("host", "localhost")
    ///     .header("connection", "upgrade")
    ///     .header("upgrade", "websocket")
    ///     .header("sec-websocket-version", "13")
    ///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    ///     .body(())?
    ///     .into_parts();
    /// # let (peer, io) = tokio::io::duplex(1024);
    /// # drop(peer);
    /// match hub.handshake(&parts) {
    ///     Ok(accept) => {
    ///         assert_eq!(accept.response().status(), StatusCode::SWITCHING_PROTOCOLS);
    ///         // Send the response, and then:
    ///         hub.serve_stream(io, accept).await;
    ///     }
    ///     Err(response) => {
    ///         // Send it.
    ///         # unreachable!("{response:?}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the response that refuses the handshake. It has the status 503 if the hub's
    /// authenticator has to wait for something, as one that asks a database:
    /// [`Hub::handshake_async`] waits for it.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with time enabled if the hub has an authenticator.
    #[allow(
        clippy::result_large_err,
        reason = "the error is the response, which is sent at once"
    )]
    pub fn handshake(&self, parts: &request::Parts) -> Result<Accept, Response<UpgradeBody>> {
        let mut handshake = pin!(take(self.engine(), parts.clone()));
        match handshake
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => Err(HandshakeRefusal::Waits),
        }
        .map_err(|refusal| refusal.refuse(self.engine()))
    }

    /// Checks a handshake as [`Hub::handshake`] does, and waits for the
    /// [authenticator](crate::HubBuilder::authenticator).
    ///
    /// # Errors
    /// Returns the response that refuses the handshake.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with time enabled if the hub has an authenticator.
    ///
    /// # Cancel safety
    /// Dropping the future drops the request unanswered. The hub keeps nothing of it.
    pub async fn handshake_async(
        &self,
        parts: &request::Parts,
    ) -> Result<Accept, Response<UpgradeBody>> {
        take(self.engine(), parts.clone())
            .await
            .map_err(|refusal| refusal.refuse(self.engine()))
    }

    /// Serves a client over any stream of bytes, after its handshake. Returns when the connection
    /// has ended.
    ///
    /// The caller has sent [`Accept::response`] over the stream, and has read nothing beyond the
    /// request. A stream that buffers what is written is flushed after each write.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection without a close frame. The client is unregistered,
    /// and what waited for it is counted as discarded.
    pub async fn serve_stream(
        &self,
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        accept: Accept,
    ) {
        debug_assert!(Arc::ptr_eq(self.engine(), accept.slot.engine()));
        accept.run(Socket::from_io(io)).await;
    }
}

/// Checks a handshake without a body, and takes the place of its connection.
async fn take(hub: &Arc<Engine>, mut head: request::Parts) -> Result<Accept, HandshakeRefusal> {
    hub.resolve_peer(&mut head);
    let entry = check(hub, &head).await?;
    let subprotocol = hub.choose_subprotocol(&head.headers);
    Accept::take(hub, PeerAddress::of(&head.extensions), entry, subprotocol)
}

/// Checks a handshake, starts the connection's task and returns the response.
async fn accept<B>(
    hub: &Arc<Engine>,
    request: Request<B>,
) -> Result<Response<UpgradeBody>, HandshakeRefusal> {
    // The body is kept apart from what is awaited, so that the future is `Send` for every body.
    let (mut head, body) = request.into_parts();
    hub.resolve_peer(&mut head);
    let entry = check(hub, &head).await?;
    let subprotocol = hub.choose_subprotocol(&head.headers);
    let address = PeerAddress::of(&head.extensions);
    let mut request = Request::from_parts(head, body);
    if request.extensions().get::<OnUpgrade>().is_none() {
        return Err(HandshakeRefusal::NoUpgrade);
    }
    let accept = Accept::take(hub, address, entry, subprotocol)?;
    let response = accept.response();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let hub = accept.slot.engine();
        match tokio::time::timeout(hub.config().handshake_timeout, upgrade).await {
            // Boxed, so that a task that waits for its upgrade takes no room for a connection.
            Ok(Ok(upgraded)) => Box::pin(accept.run(Socket::from_upgraded(upgraded))).await,
            Ok(Err(error)) => tracing::debug!(%error, "the peer left during the handshake"),
            Err(_) => {
                hub.totals().count_refused(RefusalReason::HandshakeTimeout);
                tracing::debug!(?address, "a handshake did not end in time");
            }
        }
    });
    Ok(response)
}

/// A handshake that the hub has accepted. Returned by [`Hub::handshake`].
///
/// It counts as a connection until it is dropped, or until the connection ends that
/// [`Hub::serve_stream`] serves with it.
#[must_use = "the connection is served by Hub::serve_stream"]
pub struct Accept {
    slot: ConnectionSlot,
    peer: PeerInfo,
    accept_key: HeaderValue,
    subprotocol: Option<HeaderValue>,
}

/// What a handshake's check has found.
struct Entry {
    /// The value of `Sec-WebSocket-Accept`.
    accept_key: HeaderValue,
    identity: Option<Identity>,
}

impl Accept {
    /// Takes the place of a connection.
    fn take(
        hub: &Arc<Engine>,
        address: Option<SocketAddr>,
        entry: Entry,
        subprotocol: Option<HeaderValue>,
    ) -> Result<Self, HandshakeRefusal> {
        let slot = ConnectionSlot::take(hub, address).map_err(HandshakeRefusal::Full)?;
        // Checked again: the authenticator may have taken a while.
        if hub.is_stopping() {
            return Err(HandshakeRefusal::Stopping);
        }
        Ok(Self {
            slot,
            peer: PeerInfo {
                address,
                identity: entry.identity,
            },
            accept_key: entry.accept_key,
            subprotocol,
        })
    }

    /// Returns the response that completes the handshake: 101, with the headers of RFC 6455 section
    /// 4.2.2 and an empty body.
    pub fn response(&self) -> Response<UpgradeBody> {
        let mut response = Response::new(UpgradeBody::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept_key.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(subprotocol) = &self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
        }
        response
    }

    /// Returns the identity that the hub's authenticator found. `None` if it has none.
    pub fn identity(&self) -> Option<&Identity> {
        self.peer.identity.as_ref()
    }

    /// Creates the client, and runs its connection to the end.
    async fn run(self, socket: Socket) {
        let Self { slot, peer, .. } = self;
        let hub = slot.engine();
        let address = peer.address.or_else(|| socket.peer_address());
        let peer = PeerInfo { address, ..peer };
        let client = hub.make_client(peer, ClientKind::WebSocket);
        // No span is entered around the connection. A subscriber of the program may publish what it
        // is told, and every written line would then publish the lines of the spans that the write
        // entered.
        let connection = super::run(Arc::clone(hub), Arc::clone(&client), socket);
        let expires = |identity: &&Identity| identity.expiry().is_some();
        match client.identity().filter(expires).cloned() {
            None => connection.await,
            Some(identity) => Box::pin(run_until_expired(identity, &client, connection)).await,
        }
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept")
            .field("address", &self.peer.address)
            .field("user", &self.identity().map(Identity::user))
            .finish_non_exhaustive()
    }
}

/// Runs a connection to its end. Asks the client to close when its identity expires.
async fn run_until_expired(
    identity: Identity,
    client: &Client,
    connection: impl Future<Output = ()>,
) {
    let mut connection = pin!(connection);
    tokio::select! {
        () = &mut connection => return,
        () = expired(identity) => client.expire(),
    }
    connection.await;
}

/// Checks whether a request is a handshake that may become a connection.
async fn check(hub: &Engine, head: &request::Parts) -> Result<Entry, HandshakeRefusal> {
    let headers = &head.headers;
    if head.method != Method::GET {
        return Err(HandshakeRefusal::Method);
    }
    // Such a request can ask for no upgrade (RFC 6455 section 4.2.1, RFC 9110 section 7.8).
    if head.version < Version::HTTP_11 && headers.contains_key(UPGRADE) {
        return Err(HandshakeRefusal::HttpVersion);
    }
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        // A relay further down asks whether its path may go on, and wants no connection.
        if headers.contains_key(PATH_HEADER) {
            hub.admit(head).await.map_err(HandshakeRefusal::Denied)?;
            hub.check_path(headers)
                .await
                .map_err(HandshakeRefusal::Path)?;
        }
        return Err(HandshakeRefusal::NotAnUpgrade);
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version.as_bytes() != b"13")
    {
        return Err(HandshakeRefusal::Version);
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes)
        .filter(|key| is_key(key))
        .ok_or(HandshakeRefusal::Key)?;
    if hub.is_stopping() {
        return Err(HandshakeRefusal::Stopping);
    }
    let identity = hub.admit(head).await.map_err(HandshakeRefusal::Denied)?;
    hub.check_path(headers)
        .await
        .map_err(HandshakeRefusal::Path)?;
    let accept_key =
        HeaderValue::from_str(&derive_accept_key(key)).expect("base64 is a valid header value");
    Ok(Entry {
        accept_key,
        identity,
    })
}

/// Returns whether a list-valued header has a token, in upper or lower case (RFC 9110 section
/// 5.6.1).
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(token))
        })
}

/// Returns whether a key is 16 bytes in base64: 22 characters of its alphabet and two of padding.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn tokens_are_found_in_lists_and_in_any_case() {
        let headers = headers(&[(CONNECTION, "keep-alive, UPGRADE"), (UPGRADE, "WebSocket")]);
        assert!(has_token(&headers, &CONNECTION, "upgrade"));
        assert!(has_token(&headers, &UPGRADE, "websocket"));
        assert!(!has_token(&headers, &CONNECTION, "close"));
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ=a",
            b"dGhlIHNhbXBsZSBub25j*Q==",
        ] {
            assert!(!is_key(bad));
        }
    }
}
