//! One request to publish, and its response.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::endpoint::Endpoint;

/// The longest time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest response that is read.
const MAX_RESPONSE_BYTES: usize = 4 << 20;
/// The largest part of a refusal's text that is kept.
const MAX_SHOWN_CHARS: usize = 300;

/// The outcome of a request.
pub(super) enum Outcome {
    /// The server has published the messages.
    Published,
    /// The server cannot be reached, or is too busy: the messages were not published.
    Unsent(String),
    /// The messages may have been published.
    Unknown(String),
    /// The server does not accept the credentials.
    Unauthorized(String),
    /// The server refuses the request. It has published none of the messages.
    Rejected(String),
}

/// A connection to the server, if there is one.
pub(super) struct Exchange {
    endpoint: Endpoint,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// The task that drives the connection. It ends with this.
    connection: JoinSet<()>,
}

impl Exchange {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            sender: None,
            connection: JoinSet::new(),
        }
    }

    /// Sends a request with this body and waits for the response. Connects first if there is no
    /// connection.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> Outcome {
        let sender = match self.connected().await {
            Ok(sender) => sender,
            Err(reason) => return Outcome::Unsent(reason),
        };
        let outcome = match timeout(RESPONSE_TIMEOUT, exchange(sender, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unknown(format!(
                "the server did not answer within {} s",
                RESPONSE_TIMEOUT.as_secs()
            )),
        };
        if matches!(outcome, Outcome::Unsent(_) | Outcome::Unknown(_)) {
            self.sender = None;
            self.connection = JoinSet::new();
        }
        outcome
    }

    /// Returns the open connection, or a new one, with the request that `body` goes into.
    async fn connected(&mut self) -> Result<Prepared<'_>, String> {
        let mut request = Request::post(self.endpoint.beside("api/actions"))
            .body(())
            .map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        headers.extend(self.endpoint.headers());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let open = match self.sender.take() {
            // Ready, or closed by the server meanwhile.
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match open {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        Ok(Prepared {
            sender: self.sender.insert(sender),
            request,
        })
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        let connect = async {
            let stream = self.endpoint.connect().await?;
            handshake(TokioIo::new(stream))
                .await
                .map_err(std::io::Error::other)
        };
        let (mut sender, connection) = timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))?
            .map_err(|error| error.to_string())?;
        self.connection = JoinSet::new();
        self.connection.spawn(async move {
            // Its errors come to the request too.
            let _ = connection.await;
        });
        sender.ready().await.map_err(|error| error.to_string())?;
        Ok(sender)
    }
}

/// A connection, and a request that has no body yet.
struct Prepared<'a> {
    sender: &'a mut SendRequest<Full<Bytes>>,
    request: Request<()>,
}

async fn exchange(prepared: Prepared<'_>, body: Vec<u8>) -> Outcome {
    let request = prepared.request.map(|()| Full::from(body));
    let response = match prepared.sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut error) => {
            let reason = error.error().to_string();
            return match error.take_message() {
                // Not a byte of it was sent.
                Some(_) => Outcome::Unsent(reason),
                None => Outcome::Unknown(reason),
            };
        }
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES)
        .collect()
        .await;
    let text = match body {
        Ok(body) => shown(status, &body.to_bytes()),
        Err(error) => format!("{status}: {error}"),
    };
    match status {
        status if status.is_success() => Outcome::Published,
        StatusCode::UNAUTHORIZED => Outcome::Unauthorized(text),
        // Said before anything is published, by the server or by a proxy in front of it.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Unsent(text),
        // A proxy says so when the server's answer was lost.
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Outcome::Unknown(text),
        status if status.is_server_error() => Outcome::Unknown(text),
        _ => Outcome::Rejected(text),
    }
}

/// Returns what an error tells of a response.
fn shown(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(MAX_SHOWN_CHARS).collect();
    if text.is_empty() {
        format!("the server answers {status}")
    } else {
        format!("the server answers {status}: {text}")
    }
}
