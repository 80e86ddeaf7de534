//! The connection's life: connect, subscribe, read, lose, wait, and again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::SinkExt;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::message::{ChannelName, NameError};

use super::builder::without_secrets;
use super::dial::{Socket, Trust, dial};
use super::track::{self, Subscription, Wishes};
use super::{Backoff, DisconnectReason, Event, WatcherBuilder};

type Connecting = Pin<Box<dyn Future<Output = Result<Socket, DisconnectReason>> + Send>>;

/// The longest a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the builder asked for.
pub(super) struct Plan {
    pub(super) request: Request,
    pub(super) trust: Trust,
    pub(super) channels: Vec<ChannelName>,
    pub(super) backoff: Backoff,
    pub(super) retry: bool,
    pub(super) raw: bool,
    pub(super) patience: Duration,
    pub(super) retries: Option<u32>,
    pub(super) wishes: Wishes,
}

/// Ranges that may be asked for and not yet sent, for each channel: a server forgets what goes beyond.
const MAX_OUTSTANDING: usize = 16;

/// The largest message: a batch of the longest lines, each byte of them escaped.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Watches channels of one server, connects again when the connection is lost, and goes on where it left off.
///
/// It is a [`Stream`] of [`Event`]s too. It holds one message of the server's at a time, and reads the next when its items are taken: a watcher
/// that is not asked for items slows nobody down but is skipped by the server, and told.
pub struct Watcher {
    request: Request,
    trust: Trust,
    channels: Vec<Subscription>,
    backoff: Backoff,
    retry: bool,
    raw: bool,
    patience: Duration,
    retries: Option<u32>,
    failures: u32,
    wishes: Wishes,
    /// Of the message last read; taken before the next one is read.
    items: VecDeque<Event>,
    /// How many of the channels the connection under way subscribes to by itself.
    greeted: usize,
    /// What has yet to be said to the server.
    unsent: VecDeque<String>,
    state: State,
}

enum State {
    /// Nothing was asked for yet.
    Fresh,
    Connecting(Connecting),
    Open(Box<OpenSocket>),
    Paused(Pin<Box<Sleep>>),
    Ended,
}

struct OpenSocket {
    socket: Socket,
    /// The frame being read, and how far: a server may join messages with newlines.
    frame: Utf8Bytes,
    read: usize,
    heard: Instant,
    /// Whether anything came but a goodbye.
    good: bool,
    pinged: bool,
    /// Something was handed to the socket and may not have left.
    unflushed: bool,
    check: Pin<Box<Sleep>>,
}

impl Watcher {
    /// A watcher of the server at `url`, such as `ws://127.0.0.1:8080/ws`.
    pub fn builder(url: &str) -> WatcherBuilder {
        WatcherBuilder::new(url)
    }

    pub(super) fn new(plan: Plan) -> Self {
        let Plan {
            request,
            trust,
            channels,
            backoff,
            retry,
            raw,
            patience,
            retries,
            wishes,
        } = plan;
        Self {
            request,
            trust,
            channels: channels.into_iter().map(Subscription::new).collect(),
            backoff,
            retry,
            raw,
            patience,
            retries,
            failures: 0,
            wishes,
            items: VecDeque::new(),
            greeted: 0,
            unsent: VecDeque::new(),
            state: State::Fresh,
        }
    }

    /// The channels watched, in the order they were named.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &ChannelName> {
        self.channels
            .iter()
            .map(|subscription| &subscription.channel)
    }

    /// The next item; `None` after the last one, which only a watcher that does not
    /// [retry](WatcherBuilder::retry) comes to.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future: attempts and pauses go on with the next call.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// The next item if it is here already. Does not wait, and does not connect.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.state {
            State::Open(_) => {
                match self.poll_item(&mut Context::from_waker(std::task::Waker::noop())) {
                    Poll::Ready(item) => item,
                    Poll::Pending => None,
                }
            }
            _ => None,
        }
    }

    /// Watches one more channel from now on, as those the watcher was made with; nothing if it does already. The server is told when the next item is asked
    /// for.
    ///
    /// # Errors
    /// The name is not valid.
    pub fn watch(&mut self, channel: &str) -> Result<(), NameError> {
        let name = ChannelName::parse(channel)?;
        if self.channels.iter().all(|known| known.channel != name) {
            let subscription = Subscription::new(name);
            if let State::Open(_) = self.state {
                self.unsent.push_back(subscription.subscribe(self.wishes));
            }
            self.channels.push(subscription);
        }
        Ok(())
    }

    /// Asks for messages of a channel again, such as those of an [`Event::Gap`]. They come between [`Event::Replay`] and [`Event::Replayed`]; when
    /// the connection is lost before that, they don't. False when they cannot be asked for: there is no connection, the server does
    /// not number the channel's messages, the range is none, or 16 ranges of the channel are still to come.
    pub fn refetch(&mut self, channel: &str, from: u64, to: u64) -> bool {
        let State::Open(_) = self.state else {
            return false;
        };
        let Some(known) = self
            .channels
            .iter_mut()
            .find(|known| known.channel.as_str() == channel)
        else {
            return false;
        };
        if known.outstanding >= MAX_OUTSTANDING {
            return false;
        }
        let Some(range) = known.range(from, to) else {
            return false;
        };
        known.outstanding += 1;
        self.unsent.push_back(range);
        true
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match &mut self.state {
                State::Fresh => self.begin_to_connect(),
                State::Paused(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.begin_to_connect();
                }
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(socket) => {
                        self.state = State::Open(Box::new(OpenSocket::new(socket, self.patience)));
                        let later = &self.channels[self.greeted..];
                        self.unsent
                            .extend(later.iter().map(|channel| channel.subscribe(self.wishes)));
                        return Poll::Ready(Some(Event::Connected));
                    }
                    Err(reason) => return Poll::Ready(Some(self.lost(reason))),
                },
                State::Open(open) => {
                    if let Some(item) = self.items.pop_front() {
                        return Poll::Ready(Some(item));
                    }
                    if let Some(json) = open.next_joined() {
                        track::read(json, &mut self.channels, &mut self.items);
                        if self.raw {
                            self.items.clear();
                            self.items.push_back(Event::Other {
                                json: json.to_owned(),
                            });
                        }
                        continue;
                    }
                    open.send(cx, &mut self.unsent);
                    if let Err(reason) = ready!(open.poll_frame(cx, self.patience)) {
                        return Poll::Ready(Some(self.lost(reason)));
                    }
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn lost(&mut self, reason: DisconnectReason) -> Event {
        // A server that takes connections and drops them at once is not back yet.
        if matches!(&self.state, State::Open(open) if open.good) {
            self.backoff.reset();
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
        self.unsent.clear();
        self.channels.iter_mut().for_each(Subscription::lose);
        let retry = self.retry && self.retries.is_none_or(|most| self.failures <= most);
        let retry_in = retry.then(|| self.backoff.next_pause());
        self.state = retry_in.map_or(State::Ended, |pause| State::Paused(Box::pin(sleep(pause))));
        Event::Disconnected { reason, retry_in }
    }

    fn begin_to_connect(&mut self) {
        self.greeted = self.channels.len();
        self.state = State::Connecting(self.connect());
    }

    fn connect(&self) -> Connecting {
        let (request, trust) = (self.request.clone(), self.trust.clone());
        let subscribes: Vec<String> = self
            .channels
            .iter()
            .map(|subscription| subscription.subscribe(self.wishes))
            .collect();
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let patience = self.patience.min(CONNECT_TIMEOUT);
        Box::pin(async move {
            let connected = timeout(patience, async {
                let mut socket = dial(request, trust, config).await?;
                for subscribe in subscribes {
                    socket.feed(Message::text(subscribe)).await?;
                }
                socket.flush().await?;
                Ok(socket)
            });
            match connected.await {
                Ok(Ok(socket)) => Ok(socket),
                Ok(Err(error)) => Err(DisconnectReason::Refused(refusal(error))),
                Err(_) => Err(DisconnectReason::Refused(format!(
                    "no answer within {} s",
                    patience.as_secs_f32()
                ))),
            }
        })
    }
}

impl Stream for Watcher {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_item(cx)
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("url", &without_secrets(&self.request.uri().to_string()))
            .field("channels", &self.channels().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl OpenSocket {
    fn new(socket: Socket, patience: Duration) -> Self {
        Self {
            socket,
            frame: Utf8Bytes::default(),
            read: 0,
            heard: Instant::now(),
            good: false,
            pinged: false,
            unflushed: false,
            check: Box::pin(sleep(ping_after(patience))),
        }
    }

    /// Hands what is to be said to the socket, as far as it takes it. What it does not take goes with the next call, and a socket that
    /// has failed says so when it is read.
    fn send(&mut self, cx: &mut Context<'_>, unsent: &mut VecDeque<String>) {
        while !unsent.is_empty()
            && let Poll::Ready(Ok(())) = self.socket.poll_ready_unpin(cx)
            && let Some(text) = unsent.pop_front()
        {
            self.unflushed = self.socket.start_send_unpin(Message::text(text)).is_ok();
        }
        if self.unflushed {
            self.unflushed = self.socket.poll_flush_unpin(cx).is_pending();
        }
    }

    /// The next message of the frame being read.
    fn next_joined(&mut self) -> Option<&str> {
        let bytes = self.frame.as_bytes();
        // JSON text holds no raw newline within a string, and a server's is compact: newlines only join.
        while self.read < bytes.len() {
            let start = self.read;
            let end =
                memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |found| start + found);
            self.read = end + 1;
            if start < end {
                return Some(&self.frame[start..end]);
            }
        }
        None
    }

    /// Reads until there is a frame of text.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        patience: Duration,
    ) -> Poll<Result<(), DisconnectReason>> {
        loop {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(message))) => {
                    self.heard = Instant::now();
                    self.pinged = false;
                    self.good |= !message.is_close();
                    match message {
                        Message::Text(text) => {
                            self.frame = text;
                            self.read = 0;
                            return Poll::Ready(Ok(()));
                        }
                        Message::Close(close) => {
                            // One more read sends our half of the goodbye.
                            let _ = Pin::new(&mut self.socket).poll_next(cx);
                            return Poll::Ready(Err(close.map_or_else(
                                || DisconnectReason::Closed(1005, String::new()),
                                |close| {
                                    DisconnectReason::Closed(
                                        close.code.into(),
                                        close.reason.to_string(),
                                    )
                                },
                            )));
                        }
                        _ => {}
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(DisconnectReason::Broken(refusal(error))));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Err(DisconnectReason::Broken(
                        "it ended without a word".to_owned(),
                    )));
                }
            }
        }
        self.poll_silence(cx, patience).map(Err)
    }

    /// Ready when the server has been silent for too long; pings it before.
    fn poll_silence(&mut self, cx: &mut Context<'_>, patience: Duration) -> Poll<DisconnectReason> {
        loop {
            ready!(self.check.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.heard + patience {
                return Poll::Ready(DisconnectReason::Silent);
            }
            if !self.pinged && now >= self.heard + ping_after(patience) {
                self.pinged = true;
                let ping = Message::Ping(Default::default());
                // A socket that takes no ping now will be silent, or fail when it is read.
                if let Poll::Ready(Ok(())) = self.socket.poll_ready_unpin(cx)
                    && self.socket.start_send_unpin(ping).is_ok()
                {
                    let _ = self.socket.poll_flush_unpin(cx);
                }
            }
            let next = if self.pinged {
                patience
            } else {
                ping_after(patience)
            };
            self.check.as_mut().reset(self.heard + next);
        }
    }
}

fn ping_after(patience: Duration) -> Duration {
    patience * 2 / 5
}

/// The error in words for a person.
fn refusal(error: Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::Http(response) => {
            let words = response
                .body()
                .as_deref()
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            format!("the server answers {} {}", response.status(), words.trim())
                .trim_end()
                .to_owned()
        }
        error => error.to_string(),
    }
}
