//! The WebSocket handshake of a client.

use memchr::memmem;

/// The sample nonce of RFC 6455. A constant is as good as a random nonce, since no cache is between
/// the generator and the server.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The `Sec-WebSocket-Accept` that belongs to [`KEY`].
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest response head that is waited for.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The reason why a response does not accept the upgrade.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum UpgradeError {
    #[error("the response to the upgrade has no end")]
    EndlessHead,
    #[error("the server answered the upgrade with \"{0}\"")]
    Refused(String),
    #[error("the server accepted the upgrade with a wrong Sec-WebSocket-Accept")]
    WrongAccept,
}

/// Returns the request that upgrades a connection to a WebSocket.
pub(crate) fn upgrade_request(host: &str, path: &str, headers: &[String]) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// Checks the response to [`upgrade_request`] at the start of `bytes`.
///
/// Returns the length of its head, or `None` if the head is incomplete.
pub(crate) fn check_upgrade_response(bytes: &[u8]) -> Result<Option<usize>, UpgradeError> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() <= MAX_HEAD_BYTES {
            Ok(None)
        } else {
            Err(UpgradeError::EndlessHead)
        };
    };
    let head = &bytes[..end];
    if !head.starts_with(b"HTTP/1.1 101") {
        let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
        return Err(UpgradeError::Refused(
            String::from_utf8_lossy(line).into_owned(),
        ));
    }
    if memmem::find(head, ACCEPT).is_none() {
        return Err(UpgradeError::WrongAccept);
    }
    Ok(Some(end + 4))
}
