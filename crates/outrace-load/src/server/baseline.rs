//! A server as one writes it by hand today, written well. It is the measure for the engine.
//!
//! It uses tokio-tungstenite and one bounded channel per client. Each line is serialized once and
//! shared. `try_send` skips a slow client, and the writer feeds all waiting messages before it
//! flushes.

use chrono::{SecondsFormat, Utc};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// The options of [`serve_baseline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineOptions {
    /// The number of messages that may wait for one client.
    pub queue_messages: usize,
    /// Each line of standard input is `processId<TAB>line`.
    pub framed: bool,
    /// The process of the lines if they are not framed.
    pub process_id: String,
}

/// The reason why the baseline failed.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The runtime did not start.
    #[error("could not start the runtime: {0}")]
    Runtime(io::Error),
    /// The listener, standard input or standard error failed.
    #[error("the baseline failed: {0}")]
    Io(io::Error),
}

type Subscribers = Vec<(u64, mpsc::Sender<Utf8Bytes>)>;

#[derive(Default)]
struct BaselineState {
    channels: RwLock<HashMap<String, Subscribers>>,
    skipped: AtomicU64,
    writes: Arc<WriteCounts>,
    stop: watch::Sender<bool>,
}

/// The number of writes to all sockets, and the bytes that they took.
#[derive(Default)]
struct WriteCounts {
    count: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Serialize)]
struct ProcessMessage<'a, D: Serialize> {
    r#type: &'a str,
    channel: &'a str,
    #[serde(rename = "processId")]
    process_id: &'a str,
    data: D,
    timestamp: String,
}

#[derive(Serialize)]
struct ExitData {
    status: &'static str,
    #[serde(rename = "exitCode")]
    exit_code: i32,
}

#[derive(Deserialize)]
struct ClientCommand<'a> {
    #[serde(borrow)]
    r#type: &'a str,
    data: Option<&'a str>,
    channel: Option<&'a str>,
}

/// Runs the baseline, a server that the generator starts as a child and measures.
///
/// It prints its address to standard error, publishes the lines of standard input, and ends with
/// its input.
///
/// # Errors
///
/// Fails if the runtime does not start, or if the listener, standard input or standard error fails.
pub fn serve_baseline(options: &BaselineOptions) -> Result<(), BaselineError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BaselineError::Runtime)?;
    runtime.block_on(serve(options)).map_err(BaselineError::Io)
}

async fn serve(options: &BaselineOptions) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(
        io::stderr(),
        "listening on ws://{}/ws",
        listener.local_addr()?
    )?;
    let shared = Arc::new(BaselineState::default());
    let queue = options.queue_messages;
    let accepting = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                tokio::spawn(connection(stream, number, queue, Arc::clone(&shared)));
            }
        }
    });
    publish_input(options, &shared).await?;
    accepting.abort();
    let names: Vec<String> = shared
        .channels
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .keys()
        .cloned()
        .collect();
    for channel in names {
        let id = channel.strip_prefix("process:").unwrap_or(&channel);
        let status = encode(
            "process_status",
            &channel,
            id,
            ExitData {
                status: "exited",
                exit_code: 0,
            },
        );
        let subscribers = shared
            .channels
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&channel)
            .unwrap_or_default();
        for (_, subscriber) in subscribers {
            // Waits while the queue is full. A client that is gone needs no status.
            let _ = subscriber.send(status.clone()).await;
        }
    }
    shared.stop.send_replace(true);
    let gone = async {
        while Arc::strong_count(&shared) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    // Clients that do not read within this time are abandoned.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), gone).await;
    Ok(())
}

async fn publish_input(options: &BaselineOptions, shared: &BaselineState) -> io::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    let own_channel = format!("process:{}", options.process_id);
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let text = String::from_utf8_lossy(&line);
        if options.framed {
            if let Some((id, text)) = text.split_once('\t') {
                publish(shared, &format!("process:{id}"), id, text);
            }
        } else {
            publish(shared, &own_channel, &options.process_id, &text);
        }
    }
}

fn publish(shared: &BaselineState, channel: &str, id: &str, text: &str) {
    let channels = shared
        .channels
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    let Some(subscribers) = channels.get(channel) else {
        return;
    };
    let message = encode("process_output", channel, id, text);
    for (_, subscriber) in subscribers {
        if let Err(mpsc::error::TrySendError::Full(_)) = subscriber.try_send(message.clone()) {
            shared.skipped.fetch_add(1, Relaxed);
        }
    }
}

fn encode(kind: &str, channel: &str, process_id: &str, data: impl Serialize) -> Utf8Bytes {
    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let message = ProcessMessage {
        r#type: kind,
        channel,
        process_id,
        data,
        timestamp,
    };
    serde_json::to_string(&message)
        .expect("strings and numbers always serialize")
        .into()
}

async fn connection(mut stream: TcpStream, number: u64, queue: usize, shared: Arc<BaselineState>) {
    let mut head = [0; 16];
    let _ = stream.set_nodelay(true);
    if matches!(stream.peek(&mut head).await, Ok(n) if head[..n].starts_with(b"GET /api/stats")) {
        let _ = answer_stats(&mut stream, &shared).await;
        return;
    }
    let counted = CountingStream {
        stream,
        writes: Arc::clone(&shared.writes),
    };
    let Ok(socket) = accept_async(counted).await else {
        return;
    };
    let (mut sink, mut messages) = socket.split();
    let (sender, mut waiting) = mpsc::channel::<Utf8Bytes>(queue);
    let writer = tokio::spawn(async move {
        while let Some(message) = waiting.recv().await {
            if sink.feed(Message::Text(message)).await.is_err() {
                return;
            }
            while let Ok(message) = waiting.try_recv() {
                if sink.feed(Message::Text(message)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
        // The client may be gone already.
        let _ = sink.close().await;
    });
    let mut stop = shared.stop.subscribe();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = stop.changed() => break,
        };
        let Some(Ok(message)) = message else { break };
        let Message::Text(text) = message else {
            continue;
        };
        let Ok(command) = serde_json::from_str::<ClientCommand>(&text) else {
            continue;
        };
        let channel = command.channel.filter(|c| !c.is_empty()).or(command.data);
        match (command.r#type, channel) {
            ("subscribe", Some(channel)) => {
                let mut channels = shared
                    .channels
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                let subscribers = channels.entry(channel.to_owned()).or_default();
                if !subscribers
                    .iter()
                    .any(|(subscriber, _)| *subscriber == number)
                {
                    subscribers.push((number, sender.clone()));
                }
            }
            ("unsubscribe", Some(channel)) => leave(&shared, number, Some(channel)),
            ("ping", _) => {
                let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
                let pong = format!("{{\"type\":\"pong\",\"timestamp\":\"{timestamp}\"}}");
                if sender.send(pong.into()).await.is_err() {
                    break;
                }
            }
            _ => {}
        }
    }
    // Without senders, the writer sends the waiting messages and ends.
    drop(sender);
    leave(&shared, number, None);
    let _ = writer.await;
}

/// Removes a client from one channel, or from all.
fn leave(shared: &BaselineState, number: u64, channel: Option<&str>) {
    let mut channels = shared
        .channels
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    for (name, subscribers) in channels.iter_mut() {
        if channel.is_none_or(|channel| channel == name) {
            subscribers.retain(|(subscriber, _)| *subscriber != number);
        }
    }
}

async fn answer_stats(stream: &mut TcpStream, shared: &BaselineState) -> io::Result<()> {
    let body = serde_json::json!({
        "skipped": shared.skipped.load(Relaxed),
        "writes": shared.writes.count.load(Relaxed),
        "written_bytes": shared.writes.bytes.load(Relaxed),
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// Counts writes. Each costs two relaxed additions beside a system call of microseconds.
struct CountingStream {
    stream: TcpStream,
    writes: Arc<WriteCounts>,
}

impl CountingStream {
    fn count(&self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = outcome {
            self.writes.count.fetch_add(1, Relaxed);
            self.writes.bytes.fetch_add(*n as u64, Relaxed);
        }
    }
}

impl AsyncRead for CountingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
