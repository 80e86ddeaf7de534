//! The opening handshake (RFC 6455 section 4.2): what is refused before a connection exists, and what is answered when it does.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;

use super::Socket;
use super::addresses::counted;
use crate::access::{Denial, Identity, PeerAddress, PeerInfo, expired};
use crate::channel::{Client, ClientKind};
use crate::hub::Inner;
use crate::reason::RefusalReason;

/// The body of an answer to an upgrade: empty, or a refusal's text.
pub type UpgradeBody = Full<Bytes>;

/// Why a handshake was refused, or a stream for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeRefusal {
    Method,
    NotAnUpgrade,
    Version,
    Key,
    /// The gate stayed shut.
    Denied(Denial),
    Stopping,
    Full,
    FullAddress,
    /// The server that carries the hub does not support upgrades.
    NoUpgrade,
}

impl HandshakeRefusal {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "A WebSocket handshake is a GET request.",
            ),
            Self::NotAnUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "This address speaks WebSocket: connect with a WebSocket client.",
            ),
            Self::Version => (
                StatusCode::UPGRADE_REQUIRED,
                "Only version 13 of WebSocket (RFC 6455) is spoken here.",
            ),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Key is missing or is not 16 bytes in base64.",
            ),
            Self::Denied(denial) => (denial.status(), denial.text()),
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server is shutting down.",
            ),
            Self::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server has as many connections as it may.",
            ),
            Self::FullAddress => (
                StatusCode::TOO_MANY_REQUESTS,
                "Your address has as many connections to this server as it may.",
            ),
            Self::NoUpgrade => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server does not support upgrades.",
            ),
        }
    }

    /// As what it is counted.
    fn reason(self) -> RefusalReason {
        match self {
            Self::Method | Self::NotAnUpgrade | Self::Version | Self::Key | Self::NoUpgrade => {
                RefusalReason::Handshake
            }
            Self::Denied(denial) => denial.reason(),
            Self::Stopping => RefusalReason::Stopping,
            Self::Full => RefusalReason::ConnectionLimit,
            Self::FullAddress => RefusalReason::AddressLimit,
        }
    }

    /// Counted; what is to be answered.
    pub(crate) fn counted(self, hub: &Inner) -> (StatusCode, &'static str) {
        hub.core().totals.count_refused(self.reason());
        self.answer()
    }

    /// Counted, and answered.
    fn refuse(self, hub: &Inner) -> Response<UpgradeBody> {
        let (status, text) = self.counted(hub);
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            // RFC 9110 section 15.5.22: 426 names what to upgrade to; RFC 6455 section 4.2.2: and which version.
            Self::NotAnUpgrade | Self::Version => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Denied(denial) => {
                if let Some(challenge) = denial.challenge() {
                    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            _ => {}
        }
        response
    }
}

/// Answers a handshake, and when it succeeds, starts the connection's task.
pub(crate) async fn upgrade<B>(hub: &Arc<Inner>, request: Request<B>) -> Response<UpgradeBody> {
    // Apart from the body: the future can be sent between threads whether or not that can be shared.
    let (head, body) = request.into_parts();
    let (accept, identity) = match check(hub, &head).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.refuse(hub),
    };
    let peer = PeerAddress::of(&head.extensions);
    let mut request = Request::from_parts(head, body);
    if request
        .extensions()
        .get::<hyper::upgrade::OnUpgrade>()
        .is_none()
    {
        return HandshakeRefusal::NoUpgrade.refuse(hub);
    }
    let slot = match Slot::take(hub, peer) {
        Ok(slot) => slot,
        Err(refusal) => return refusal.refuse(hub),
    };
    // Once more: to find out who it is may have taken a while.
    if hub.is_stopping() {
        return HandshakeRefusal::Stopping.refuse(hub);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let hub = &slot.hub;
        match tokio::time::timeout(hub.config().handshake_timeout, upgrade).await {
            Ok(Ok(upgraded)) => {
                let socket = Socket::from_upgraded(upgraded);
                let expiring = identity
                    .clone()
                    .filter(|identity| identity.expiry().is_some());
                let address = peer.or_else(|| socket.peer_address());
                let client = hub.make_client(PeerInfo { address, identity }, ClientKind::WebSocket);
                // For whoever logs at level debug: costs nothing otherwise.
                let user = client.identity().map(Identity::user);
                let span =
                    tracing::debug_span!("connection", client = %client.id(), ?address, user);
                let connection =
                    super::run(Arc::clone(hub), Arc::clone(&client), socket).instrument(span);
                // Boxed: the waiting for the upgrade does not take the room of the connection.
                match expiring {
                    None => Box::pin(connection).await,
                    Some(identity) => {
                        Box::pin(run_until_expired(identity, &client, connection)).await
                    }
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "the peer left during the handshake"),
            Err(_) => {
                hub.core()
                    .totals
                    .count_refused(RefusalReason::HandshakeTimeout);
                tracing::debug!(address = ?peer, "a handshake did not end in time");
            }
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Runs a connection to its end, which begins when the client's identity expires.
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

/// One of the connections a hub may have, and its peer's address may, from the handshake to the end.
pub(crate) struct Slot {
    hub: Arc<Inner>,
    /// The address on whose account it is, if it is on one's.
    address: Option<IpAddr>,
}

impl Slot {
    /// A slot on the peer's account, if its address is known.
    pub(crate) fn take(
        hub: &Arc<Inner>,
        peer: Option<SocketAddr>,
    ) -> Result<Self, HandshakeRefusal> {
        if !hub.take_slot() {
            return Err(HandshakeRefusal::Full);
        }
        // From here on dropping it gives back what was taken.
        let mut slot = Self {
            hub: Arc::clone(hub),
            address: None,
        };
        if let Some(address) = peer.and_then(|peer| counted(peer.ip())) {
            if !hub
                .addresses()
                .take(address, hub.config().max_connections_per_address)
            {
                return Err(HandshakeRefusal::FullAddress);
            }
            slot.address = Some(address);
        }
        Ok(slot)
    }

    #[cfg(feature = "server")]
    pub(crate) fn hub(&self) -> &Arc<Inner> {
        &self.hub
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.hub.addresses().give_back(address);
        }
        self.hub.give_slot_back();
    }
}

/// What has to hold before anything is promised; answers the `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2).
async fn check(
    hub: &Arc<Inner>,
    head: &request::Parts,
) -> Result<(HeaderValue, Option<Identity>), HandshakeRefusal> {
    let headers = &head.headers;
    if head.method != Method::GET {
        return Err(HandshakeRefusal::Method);
    }
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
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
        .filter(|key| is_key(key));
    let key = key.ok_or(HandshakeRefusal::Key)?;
    if hub.is_stopping() {
        return Err(HandshakeRefusal::Stopping);
    }
    let identity = hub.admit(head).await.map_err(HandshakeRefusal::Denied)?;
    let accept =
        HeaderValue::from_str(&derive_accept_key(key)).expect("base64 is a valid header value");
    Ok((accept, identity))
}

/// Whether a list-valued header has a token, in whatever case (RFC 9110 section 5.6.1).
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

/// 16 bytes in base64: 22 characters of its alphabet and two of padding.
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
