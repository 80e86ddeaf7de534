//! The opening handshake (RFC 6455 section 4.2): checks the request, and answers it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request};
use http_body_util::Full;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Socket;
use super::refusal::HandshakeRefusal;
use crate::Hub;
use crate::access::{Identity, PeerAddress, PeerInfo, expired};
use crate::backplane::PATH_HEADER;
use crate::channel::{Client, ClientKind};
use crate::hub::{ConnectionSlot, Engine};
use crate::reason::RefusalReason;

/// The body of the response to an upgrade request: empty, or the text of a refusal.
pub type UpgradeBody = Full<Bytes>;

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
}

/// Checks a handshake, starts the connection's task and returns the response.
async fn accept<B>(
    hub: &Arc<Engine>,
    request: Request<B>,
) -> Result<Response<UpgradeBody>, HandshakeRefusal> {
    // The body is kept apart from what is awaited, so that the future is `Send` for every body.
    let (mut head, body) = request.into_parts();
    hub.resolve_peer(&mut head);
    let (accept_key, identity) = check(hub, &head).await?;
    let subprotocol = hub.choose_subprotocol(&head.headers);
    let address = PeerAddress::of(&head.extensions);
    let mut request = Request::from_parts(head, body);
    if request.extensions().get::<OnUpgrade>().is_none() {
        return Err(HandshakeRefusal::NoUpgrade);
    }
    let slot = ConnectionSlot::take(hub, address).map_err(HandshakeRefusal::Full)?;
    // Checked again: the authenticator may have taken a while.
    if hub.is_stopping() {
        return Err(HandshakeRefusal::Stopping);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let hub = slot.engine();
        match tokio::time::timeout(hub.config().handshake_timeout, upgrade).await {
            Ok(Ok(upgraded)) => {
                let (client, connection) = connect(hub, upgraded, PeerInfo { address, identity });
                let expires = |identity: &&Identity| identity.expiry().is_some();
                let expiring = client.identity().filter(expires).cloned();
                // Boxed, so that a task that waits for its upgrade takes no room for a connection.
                match expiring {
                    None => Box::pin(connection).await,
                    Some(identity) => {
                        Box::pin(run_until_expired(identity, &client, connection)).await;
                    }
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "the peer left during the handshake"),
            Err(_) => {
                hub.totals().count_refused(RefusalReason::HandshakeTimeout);
                tracing::debug!(?address, "a handshake did not end in time");
            }
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept_key);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    Ok(response)
}

/// Creates the client of an upgraded connection, and the future that runs the connection.
fn connect(
    hub: &Arc<Engine>,
    upgraded: Upgraded,
    peer: PeerInfo,
) -> (Arc<Client>, impl Future<Output = ()> + use<>) {
    let socket = Socket::from_upgraded(upgraded);
    let address = peer.address.or_else(|| socket.peer_address());
    let identity = peer.identity;
    let client = hub.make_client(PeerInfo { address, identity }, ClientKind::WebSocket);
    // No span is entered around the connection. A subscriber of the program may publish what it is
    // told, and every written line would then publish the lines of the spans that the write
    // entered.
    let connection = super::run(Arc::clone(hub), Arc::clone(&client), socket);
    (client, connection)
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

/// Checks whether a request is a handshake that may become a connection. Returns the value of
/// `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2) and the sender's identity.
async fn check(
    hub: &Engine,
    head: &request::Parts,
) -> Result<(HeaderValue, Option<Identity>), HandshakeRefusal> {
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
    Ok((accept_key, identity))
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
