//! A Redis of the test's own, and a peer that speaks to it byte by byte.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::Scratch;

/// Where a server listens until it is moved to its place.
const SOCKET: &str = "early.sock";

/// A `redis-server` behind a socket in a folder of its own. It ends with this.
#[derive(Debug)]
pub struct RedisServer {
    folder: Scratch,
    arguments: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts a server, or prints a line and returns `None` where it is not installed.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// As [`RedisServer::start`], with more arguments.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub async fn start_with(arguments: &[&str]) -> Option<Self> {
        let folder = Scratch::new();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = match spawn(&folder, &arguments) {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: redis-server is not installed");
                return None;
            }
            Err(error) => panic!("redis-server: {error}"),
        };
        let server = Self {
            folder,
            arguments,
            child,
        };
        let early = server.folder.folder().join(SOCKET);
        connect(&early).await;
        std::fs::rename(early, server.socket()).unwrap();
        Some(server)
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Kills the server.
    pub async fn stop(&mut self) {
        self.child.kill().await.unwrap();
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it again at the same place. Returns a peer that subscribed to `pattern` before any
    /// other could connect.
    pub async fn restart_with_listener(&mut self, pattern: &str) -> RedisPeer {
        self.child = spawn(&self.folder, &self.arguments).unwrap();
        let early = self.folder.folder().join(SOCKET);
        let mut peer = connect(&early).await;
        peer.subscribe(pattern).await;
        std::fs::rename(early, self.socket()).unwrap();
        peer
    }

    /// Connects a peer.
    pub async fn connect(&self) -> RedisPeer {
        connect(&self.socket()).await
    }

    fn socket(&self) -> PathBuf {
        self.folder.folder().join("redis.sock")
    }
}

/// Connects as soon as a server listens.
async fn connect(socket: &Path) -> RedisPeer {
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return RedisPeer(BufReader::new(stream));
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn spawn(folder: &Scratch, arguments: &[String]) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .args(["--unixsocket", SOCKET])
        .args(arguments)
        .current_dir(folder.folder())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// A connection to Redis that speaks RESP2.
#[derive(Debug)]
pub struct RedisPeer(BufReader<UnixStream>);

impl RedisPeer {
    /// Sends a command and returns its reply: its elements, or its single value.
    pub async fn command(&mut self, arguments: &[&[u8]]) -> Vec<String> {
        let mut command = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            command.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            command.extend_from_slice(argument);
            command.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&command).await.unwrap();
        self.reply().await
    }

    /// Publishes a payload. Returns how many subscribers it reached.
    pub async fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) -> usize {
        let arguments = [b"PUBLISH", channel.as_bytes(), payload.as_ref()];
        self.command(&arguments).await[0].parse().unwrap()
    }

    /// Subscribes to a pattern. Nothing but [`RedisPeer::message`] may follow.
    pub async fn subscribe(&mut self, pattern: &str) {
        self.command(&[b"PSUBSCRIBE", pattern.as_bytes()]).await;
    }

    /// Returns the next message: the channel and the payload.
    pub async fn message(&mut self) -> (String, String) {
        let reply: [String; 4] = self.reply().await.try_into().expect("a message");
        let [kind, _, channel, payload] = reply;
        assert_eq!(kind, "pmessage");
        (channel, payload)
    }

    async fn reply(&mut self) -> Vec<String> {
        let (kind, head) = self.line().await;
        if kind != '*' {
            return vec![self.value(kind, head).await];
        }
        let mut values = Vec::new();
        for _ in 0..head.parse().unwrap() {
            let (kind, head) = self.line().await;
            values.push(self.value(kind, head).await);
        }
        values
    }

    async fn value(&mut self, kind: char, head: String) -> String {
        match kind {
            '$' => {
                let mut text = vec![0; head.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut text).await.unwrap();
                text.truncate(text.len() - 2);
                String::from_utf8(text).unwrap()
            }
            '+' | ':' => head,
            _ => panic!("Redis replied {kind}{head}"),
        }
    }

    async fn line(&mut self) -> (char, String) {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let line = line.trim_end();
        (line.chars().next().expect("a reply"), line[1..].to_owned())
    }
}
