//! One attempt to connect to a server.

use std::io;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::endpoint::{ClientSocket, Endpoint};
use super::error::ListError;
use super::event::DisconnectReason;
use super::lister::{ChannelList, ChannelLister};
use super::live_socket::describe;
use super::tls::is_not_tls;
use super::token_source::TokenSource;

/// The size of the largest message: a batch of the longest lines with every byte escaped.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// An open connection, and what was learned on the way to it.
pub(super) struct Established {
    /// The address at which the server has its WebSocket.
    pub(super) endpoint: Endpoint,
    pub(super) socket: ClientSocket,
    /// The server's channels before the connection was open, if they were asked for.
    pub(super) listed: Option<Result<ChannelList, ListError>>,
}

/// The reason why an attempt failed.
pub(super) struct AttemptFailure {
    pub(super) reason: DisconnectReason,
    /// Whether no server listens at the address. One that does later has no channels yet.
    pub(super) is_absent: bool,
    /// Whether another attempt would fail for the same reason.
    pub(super) is_final: bool,
    /// The token that the server does not accept, if there may be another one.
    pub(super) refused_token: Option<String>,
    /// Whether the server refuses because it would close a loop of relays.
    #[cfg(feature = "relay")]
    pub(super) is_loop: bool,
}

/// Connects to the first of these addresses that has a WebSocket.
///
/// With `needs_list`, the server is asked for its channels before that. A channel that appears
/// after the connection is open is then surely not in the list.
///
/// # Errors
/// If no address has a WebSocket, the server refuses, or the attempt takes longer than `limit`.
pub(super) async fn establish(
    endpoints: Vec<Endpoint>,
    needs_list: bool,
    limit: Duration,
) -> Result<Established, AttemptFailure> {
    timeout(limit, try_each(endpoints, needs_list))
        .await
        .unwrap_or_else(|_| {
            let limit = limit.as_secs_f32();
            Err(format!("no answer within {limit} s").into())
        })
}

/// Does the same as [`establish`] with the token that the program's function returns. A token that
/// the server does not accept leads to another attempt, unless the function has returned it twice
/// in a row.
pub(super) async fn establish_with(
    source: TokenSource,
    refused: Option<String>,
    mut endpoints: Vec<Endpoint>,
    needs_list: bool,
    limit: Duration,
) -> Result<Established, AttemptFailure> {
    let token = match timeout(limit, source.ask()).await {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => return Err(format!("there is no token: {error}").into()),
        Err(_) => {
            let limit = limit.as_secs_f32();
            return Err(format!("there was no token within {limit} s").into());
        }
    };
    for endpoint in &mut endpoints {
        if let Err(error) = endpoint.set_token(&token) {
            return Err(error.to_string().into());
        }
    }
    let established = establish(endpoints, needs_list, limit).await;
    established.map_err(|failure| AttemptFailure {
        is_final: failure.is_final && refused.as_ref() == Some(&token),
        refused_token: failure.is_final.then_some(token),
        ..failure
    })
}

impl From<String> for AttemptFailure {
    fn from(text: String) -> Self {
        Self::new(DisconnectReason::ConnectFailed(text))
    }
}

impl AttemptFailure {
    fn new(reason: DisconnectReason) -> Self {
        Self {
            reason,
            is_absent: false,
            is_final: false,
            refused_token: None,
            #[cfg(feature = "relay")]
            is_loop: false,
        }
    }
}

impl From<Error> for AttemptFailure {
    fn from(error: Error) -> Self {
        let is_absent = matches!(&error, Error::Io(error) if is_refused(error));
        #[cfg(feature = "relay")]
        let is_loop = matches!(
            &error,
            Error::Http(response) if response.status() == StatusCode::LOOP_DETECTED
        );
        // The other side does not speak HTTP, or not TLS. A server of this crate always does.
        let is_foreign = match &error {
            Error::Io(error) => is_not_tls(error),
            error => matches!(error, Error::Protocol(ProtocolError::HttparseError(_))),
        };
        let status = match &error {
            Error::Http(response) => Some(response.status()),
            _ => None,
        };
        let text = describe(error);
        Self {
            is_absent,
            is_final: status == Some(StatusCode::UNAUTHORIZED),
            #[cfg(feature = "relay")]
            is_loop,
            ..Self::new(match status {
                Some(status) => DisconnectReason::Refused {
                    status: status.as_u16(),
                    cause: text,
                },
                None if is_foreign => DisconnectReason::NoWebSocket(text),
                None => DisconnectReason::ConnectFailed(text),
            })
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

async fn try_each(
    endpoints: Vec<Endpoint>,
    needs_list: bool,
) -> Result<Established, AttemptFailure> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let mut answers = Vec::new();
    for endpoint in endpoints {
        let listed = match needs_list {
            false => None,
            true => match ChannelLister::new(endpoint.clone()).list(None).await {
                Err(ListError::Connection(error)) => {
                    return Err(match error.downcast::<io::Error>() {
                        Ok(error) => Error::Io(*error).into(),
                        Err(error) => error.to_string().into(),
                    });
                }
                listed => Some(listed),
            },
        };
        match endpoint.clone().open_websocket(config).await {
            Ok(socket) => {
                return Ok(Established {
                    endpoint,
                    socket,
                    listed,
                });
            }
            Err(Error::Http(response)) if is_elsewhere(response.status()) => {
                answers.push(format!(
                    "{} at {}",
                    response.status(),
                    endpoint.uri().path()
                ));
            }
            Err(Error::Protocol(ProtocolError::WrongHttpVersion)) => {
                answers.push(format!("in HTTP/1.0 at {}", endpoint.uri().path()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let answers = answers.join(", ");
    Err(AttemptFailure::new(DisconnectReason::NoWebSocket(format!(
        "there is no WebSocket: the server answers {answers}"
    ))))
}

/// Returns whether an answer to a handshake means that the address has no WebSocket. Another one
/// near it may have.
fn is_elsewhere(status: StatusCode) -> bool {
    status.is_success()
        || status.is_redirection()
        || matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE
                | StatusCode::GONE
                | StatusCode::UPGRADE_REQUIRED
        )
}
