//! One HTTP request to a server, on a connection of its own.

use std::error::Error as _;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, ETAG, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::endpoint::Endpoint;
use super::error::ListError;

/// The largest response: a list of about a hundred thousand channels.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

/// A whole response.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    /// The `ETag`.
    pub(crate) version: Option<HeaderValue>,
    pub(crate) body: Vec<u8>,
}

impl Endpoint {
    /// Sends a request, whose target is a path with a query, with the host and the token. Returns
    /// the response, whatever its status.
    ///
    /// # Errors
    /// If the connection fails, or the response is not HTTP or larger than 32 MiB.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection. The server may have the request.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<HttpAnswer, ListError> {
        let headers = request.headers_mut();
        headers.extend(self.headers());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let stream = self
            .connect()
            .await
            .map_err(|error| ListError::Connection(error.into()))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(http_error)?;
        let mut exchange = pin!(send(sender, request));
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection reports its errors to the exchange too, and what it has read is
            // still there.
            _ = connection => exchange.await,
        }
    }

    /// Returns the target of a path beside the WebSocket's. The query is kept, because it may hold
    /// the token.
    pub(crate) fn beside(&self, path: &str) -> String {
        beside(self.uri().path(), self.uri().query(), path)
    }
}

fn beside(websocket: &str, query: Option<&str>, path: &str) -> String {
    let folder = websocket.rsplit_once('/').map_or("", |(folder, _)| folder);
    match query {
        Some(query) => format!("{folder}/{path}?{query}"),
        None => format!("{folder}/{path}"),
    }
}

/// Sends the request and reads the body of the response.
async fn send(
    mut sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<HttpAnswer, ListError> {
    let response = sender.send_request(request).await.map_err(http_error)?;
    let status = response.status();
    let version = response.headers().get(ETAG).cloned();
    let body = read_body(response.into_body()).await?;
    Ok(HttpAnswer {
        status,
        version,
        body,
    })
}

async fn read_body(mut body: Incoming) -> Result<Vec<u8>, ListError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            // Some servers end a TLS connection without a close notification. The JSON shows
            // whether the body was complete.
            Err(error) if is_unexpected_end(&error) => break,
            Err(error) => return Err(http_error(error)),
        };
        if data.len() > MAX_RESPONSE_BYTES - bytes.len() {
            return Err(invalid_response("the response is larger than 32 MiB"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn is_unexpected_end(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Tells a response that is not HTTP from a connection that failed.
fn http_error(error: hyper::Error) -> ListError {
    if error.is_parse() || error.is_incomplete_message() {
        invalid_response(error)
    } else {
        ListError::Connection(error.into())
    }
}

pub(super) fn invalid_response(error: impl Into<super::error::BoxError>) -> ListError {
    ListError::InvalidResponse(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_beside_the_websocket() {
        assert_eq!(beside("/ws", None, "api/channels"), "/api/channels");
        assert_eq!(beside("/", None, "api/channels"), "/api/channels");
        assert_eq!(
            beside("/live/ws", Some("token=x/y"), "api/channels"),
            "/live/api/channels?token=x/y"
        );
    }
}
