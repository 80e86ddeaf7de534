//! Subscribers with options, over real sockets: what they ask for, what they are sent, and an account of it that is exact to the unit.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses its part

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use outrace::Hub;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// No test takes this long, on any machine that is alive.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn bounded<T>(body: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, body)
        .await
        .expect("the test hangs")
}

/// Serves `hub` on a free port and says where.
pub async fn serve(hub: &Hub) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(outrace::server::serve(
        listener,
        hub.clone(),
        std::future::pending(),
    ));
    address
}

/// One connection.
pub struct Viewer {
    socket: WebSocketStream<TcpStream>,
}

impl Viewer {
    pub async fn connect(address: &str) -> Self {
        Self::connect_with(address, None).await
    }

    /// With so many bytes of receive buffer, where the test is about what does not fit.
    pub async fn connect_with(address: &str, receive_buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream)
            .await
            .unwrap();
        Self { socket }
    }

    pub async fn send(&mut self, message: Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    pub async fn subscribe(&mut self, channel: &str, options: Value) {
        self.send(json!({"type": "subscribe", "channel": channel, "options": options}))
            .await;
    }

    /// Subscribes without options and waits until the subscription is active.
    pub async fn subscribe_plain(&mut self, channel: &str) {
        self.send(json!({"type": "subscribe", "channel": channel}))
            .await;
        self.settle().await;
    }

    /// Waits for the answer to a ping; nothing else may come before it.
    pub async fn settle(&mut self) {
        self.send(json!({"type": "ping"})).await;
        assert_eq!(self.next().await["type"], "pong");
    }

    /// The next message as it came.
    pub async fn text(&mut self) -> String {
        self.text_or_end().await.expect("the connection holds")
    }

    pub async fn text_or_end(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await?.expect("the connection holds") {
                Message::Text(text) => return Some(text.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    pub async fn next(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("one JSON a message: {error}: {text}"))
    }

    /// Reads until a pong, the answer to a ping sent earlier, which comes after all that was sent before.
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
}

/// `text` without its timestamp, which must be there, last, and of the one shape.
pub fn untimed(text: &str) -> String {
    let at = text
        .rfind(r#","timestamp":""#)
        .unwrap_or_else(|| panic!("no timestamp: {text}"));
    let stamp = &text[at + 14..];
    assert_eq!(stamp.len(), "2026-02-19T10:00:00.123Z\"}".len(), "{text}");
    assert!(stamp.ends_with("Z\"}"), "{text}");
    format!("{}}}", &text[..at])
}

/// What one subscription has been sent, in the channel's numbering. Every message goes through [`Account::take`], which fails the test
/// on any loss, repetition or disorder.
#[derive(Debug, Default)]
pub struct Account {
    pub epoch: String,
    /// Of the answer.
    pub began_after: u64,
    pub replayed: u64,
    pub lost: u64,
    /// The number of the message that has to come next.
    pub next: u64,
    pub received: u64,
    pub skipped: u64,
    pub lines: Vec<(u64, String)>,
    pub gaps: Vec<(u64, u64)>,
}

impl Account {
    /// Of the answer to a subscription, which comes before all else.
    pub async fn open(viewer: &mut Viewer) -> Self {
        let answer = viewer.next().await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        let number = |key: &str| answer["data"][key].as_u64().unwrap();
        Self {
            epoch: answer["data"]["epoch"].as_str().unwrap().to_owned(),
            began_after: number("seq"),
            next: number("seq") + 1,
            replayed: number("replayed"),
            lost: number("lost"),
            ..Self::default()
        }
    }

    pub fn take(&mut self, message: &Value) {
        let data = &message["data"];
        match message["type"].as_str().unwrap() {
            "process_output" => self.line(data.as_str().unwrap()),
            "process_output_batch" => {
                assert_eq!(
                    message["seq"], self.next,
                    "a batch begins where the last message ended"
                );
                let lines = data.as_array().unwrap();
                assert!(!lines.is_empty());
                for line in lines {
                    self.line(line.as_str().unwrap());
                }
            }
            "process_status" => self.line(data["status"].as_str().unwrap()),
            "gap" => {
                let number = |key: &str| data[key].as_u64().unwrap();
                let (from, to) = (number("from"), number("to"));
                assert_eq!(from, self.next, "a gap begins where the last message ended");
                assert!(from <= to);
                assert_eq!(number("count"), to - from + 1);
                self.skipped += to - from + 1;
                self.next = to + 1;
                self.gaps.push((from, to));
            }
            _ => panic!("an unexpected message: {message}"),
        }
    }

    fn line(&mut self, line: &str) {
        self.lines.push((self.next, line.to_owned()));
        self.received += 1;
        self.next += 1;
    }

    /// Reads until message `last` has come, or was told to be skipped.
    pub async fn read_to(&mut self, viewer: &mut Viewer, last: u64) {
        while self.next <= last {
            let message = viewer.next().await;
            self.take(&message);
        }
        assert_eq!(self.next, last + 1);
    }
}

/// All accounts of one numbering agree: one and the same line under one number, and the lines of each publisher (`P:N`) in their order.
pub fn agree<'a>(accounts: impl IntoIterator<Item = &'a Account>) {
    let mut lines: HashMap<u64, &str> = HashMap::new();
    let mut epoch = None;
    for account in accounts {
        assert_eq!(*epoch.get_or_insert(&account.epoch), &account.epoch);
        let mut last: HashMap<&str, u64> = HashMap::new();
        for (seq, line) in &account.lines {
            assert_eq!(
                *lines.entry(*seq).or_insert(line),
                line,
                "two lines are number {seq}"
            );
            let (publisher, number) = line.split_once(':').unwrap();
            let number = number.split(' ').next().unwrap().parse().unwrap();
            if let Some(before) = last.insert(publisher, number) {
                assert!(
                    before < number,
                    "publisher {publisher}: {number} came after {before}"
                );
            }
        }
    }
}

/// The number of the last message of a channel.
pub fn last_seq(hub: &Hub, channel: &str) -> u64 {
    hub.channels()
        .find(|stats| stats.channel.as_str() == channel)
        .map_or(0, |stats| stats.seq)
}

/// Waits until so many messages of a channel have their number.
pub async fn sealed(hub: &Hub, channel: &str, messages: u64) {
    while last_seq(hub, channel) < messages {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(last_seq(hub, channel), messages);
}
