//! An asynchronous WebSocket client that sees JSON messages.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A stream of bytes, over TCP or in memory.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that sends and receives JSON messages.
pub struct JsonClient {
    socket: WebSocketStream<Box<dyn Stream>>,
}

impl JsonClient {
    /// Connects to a `ws://` URL.
    pub async fn connect(url: &str) -> Self {
        Self::connect_with(url, None).await
    }

    /// Connects with a kernel buffer of `receive_buffer` bytes for what the client has not read.
    pub async fn connect_with(url: &str, receive_buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let address = url.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        Self::over(stream, url).await
    }

    /// Shakes hands over `stream` for the URL `url`.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        url: &str,
    ) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        Self { socket }
    }

    /// Connects and subscribes without options. The subscription is active when this returns.
    ///
    /// Messages that say that a process runs may come before that, and are dropped.
    pub async fn subscribed(url: &str, channel: &str) -> Self {
        let mut client = Self::connect(url).await;
        client
            .send(json!({"type": "subscribe", "channel": channel}))
            .await;
        client.send(json!({"type": "ping"})).await;
        loop {
            let message = client.message().await;
            if message["type"] == "pong" {
                return client;
            }
            assert_eq!(message["data"]["status"], "running", "{message}");
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Value) {
        let message = Message::text(message.to_string());
        self.socket.send(message).await.unwrap();
    }

    /// Asks for a subscription with options.
    pub async fn subscribe(&mut self, channel: &str, options: Value) {
        self.send(json!({"type": "subscribe", "channel": channel, "options": options}))
            .await;
    }

    /// Subscribes without options and waits until the subscription is active.
    pub async fn subscribe_plain(&mut self, channel: &str) {
        self.send(json!({"type": "subscribe", "channel": channel}))
            .await;
        self.ping().await;
    }

    /// Sends a ping and waits for its pong. Panics if another message comes first.
    pub async fn ping(&mut self) {
        self.send(json!({"type": "ping"})).await;
        assert_eq!(self.message().await["type"], "pong");
    }

    /// Returns the text of the next message, or `None` when the server has closed.
    pub async fn text_or_end(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await?.expect("the connection holds") {
                Message::Text(text) => return Some(text.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Returns the text of the next message.
    pub async fn text(&mut self) -> String {
        self.text_or_end().await.expect("the connection holds")
    }

    /// Returns the next message, or `None` when the server has closed.
    pub async fn message_or_end(&mut self) -> Option<Value> {
        let text = self.text_or_end().await?;
        let message = serde_json::from_str(&text);
        Some(message.unwrap_or_else(|error| panic!("one JSON a message: {error}: {text}")))
    }

    /// Returns the next message.
    pub async fn message(&mut self) -> Value {
        let message = self.message_or_end().await;
        message.expect("the connection holds")
    }

    /// Reads until the pong of a ping that was sent earlier, and returns the texts before it.
    pub async fn until_pong(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let text = self.text().await;
            if text.starts_with(r#"{"type":"pong""#) {
                return texts;
            }
            texts.push(text);
        }
    }

    /// Returns the next line of a process. Other messages are dropped.
    pub async fn line(&mut self) -> String {
        loop {
            let message = self.message().await;
            if message["type"] == "process_output" {
                return message["data"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Reads until a line is `expected`. A shell may write more than its script says, about a child
    /// that was killed.
    pub async fn until_line(&mut self, expected: &str) {
        while self.line().await != expected {}
    }

    /// Reads to the final status. Returns the lines, and the statuses with their exit codes.
    pub async fn until_final_status(&mut self) -> (Vec<String>, Vec<(String, i64)>) {
        let (mut lines, mut statuses) = (Vec::new(), Vec::new());
        loop {
            let message = self.message().await;
            match message["type"].as_str() {
                Some("process_output") => lines.push(message["data"].as_str().unwrap().to_owned()),
                Some("process_status") => {
                    let status = message["data"]["status"].as_str().unwrap().to_owned();
                    let code = message["data"]["exitCode"].as_i64().unwrap();
                    let is_final = status != "running";
                    statuses.push((status, code));
                    if is_final {
                        return (lines, statuses);
                    }
                }
                _ => panic!("an unexpected message: {message}"),
            }
        }
    }

    /// Reads to the final status. Returns the lines and that status with its exit code.
    pub async fn final_status(&mut self) -> (Vec<String>, (String, i64)) {
        let (lines, mut statuses) = self.until_final_status().await;
        (lines, statuses.pop().expect("the final status is there"))
    }
}
