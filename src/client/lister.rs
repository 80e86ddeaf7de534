//! Which channels a server has.

use std::fmt;
use std::io;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use crate::message::ChannelName;

use super::builder::without_secrets;
use super::dial::{Trust, connect};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer: a hundred thousand channels.
const MAX_BYTES: u64 = 32 << 20;

/// Why a server's channels are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// There is no connection, or it broke off.
    #[error("cannot connect: {0}")]
    Connection(#[from] io::Error),
    /// The answer did not come in 10 s.
    #[error("no answer")]
    Silent,
    /// The server refuses to tell, or knows no such request: the status it answers with.
    #[error("the server answers {0}")]
    Refused(u16),
    /// The answer is no list of channels.
    #[error("the server's answer is no list of channels")]
    Answer,
}

/// Asks a server which channels it has, with `GET /api/channels` beside the WebSocket. Made by [`WatcherBuilder::lister`](super::WatcherBuilder::lister).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::client::Watcher;
///
/// let builder = Watcher::builder("ws://127.0.0.1:8080/ws");
/// let lister = builder.lister()?;
/// let mut watcher = builder.build()?;
/// for channel in lister.channels().await? {
///     watcher.watch(channel.as_str())?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct ChannelLister {
    pub(super) request: Request,
    pub(super) trust: Trust,
}

#[derive(Deserialize)]
struct Listed {
    channel: String,
}

impl ChannelLister {
    /// The channels that there are now and that this watcher may see, by name. One connection each time.
    ///
    /// # Errors
    /// There is no connection, or no list is answered.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn channels(&self) -> Result<Vec<ChannelName>, ListError> {
        let answer = timeout(PATIENCE, self.ask())
            .await
            .map_err(|_| ListError::Silent)??;
        let (status, body) = split(&answer).ok_or(ListError::Answer)?;
        if status != 200 {
            return Err(ListError::Refused(status));
        }
        let listed: Vec<Listed> = serde_json::from_slice(body).map_err(|_| ListError::Answer)?;
        listed
            .iter()
            .map(|one| ChannelName::parse(&one.channel).map_err(|_| ListError::Answer))
            .collect()
    }

    /// HTTP/1.0: the end of the connection is the end of the answer.
    async fn ask(&self) -> Result<Vec<u8>, ListError> {
        let uri = self.request.uri();
        let mut stream = connect(uri, &self.trust).await.map_err(io::Error::other)?;
        let mut head = format!(
            "GET {} HTTP/1.0\r\nAccept: application/json\r\n",
            beside(uri.path(), uri.query())
        )
        .into_bytes();
        for name in [HOST, AUTHORIZATION] {
            if let Some(value) = self.request.headers().get(&name) {
                head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
        }
        head.extend(b"\r\n");
        stream.write_all(&head).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        match stream.take(MAX_BYTES).read_to_end(&mut answer).await {
            // A peer that ends a TLS connection without saying so has ended it all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            ended => {
                ended?;
            }
        }
        Ok(answer)
    }
}

impl fmt::Debug for ChannelLister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelLister")
            .field("url", &without_secrets(&self.request.uri().to_string()))
            .finish_non_exhaustive()
    }
}

/// The path of the list, where that of the WebSocket is this one. The query goes along: a token may be in it.
fn beside(path: &str, query: Option<&str>) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    match query {
        Some(query) => format!("{folder}/api/channels?{query}"),
        None => format!("{folder}/api/channels"),
    }
}

/// The status and the body of an answer.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let line = std::str::from_utf8(answer[..end].split(|&byte| byte == b'\r').next()?).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_stands_beside_the_websocket() {
        assert_eq!(beside("/ws", None), "/api/channels");
        assert_eq!(beside("/", None), "/api/channels");
        assert_eq!(
            beside("/live/ws", Some("token=x/y")),
            "/live/api/channels?token=x/y"
        );
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        assert_eq!(
            split(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n[]"),
            Some((200, &b"[]"[..]))
        );
        assert_eq!(split(b"HTTP/1.1 401\r\n\r\n"), Some((401, &b""[..])));
        for wrong in ["", "nonsense\r\n\r\n", "HTTP/1.0 200 OK\r\n"] {
            assert_eq!(split(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
