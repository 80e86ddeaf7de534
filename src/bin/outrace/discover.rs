//! Which channels there are, asked of the server again and again: for patterns such as `process:*`, which are no channels to it.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often to ask.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer: a hundred thousand channels.
const MOST_BYTES: u64 = 32 << 20;

/// Whether a channel's name is a pattern.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Whether a pattern fits a name: each `*` stands for anything, nothing included.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(begin) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(end)
}

/// The channels that fit some pattern, each told once, as they appear. Ends its asking when it is dropped.
pub(crate) struct Discovery {
    found: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Discovery {
    /// Asks the server whose WebSocket is at `url`.
    pub(crate) fn start(url: &str, patterns: Vec<String>) -> Self {
        let (tell, found) = mpsc::channel(64);
        let task = tokio::spawn(ask(url.to_owned(), patterns, tell));
        Self { found, task }
    }

    /// The next channel. Nothing is lost by dropping the future.
    pub(crate) async fn next(&mut self) -> String {
        match self.found.recv().await {
            Some(channel) => channel,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(url: String, patterns: Vec<String>, tell: mpsc::Sender<String>) {
    let mut known = HashSet::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        ticks.tick().await;
        match timeout(PATIENCE, channels(&url)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(channels) => {
                for channel in channels {
                    let is_wanted = patterns.iter().any(|pattern| fits(pattern, &channel));
                    if is_wanted && known.insert(channel.clone()) && tell.send(channel).await.is_err() {
                        return;
                    }
                }
            }
            // That there is no connection is told by who watches; that there is one without a list is not.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                if !std::mem::replace(&mut complained, true) {
                    eprintln!("outrace: {url}: cannot list the channels: {error}");
                }
            }
            Err(_) => {}
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    channel: String,
}

/// `GET /api/channels`, beside the WebSocket. HTTP/1.0: the end of the connection is the end of the answer.
async fn channels(url: &str) -> io::Result<Vec<String>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let (authority, path) = beside(url).ok_or_else(|| invalid("it is no WebSocket address".to_owned()))?;
    let address = if has_port(authority) { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await?;
    let head =
        memchr::memmem::find(&answer, b"\r\n\r\n").ok_or_else(|| invalid("no HTTP answer".to_owned()))?;
    let status =
        String::from_utf8_lossy(answer[..head].split(|&byte| byte == b'\r').next().unwrap_or_default());
    if status.split(' ').nth(1) != Some("200") {
        return Err(invalid(format!("the server says {status}")));
    }
    let listed: Vec<Listed> =
        serde_json::from_slice(&answer[head + 4..]).map_err(|error| invalid(error.to_string()))?;
    Ok(listed.into_iter().map(|listed| listed.channel).collect())
}

/// The host, and the path of the list of channels, which stands where `/ws` does.
fn beside(url: &str) -> Option<(&str, String)> {
    let rest = url.strip_prefix("ws://")?;
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "ws"));
    let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("/{folder}"));
    Some((authority, format!("{folder}/api/channels")))
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in [
            ("process:*", "process:web"),
            ("process:*", "process:"),
            ("*", "x"),
            ("*:web*", "process:web-1"),
            ("a*b*c", "a-b-b-c"),
            ("a*b", "ab"),
            ("plain", "plain"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("process:*", "file:x"),
            ("a*b*c", "acb"),
            ("*b", "a"),
            ("a*a", "a"),
            ("ab*bc", "abc"),
            ("plain", "plainer"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn the_list_stands_beside_the_websocket() {
        for (url, authority, path) in [
            ("ws://127.0.0.1:8080/ws", "127.0.0.1:8080", "/api/channels"),
            ("ws://host/live/ws?x=/y", "host", "/live/api/channels"),
            ("ws://[::1]:80", "[::1]:80", "/api/channels"),
        ] {
            assert_eq!(beside(url), Some((authority, path.to_owned())));
        }
        assert!(has_port("host:80") && has_port("[::1]:80") && !has_port("host") && !has_port("[::1]"));
    }
}
