//! Lists the channels of a server over HTTP.

use std::fmt;
use std::time::Duration;

use http::header::{HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::timeout;

use crate::message::ChannelName;

use super::endpoint::Endpoint;
use super::error::ListError;
use super::exchange::invalid_response;

/// The longest time for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks a server for its channels, with `GET /api/channels` beside the WebSocket's path.
///
/// Returned by [`WatcherBuilder::lister`](super::WatcherBuilder::lister).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::client::Watcher;
///
/// let builder = Watcher::builder("ws://127.0.0.1:7223/ws");
/// let lister = builder.lister()?;
/// let mut watcher = builder.build()?;
/// for channel in lister.channels().await? {
///     watcher.watch(channel.as_str())?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct ChannelLister {
    endpoint: Endpoint,
}

/// The time for which a server may hold a request back until a channel appears.
const WAIT: Duration = Duration::from_secs(20);
/// Prefers a late answer over one that says nothing new (RFC 7240).
const PREFER_WAIT: &str = "wait=20";

/// A list of channels.
#[derive(Default)]
pub(super) struct ChannelList {
    pub(super) channels: Vec<ListedChannel>,
    /// Names this list in the request for the next one. `None` if the server names none.
    pub(super) version: Option<HeaderValue>,
}

/// A channel in the server's list.
pub(super) struct ListedChannel {
    pub(super) channel: ChannelName,
    /// `None` if the server does not number messages.
    pub(super) epoch: Option<String>,
    /// The number of the last message.
    pub(super) seq: u64,
}

#[derive(Deserialize)]
struct ListEntry {
    channel: String,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    seq: u64,
}

impl ChannelLister {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Returns the channels that exist now and that this client may see. The server sorts them by
    /// name. Every call makes a connection of its own.
    ///
    /// # Errors
    /// If the connection fails, the response does not come within 10 s, or it is not a list of
    /// channels.
    ///
    /// # Cancel safety
    /// This method is cancel safe. Dropping the future drops the connection.
    pub async fn channels(&self) -> Result<Vec<ChannelName>, ListError> {
        let list = self.list(None).await?;
        let channels = list.channels.into_iter();
        Ok(channels.map(|listed| listed.channel).collect())
    }

    /// Returns the list as the server sends it, with its version. With the version of an earlier
    /// list, a server that can waits until there is another one, or for a time.
    pub(crate) async fn fetch_list(
        &self,
        after: Option<HeaderValue>,
    ) -> Result<(Option<HeaderValue>, Vec<u8>), ListError> {
        let limit = match after {
            Some(_) => WAIT + RESPONSE_TIMEOUT,
            None => RESPONSE_TIMEOUT,
        };
        timeout(limit, self.fetch(after))
            .await
            .map_err(|_| ListError::Timeout)?
    }

    /// Returns the channels with their numberings. It waits as [`fetch_list`](Self::fetch_list)
    /// does.
    pub(super) async fn list(&self, after: Option<HeaderValue>) -> Result<ChannelList, ListError> {
        let (version, body) = self.fetch_list(after).await?;
        let listed: Vec<ListEntry> = serde_json::from_slice(&body).map_err(invalid_response)?;
        let channels = listed
            .into_iter()
            .map(|entry| {
                Ok(ListedChannel {
                    channel: ChannelName::parse(&entry.channel).map_err(invalid_response)?,
                    epoch: entry.epoch,
                    seq: entry.seq,
                })
            })
            .collect::<Result<_, ListError>>()?;
        Ok(ChannelList { channels, version })
    }

    /// Returns the version and the body of a response with status 200.
    async fn fetch(
        &self,
        after: Option<HeaderValue>,
    ) -> Result<(Option<HeaderValue>, Vec<u8>), ListError> {
        let mut request = Request::get(self.endpoint.beside("api/channels"))
            .body(Full::default())
            .map_err(|error| ListError::Connection(error.into()))?;
        if let Some(version) = after {
            let headers = request.headers_mut();
            headers.insert(IF_NONE_MATCH, version);
            headers.insert("prefer", HeaderValue::from_static(PREFER_WAIT));
        }
        let answer = self.endpoint.exchange(request).await?;
        if answer.status != StatusCode::OK {
            return Err(ListError::Status(answer.status.as_u16()));
        }
        Ok((answer.version, answer.body))
    }
}

impl fmt::Debug for ChannelLister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelLister")
            .field("url", &self.endpoint.shown_url())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Returns what a lister makes of a server that answers with `response` and ends the
    /// connection, and the request that it sent.
    async fn list(response: &'static str) -> (Result<Vec<ChannelName>, ListError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/live/ws?a=b", listener.local_addr().unwrap());
        let lister = ChannelLister::new(Endpoint::new(&url, Some("secret"), None).unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        };
        tokio::join!(lister.channels(), serve)
    }

    #[tokio::test]
    async fn a_response_has_a_status_and_a_body() {
        let (listed, request) = list("HTTP/1.0 200 OK\r\nA: b\r\n\r\n[]").await;
        assert_eq!(listed.unwrap(), []);
        assert!(
            request.starts_with("GET /live/api/channels?a=b HTTP/1.1\r\n"),
            "{request}"
        );
        for header in ["host: 127.0.0.1:", "authorization: Bearer secret\r\n"] {
            assert!(request.contains(header), "{request}");
        }
        let (listed, _) =
            list("HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n[{\"channel\":\"process:a\"}]\n")
                .await;
        assert_eq!(listed.unwrap()[0].as_str(), "process:a");
        let (refused, _) = list("HTTP/1.1 401\r\n\r\n").await;
        assert!(
            matches!(refused, Err(ListError::Status(401))),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_response_that_is_no_list_of_channels_is_told_from_a_lost_connection() {
        for wrong in [
            "",
            "nonsense\r\n\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.0 200 OK\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n[{\"channel\":",
            "HTTP/1.1 200 OK\r\n\r\n[{\"channel\":\"no name\"}]",
        ] {
            let (listed, _) = list(wrong).await;
            assert!(
                matches!(listed, Err(ListError::InvalidResponse(_))),
                "{wrong:?}: {listed:?}"
            );
        }
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", free.local_addr().unwrap());
        drop(free);
        let lister = ChannelLister::new(Endpoint::new(&url, None, None).unwrap());
        let listed = lister.channels().await;
        assert!(
            matches!(listed, Err(ListError::Connection(_))),
            "{listed:?}"
        );
    }
}
