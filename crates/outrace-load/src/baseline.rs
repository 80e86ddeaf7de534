//! What one writes by hand today, and writes well: tokio-tungstenite, one bounded channel per client, each line
//! serialised once and shared, `try_send` so that a slow client is skipped, a writer that feeds all that waits before
//! it flushes. The measure for the engine.

use chrono::{SecondsFormat, Utc};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

#[derive(clap::Args, Clone, Debug)]
pub struct BaselineArgs {
    /// Messages that may wait for one client
    #[arg(long, default_value_t = 256)]
    queue: usize,
    /// Lines come as `processId<TAB>line`
    #[arg(long)]
    framed: bool,
    /// The process of lines that do not name theirs
    #[arg(long, default_value = "load")]
    id: String,
}

type Subscribers = Vec<(u64, mpsc::Sender<Utf8Bytes>)>;

#[derive(Default)]
struct Shared {
    channels: RwLock<HashMap<String, Subscribers>>,
    skipped: AtomicU64,
    writes: Arc<Writes>,
    stop: watch::Sender<bool>,
}

/// Writes to all sockets, and the bytes they took.
#[derive(Default)]
struct Writes {
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
struct Exit {
    status: &'static str,
    #[serde(rename = "exitCode")]
    exit_code: i32,
}

#[derive(Deserialize)]
struct Command<'a> {
    #[serde(borrow)]
    r#type: &'a str,
    data: Option<&'a str>,
    channel: Option<&'a str>,
}

/// Serves until standard input ends.
pub(crate) fn run(args: &BaselineArgs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("could not start the runtime: {e}"))?;
    runtime
        .block_on(serve(args))
        .map_err(|e| format!("the baseline failed: {e}"))
}

async fn serve(args: &BaselineArgs) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    eprintln!("listening on ws://{}/ws", listener.local_addr()?);
    let shared = Arc::new(Shared::default());
    let queue = args.queue;
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
    publish_input(args, &shared).await?;
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
            Exit {
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
            // Waits for a full queue; a client that is gone needs no status.
            let _ = subscriber.send(status.clone()).await;
        }
    }
    shared.stop.send_replace(true);
    let gone = async {
        while Arc::strong_count(&shared) > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    // Clients that do not read are left after a while.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), gone).await;
    Ok(())
}

async fn publish_input(args: &BaselineArgs, shared: &Shared) -> io::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    let own_channel = format!("process:{}", args.id);
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let text = String::from_utf8_lossy(&line);
        if args.framed {
            if let Some((id, text)) = text.split_once('\t') {
                publish(shared, &format!("process:{id}"), id, text);
            }
        } else {
            publish(shared, &own_channel, &args.id, &text);
        }
    }
}

fn publish(shared: &Shared, channel: &str, id: &str, text: &str) {
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
        .expect("strings and numbers always serialise")
        .into()
}

async fn connection(mut stream: TcpStream, number: u64, queue: usize, shared: Arc<Shared>) {
    let mut head = [0; 16];
    let _ = stream.set_nodelay(true);
    if matches!(stream.peek(&mut head).await, Ok(n) if head[..n].starts_with(b"GET /api/stats")) {
        let _ = answer_stats(&mut stream, &shared).await;
        return;
    }
    let counted = Counted {
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
        // The peer may be gone already.
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
        let Ok(command) = serde_json::from_str::<Command>(&text) else {
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
    // The writer sends what waits and ends when nobody can send to it any more.
    drop(sender);
    leave(&shared, number, None);
    let _ = writer.await;
}

/// Takes a client out of one channel, or of all.
fn leave(shared: &Shared, number: u64, channel: Option<&str>) {
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

async fn answer_stats(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
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

/// Counts writes; two relaxed additions each, beside a system call of microseconds.
struct Counted {
    stream: TcpStream,
    writes: Arc<Writes>,
}

impl Counted {
    fn count(&self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = outcome {
            self.writes.count.fetch_add(1, Relaxed);
            self.writes.bytes.fetch_add(*n as u64, Relaxed);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
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
