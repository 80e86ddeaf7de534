//! The refusals of a handshake, and the responses to them.

use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use super::UpgradeBody;
use crate::access::Denial;
use crate::backplane::PathError;
use crate::hub::{ConnectionLimit, Engine};
use crate::reason::RefusalReason;

/// Why a handshake was refused. A stream over HTTP is refused for some of these reasons too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeRefusal {
    /// The method is not GET.
    Method,
    /// The request is older than HTTP/1.1.
    HttpVersion,
    /// The request asks for no upgrade to WebSocket.
    NotAnUpgrade,
    /// The request names another version of WebSocket than 13.
    Version,
    /// The `Sec-WebSocket-Key` is not valid.
    Key,
    /// The gate refused the request.
    Denied(Denial),
    /// A relay would close a loop of relays, or make too long a row.
    Path(PathError),
    /// The hub is shutting down.
    Stopping,
    /// There are as many connections as this limit allows.
    Full(ConnectionLimit),
    /// The HTTP server that carries the hub does not support upgrades.
    NoUpgrade,
    /// The authenticator has to wait, and the caller does not.
    Waits,
}

impl HandshakeRefusal {
    fn response(self) -> (StatusCode, &'static str) {
        match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "A WebSocket handshake is a GET request.",
            ),
            Self::HttpVersion => (
                StatusCode::BAD_REQUEST,
                "A WebSocket handshake needs HTTP/1.1; a proxy may have to be told to use it.",
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
            Self::Path(error) => (StatusCode::LOOP_DETECTED, error.text()),
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server is shutting down.",
            ),
            Self::Full(ConnectionLimit::Total) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server has as many connections as it may.",
            ),
            Self::Full(ConnectionLimit::Address) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Your address has as many connections to this server as it may.",
            ),
            Self::NoUpgrade => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server does not support upgrades.",
            ),
            Self::Waits => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The server cannot wait for its check of credentials.",
            ),
        }
    }

    /// Returns the counter that this refusal increments.
    fn reason(self) -> RefusalReason {
        match self {
            Self::Method
            | Self::HttpVersion
            | Self::NotAnUpgrade
            | Self::Version
            | Self::Key
            | Self::NoUpgrade
            | Self::Waits => RefusalReason::Handshake,
            Self::Denied(denial) => denial.reason(),
            Self::Path(_) => RefusalReason::RelayLoop,
            Self::Stopping => RefusalReason::Stopping,
            Self::Full(ConnectionLimit::Total) => RefusalReason::ConnectionLimit,
            Self::Full(ConnectionLimit::Address) => RefusalReason::AddressLimit,
        }
    }

    /// Counts the refusal. Returns the status and the text of the response.
    pub(crate) fn count(self, hub: &Engine) -> (StatusCode, &'static str) {
        hub.totals().count_refused(self.reason());
        self.response()
    }

    /// Counts the refusal and builds the response.
    pub(super) fn refuse(self, hub: &Engine) -> Response<UpgradeBody> {
        let (status, text) = self.count(hub);
        let mut response = Response::new(UpgradeBody::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            // A 426 names the protocol (RFC 9110 section 15.5.22) and here its version too (RFC
            // 6455 section 4.2.2).
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
