//! The server that a watcher or a lister talks to, with the means to be let in.

use std::io;

use http::Uri;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::dial::connect;
use super::error::WatchError;
use super::tls::{ClientTls, Transport};

/// A WebSocket connection to a server.
pub(super) type ClientSocket = WebSocketStream<Box<dyn Transport>>;

/// The headers that belong to the connection and to the library, beside `Sec-WebSocket-*`.
const RESERVED: [&str; 7] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// A server's WebSocket address, the token to show, and the TLS settings.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The upgrade request, with the token in its headers.
    request: Request,
    /// The headers that the program has added. They are in `request` too.
    added: HeaderMap,
    tls: ClientTls,
}

impl Endpoint {
    /// Parses the address. An address with `wss://` trusts the root certificates in the PEM, or
    /// those of the system without one.
    pub(crate) fn new(
        url: &str,
        token: Option<&str>,
        root_certificates: Option<&[u8]>,
    ) -> Result<Self, WatchError> {
        let invalid = |reason: &str| WatchError::InvalidUrl {
            url: without_query(url).to_owned(),
            reason: reason.to_owned(),
        };
        let request = url
            .into_client_request()
            .map_err(|error| invalid(&error.to_string()))?;
        let tls = match request.uri().scheme_str() {
            Some("ws") => ClientTls::default(),
            Some("wss") => ClientTls::new(root_certificates)?,
            _ => return Err(invalid("it must begin with ws:// or wss://")),
        };
        let mut endpoint = Self {
            request,
            added: HeaderMap::new(),
            tls,
        };
        if let Some(token) = token {
            endpoint.set_token(token)?;
        }
        Ok(endpoint)
    }

    /// Sets the token to show.
    pub(super) fn set_token(&mut self, token: &str) -> Result<(), WatchError> {
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| WatchError::InvalidToken)?;
        header.set_sensitive(true);
        self.request.headers_mut().insert(AUTHORIZATION, header);
        Ok(())
    }

    /// Adds headers of the program to every request.
    pub(super) fn add_headers(&mut self, headers: &[(String, String)]) -> Result<(), WatchError> {
        for (name, value) in headers {
            let invalid = || WatchError::InvalidHeader { name: name.clone() };
            let header = HeaderName::try_from(name).map_err(|_| invalid())?;
            let value = HeaderValue::try_from(value).map_err(|_| invalid())?;
            if RESERVED.contains(&header.as_str()) || header.as_str().starts_with("sec-websocket-")
            {
                return Err(invalid());
            }
            self.added.append(header, value);
        }
        self.request.headers_mut().extend(self.added.clone());
        Ok(())
    }

    pub(super) fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// Returns the addresses that the given one may stand for: itself and, unless it ends with
    /// `/ws`, the `ws` in it, beside it and at the root. People copy the address of a page.
    pub(super) fn candidates(&self) -> Vec<Self> {
        let path = self.uri().path();
        let mut paths = vec![path.to_owned()];
        if !path.ends_with("/ws") {
            let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for folder in [path.trim_end_matches('/'), beside, ""] {
                let candidate = format!("{folder}/ws");
                if !paths.contains(&candidate) {
                    paths.push(candidate);
                }
            }
        }
        paths
            .iter()
            .filter_map(|path| self.with_path(path))
            .collect()
    }

    /// Returns the endpoint with another path and the same query.
    fn with_path(&self, path: &str) -> Option<Self> {
        let path = match self.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = self.uri().clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
        let mut endpoint = self.clone();
        *endpoint.request.uri_mut() = Uri::from_parts(parts).ok()?;
        Some(endpoint)
    }

    /// Returns the address without its query, which may hold a token.
    pub(crate) fn shown_url(&self) -> String {
        without_query(&self.uri().to_string()).to_owned()
    }

    /// Returns the host and the port of the address, without a user in it.
    #[cfg(feature = "relay")]
    pub(crate) fn authority(&self) -> String {
        let host = self.uri().host().unwrap_or_default();
        match self.uri().port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Adds a header to the handshake.
    #[cfg(feature = "relay")]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request.headers_mut().insert(name, value);
        self
    }

    /// Returns the target of the WebSocket: its path and query.
    #[cfg(feature = "relay")]
    pub(crate) fn target(&self) -> &str {
        self.uri()
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
    }

    /// Returns the headers that every request to this server needs: the host, the token, and what
    /// the program has added.
    pub(super) fn headers(&self) -> HeaderMap {
        [HOST, AUTHORIZATION]
            .into_iter()
            .filter_map(|name| {
                let value = self.request.headers().get(&name)?.clone();
                Some((name, value))
            })
            .chain(
                self.added
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            )
            .collect()
    }

    /// Connects over TCP, and over TLS if the address asks for it.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Transport>> {
        connect(self.uri(), &self.tls).await
    }

    /// Connects and performs the WebSocket handshake.
    pub(super) async fn open_websocket(
        self,
        config: WebSocketConfig,
    ) -> Result<ClientSocket, Error> {
        let stream = self.connect().await?;
        let (socket, _) = client_async_with_config(self.request, stream, Some(config)).await?;
        Ok(socket)
    }
}

/// Strips the query and the fragment of an address. A token may be in the query.
pub(super) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.shown_url()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_stand_for_the_websocket_in_it_or_beside_it() {
        for (url, paths) in [
            ("ws://h/ws", &["/ws"][..]),
            ("ws://h/live/ws?token=x/y", &["/live/ws?token=x/y"]),
            ("ws://h", &["/", "/ws"]),
            ("ws://h/?token=x", &["/?token=x", "/ws?token=x"]),
            ("ws://h/live/", &["/live/", "/live/ws", "/ws"]),
            ("ws://h/live", &["/live", "/live/ws", "/ws"]),
            (
                "ws://h/live/index.html?a",
                &[
                    "/live/index.html?a",
                    "/live/index.html/ws?a",
                    "/live/ws?a",
                    "/ws?a",
                ],
            ),
        ] {
            let candidates = Endpoint::new(url, None, None).unwrap().candidates();
            let found: Vec<_> = candidates
                .iter()
                .map(|endpoint| endpoint.uri().path_and_query().unwrap().as_str())
                .collect();
            assert_eq!(found, paths, "{url}");
        }
    }
}
