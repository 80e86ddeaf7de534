//! The life of a watcher: connect, subscribe, read, disconnect, wait, and connect again.

use std::collections::{HashSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Sleep, sleep};

use crate::access::Pattern;
use crate::message::ChannelName;

use super::attempt::{AttemptFailure, Established, establish, establish_with};
use super::backoff::Backoff;
use super::decode::decode;
use super::discovery::Discovery;
use super::endpoint::Endpoint;
use super::envelope::Envelope;
use super::error::ListError;
use super::event::{DisconnectReason, Event};
use super::lister::ChannelList;
use super::live_socket::LiveSocket;
use super::resume_point::ResumePoint;
use super::token_source::TokenSource;
use super::tracked_channel::{TrackedChannel, WatchOptions};

type Connecting = Pin<Box<dyn Future<Output = Result<Established, AttemptFailure>> + Send>>;

/// The longest time for an attempt to connect.
pub(super) const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a watcher that stay the same.
pub(super) struct WatcherConfig {
    pub(super) endpoint: Endpoint,
    pub(super) retry: bool,
    pub(super) retry_limit: Option<u32>,
    pub(super) raw: bool,
    pub(super) idle_timeout: Duration,
    pub(super) options: WatchOptions,
    /// Asked for the token of each attempt.
    pub(super) token_source: Option<TokenSource>,
}

/// Watches channels of one server, reconnects when the connection is lost, and continues where it
/// left off.
///
/// Events are taken with [`next`](Self::next), with [`try_next`](Self::try_next), or from the
/// [`Stream`] that a watcher is too. A watcher does nothing between these calls: it has no task of
/// its own.
///
/// It holds one frame of the server at a time and reads the next one when the events of that frame
/// are taken. A slow watcher delays no other client. The server skips messages for it, and reports
/// them as [`Event::Gap`].
///
/// See the [module](super) for examples.
pub struct Watcher {
    pub(super) config: WatcherConfig,
    pub(super) channels: Vec<TrackedChannel>,
    /// `None` without patterns.
    pub(super) discovery: Option<Discovery>,
    /// The addresses that the next attempt tries: one, once the server was reached.
    endpoints: Vec<Endpoint>,
    backoff: Backoff,
    /// Whether there was a connection, or a failure that heals by itself.
    may_heal: bool,
    /// The number of attempts that failed in a row.
    failures: u32,
    /// The events of the last message. The next message is read when they are taken.
    pub(super) events: VecDeque<Event>,
    /// The requests that were not given to the socket yet.
    pub(super) unsent: VecDeque<String>,
    /// Places of an earlier run of the program, in channels that are not watched yet.
    pub(super) restored: ResumePoint,
    /// Channels that are no longer watched on this connection. Their messages may be on the way.
    pub(super) unwatched: HashSet<ChannelName>,
    /// The token of the last attempt, if the server has refused it.
    refused_token: Option<String>,
    state: ConnectionState,
}

enum ConnectionState {
    /// No event was asked for yet.
    Unconnected,
    Connecting(Connecting),
    Open(Box<LiveSocket>),
    /// The delay before the next attempt.
    Waiting(Pin<Box<Sleep>>),
    Ended,
}

impl Watcher {
    pub(super) fn new(
        config: WatcherConfig,
        channels: Vec<ChannelName>,
        patterns: Vec<Pattern>,
        backoff: Backoff,
        restored: ResumePoint,
    ) -> Self {
        let mut watcher = Self {
            endpoints: config.endpoint.candidates(),
            discovery: Discovery::new(patterns),
            config,
            channels: Vec::new(),
            backoff,
            may_heal: false,
            failures: 0,
            events: VecDeque::new(),
            unsent: VecDeque::new(),
            restored,
            unwatched: HashSet::new(),
            refused_token: None,
            state: ConnectionState::Unconnected,
        };
        for channel in channels {
            watcher.add(TrackedChannel::new(channel));
        }
        watcher
    }

    /// Returns the watched channels, in the order in which they were added.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &ChannelName> {
        self.channels.iter().map(TrackedChannel::name)
    }

    /// Returns the next event, or `None` after the last one.
    ///
    /// The first call connects. A watcher has a last event, an [`Event::Disconnected`], only if it
    /// does not [retry](super::WatcherBuilder::retry) or reaches its
    /// [limit](super::WatcherBuilder::retry_limit), or if the server does not accept its token.
    ///
    /// # Cancel safety
    /// This method is cancel safe. No event is lost if the future is dropped: an attempt to connect
    /// or a delay continues with the next call.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Returns the next event if it can be had without waiting. It does not connect.
    ///
    /// A caller that writes events to a buffer can use it to flush only when no event is left:
    ///
    /// ```no_run
    /// # use outrace::client::Watcher;
    /// # async fn example(mut watcher: Watcher) {
    /// let event = match watcher.try_next() {
    ///     Some(event) => Some(event),
    ///     None => {
    ///         // Flush here.
    ///         watcher.next().await
    ///     }
    /// };
    /// # }
    /// ```
    pub fn try_next(&mut self) -> Option<Event> {
        let ConnectionState::Open(_) = self.state else {
            return None;
        };
        match self.poll_event(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    /// Returns whether there is a connection.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, ConnectionState::Open(_))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match &mut self.state {
                ConnectionState::Unconnected => self.start_connecting(),
                ConnectionState::Waiting(delay) => {
                    ready!(delay.as_mut().poll(cx));
                    self.start_connecting();
                }
                ConnectionState::Connecting(connecting) => {
                    let event = match ready!(connecting.as_mut().poll(cx)) {
                        Ok(established) => self.opened(cx, established),
                        Err(failure) => {
                            if failure.is_absent
                                && let Some(discovery) = &mut self.discovery
                            {
                                discovery.begin();
                            }
                            self.refused_token = failure.refused_token;
                            self.disconnected(failure.reason, failure.is_final)
                        }
                    };
                    return Poll::Ready(Some(event));
                }
                ConnectionState::Open(open) => {
                    if let Some(event) = self.events.pop_front() {
                        return Poll::Ready(Some(event));
                    }
                    if let Some(json) = open.next_message() {
                        decode(json, &mut self.channels, &mut self.events);
                        if is_of(&self.unwatched, self.events.front()) {
                            self.events.clear();
                            continue;
                        }
                        if self.config.raw {
                            self.events.clear();
                            self.events.push_back(Event::Other {
                                json: json.to_owned(),
                            });
                        }
                        continue;
                    }
                    if self.poll_discovery(cx) {
                        continue;
                    }
                    let ConnectionState::Open(open) = &mut self.state else {
                        continue;
                    };
                    open.send(cx, &mut self.unsent);
                    if let Err(reason) = ready!(open.poll_frame(cx)) {
                        return Poll::Ready(Some(self.disconnected(reason, false)));
                    }
                }
                ConnectionState::Ended => return Poll::Ready(None),
            }
        }
    }

    fn opened(&mut self, cx: &mut Context<'_>, established: Established) -> Event {
        let Established {
            endpoint,
            socket,
            listed,
        } = established;
        self.endpoints = vec![endpoint];
        self.refused_token = None;
        if let Some(listed) = listed {
            self.take_list(listed);
        }
        if let Some(discovery) = &mut self.discovery {
            discovery.connected();
        }
        let requests = self
            .channels
            .iter()
            .map(|channel| channel.subscribe_request(self.config.options));
        self.unsent = requests.collect();
        let mut open = Box::new(LiveSocket::new(socket, self.config.idle_timeout));
        open.send(cx, &mut self.unsent);
        self.state = ConnectionState::Open(open);
        Event::Connected
    }

    /// Asks for the list of channels when it is due. Returns whether there is a new event.
    fn poll_discovery(&mut self, cx: &mut Context<'_>) -> bool {
        while let (Some(discovery), Some(endpoint)) = (&mut self.discovery, self.endpoints.first())
            && let Poll::Ready(listed) = discovery.poll_list(cx, endpoint)
        {
            self.take_list(listed);
        }
        !self.events.is_empty()
    }

    /// Watches the channels of a list that fit a pattern and are new.
    fn take_list(&mut self, list: Result<ChannelList, ListError>) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        match discovery.take(list, self.config.options.tail.is_some()) {
            Ok(found) => {
                let excess = discovery.excess();
                found.into_iter().for_each(|channel| self.add(channel));
                if let Some(watched) = excess {
                    self.events.push_back(Event::PatternLimit { watched });
                }
            }
            Err(error) => self.events.push_back(Event::ListFailed {
                reason: error.to_string(),
            }),
        }
    }

    fn disconnected(&mut self, reason: DisconnectReason, is_final: bool) -> Event {
        // A server that accepts connections and closes them at once has not recovered yet, so such
        // a connection counts as a failure.
        if matches!(&self.state, ConnectionState::Open(open) if open.is_good()) {
            self.backoff.reset();
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
        self.unsent.clear();
        self.unwatched.clear();
        for channel in &mut self.channels {
            channel.disconnect();
        }
        let within_limit = self
            .config
            .retry_limit
            .is_none_or(|limit| self.failures <= limit);
        // Waiting makes no WebSocket server of another one. A server that was there, or was not
        // there yet, may be behind a proxy that answers for it now.
        let is_wrong = !self.may_heal && matches!(reason, DisconnectReason::NoWebSocket(_));
        self.may_heal = true;
        let retry_in = (self.config.retry && within_limit && !is_wrong && !is_final)
            .then(|| self.backoff.next_delay());
        self.state = match retry_in {
            Some(delay) => ConnectionState::Waiting(Box::pin(sleep(delay))),
            None => ConnectionState::Ended,
        };
        Event::Disconnected { reason, retry_in }
    }

    fn start_connecting(&mut self) {
        let needs_list = self
            .discovery
            .as_ref()
            .is_some_and(|discovery| !discovery.is_underway());
        let limit = self.config.idle_timeout.min(MAX_CONNECT_TIMEOUT);
        let endpoints = self.endpoints.clone();
        self.state = ConnectionState::Connecting(match self.config.token_source.clone() {
            None => Box::pin(establish(endpoints, needs_list, limit)),
            Some(source) => {
                let refused = self.refused_token.take();
                Box::pin(establish_with(
                    source, refused, endpoints, needs_list, limit,
                ))
            }
        });
    }
}

/// Returns whether an event belongs to one of these channels.
fn is_of(channels: &HashSet<ChannelName>, event: Option<&Event>) -> bool {
    let Some(event) = event.filter(|_| !channels.is_empty()) else {
        return false;
    };
    match event {
        Event::Other { json } => Envelope::parse(json)
            .and_then(|message| message.channel)
            .is_some_and(|channel| channels.iter().any(|name| name.as_str() == channel)),
        event => event
            .channel()
            .is_some_and(|channel| channels.contains(channel)),
    }
}

impl Stream for Watcher {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("url", &self.config.endpoint.shown_url())
            .field("channels", &self.channels().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
