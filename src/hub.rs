//! The public face: build, publish, look up. Wires the stages together and holds no algorithm.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, Request, Response, Uri, request};
use serde::Serialize;
use tokio::sync::Notify;

use crate::access::{
    Admission, AuthError, Authenticator, Credentials, Denial, Gate, Identity, Origins, PeerInfo,
    PublishTarget, catch_callback,
};
use crate::channel::{
    Channel, ChannelLimit, Client, ClientId, ClientKind, HubShared, OffersUnderway, Overflow,
    Publisher, Registry, Run, Subscription,
};
use crate::config::Config;
use crate::connection::{self, Addresses, UpgradeBody};
use crate::encode::{Encoding, Envelope, single};
use crate::error::ConfigError;
use crate::message::{
    Action, ChannelName, Lines, Message, MessageType, NameError, ProcessEvent, ProcessId, Status,
};
use crate::protocol::{ClientMessage, Command, Range, SubscribeOptions, SubscribeRefusal};
use crate::reason::{CloseReason, RefusalReason};
use crate::stats::{ChannelStats, Queues, Stats};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

type OnConnect = Box<dyn Fn(&Arc<Client>) + Send + Sync>;
type OnDisconnect = Box<dyn Fn(&Arc<Client>, CloseReason) + Send + Sync>;
type OnMessage = Box<dyn Fn(&Arc<Client>, ClientMessage<'_>) + Send + Sync>;
type OnSubscribe = Box<dyn Fn(&Arc<Client>, &ChannelName) -> bool + Send + Sync>;
type OnPublish = Box<dyn Fn(Option<&Identity>, PublishTarget<'_>) -> bool + Send + Sync>;

/// What the application hooked into a hub.
#[derive(Default)]
struct Callbacks {
    connect: Option<OnConnect>,
    disconnect: Option<OnDisconnect>,
    subscribe: Option<OnSubscribe>,
    publish: Option<OnPublish>,
    message: Option<OnMessage>,
}

/// The fan-out engine: takes messages, and delivers them to the WebSocket clients that subscribed.
///
/// Cloning is cheap; all clones are one hub. A hub needs no runtime to be made or published to; connections run in the tokio runtime
/// in which they are accepted. It lives until its last clone and its last connection are gone; [`Hub::shutdown`] ends the connections.
///
/// Publishing never blocks and never waits for a client, and may be done from any thread. Every `send` answers how many subscribers
/// there were at that moment: 0 means nobody, and that nothing was encoded. A subscriber whose queue is full is spared the message; that is
/// counted (see [`Hub::stats`]) and never retried.
///
/// ```
/// use outrace::Hub;
///
/// let hub = Hub::new();
/// let watching = hub.send_process_output("web", "listening on :3000")?;
/// assert_eq!(watching, 0);
/// # Ok::<(), outrace::NameError>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

/// Settings for a [`Hub`].
///
/// ```
/// use std::time::Duration;
/// let hub = outrace::Hub::builder()
///     .queue(1024)
///     .max_flush_interval(Duration::from_millis(5))
///     .on_disconnect(|client, reason| println!("{} left: {reason}", client.id()))
///     .build()?;
/// # Ok::<(), outrace::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until build"]
#[derive(Default)]
pub struct HubBuilder {
    config: Config,
    gate: Gate,
    callbacks: Callbacks,
}

impl HubBuilder {
    /// Messages that may wait for one client: 256 by default, 1 to 4,194,304. A block of lines is shared by all who wait for it, so a longer
    /// queue costs little.
    pub fn queue(mut self, messages: usize) -> Self {
        self.config.queue = messages;
        self
    }

    /// Bytes that may wait for one client, WebSocket headers included: 4 MiB by default, at least 64 KiB, at most 256 GiB. An empty queue takes one
    /// message of any size.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.config.queue_bytes = bytes;
        self
    }

    /// The longest time a message waits to be sent together with others: 10 ms by default, at most 10 s. The hub flushes as often as
    /// keeps that within a tenth of a core, and at once when it is idle; zero means always at once.
    pub fn max_flush_interval(mut self, interval: Duration) -> Self {
        self.config.max_flush_interval = interval;
        self
    }

    /// Connections there may be at once, streams over HTTP included: 100,000 by default, at least 1. One more is refused with 503.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections;
        self
    }

    /// Connections there may be at once from one address, streams over HTTP included: 1,000 by default, at least 1. One more is refused with
    /// 429. The 2^64 addresses of an IPv6 network's `/64` count as one, since one peer has them all. Connections from the loopback are not counted: those are
    /// of this machine, or of a proxy on it. For a proxy elsewhere raise the bound, or tell the address behind it: see
    /// [`PeerAddress`](crate::PeerAddress).
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.config.max_connections_per_address = connections;
        self
    }

    /// Channels there may be at once: 100,000 by default, at least 1; each with one subscriber takes about 4 KB. One more is not made: who subscribes to it is refused with an
    /// `error`, and what is published to it is not kept. Both are counted. [`Hub::publisher`] makes its channel all the same, since it is the
    /// application that asks.
    pub fn max_channels(mut self, channels: usize) -> Self {
        self.config.max_channels = channels;
        self
    }

    /// Bytes a client's message may have: 64 KiB by default, 1 KiB to 1 GiB. A longer one closes the connection with 1009.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.config.max_message = bytes;
        self
    }

    /// Fragments a client's message may come in: 1,024 by default, 1 to 2^30. More close the connection with 1008.
    pub fn max_fragments(mut self, fragments: usize) -> Self {
        self.config.max_fragments = fragments;
        self
    }

    /// Frames a client may send each second in the long run, of whichever kind: messages, their fragments, pings. 100 by default, 1 to 10^9. One that
    /// sends more is closed with 1008, once it has used up its [burst](HubBuilder::message_burst).
    pub fn message_rate(mut self, per_second: u32) -> Self {
        self.config.message_rate = per_second;
        self
    }

    /// Frames a client may send at once, beyond the [rate](HubBuilder::message_rate): by default 2,048, or twice the subscriptions it may have if that is
    /// more, since one that comes back subscribes to all of them again. 1 to 10^9.
    pub fn message_burst(mut self, frames: u32) -> Self {
        self.config.message_burst = Some(frames);
        self
    }

    /// Sets the most bytes that the body of a request may have: 4 MiB by default, 1 KiB to 1 TiB.
    /// A longer body is refused with status 413.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config.max_body = bytes;
        self
    }

    /// Sets how long the body of a request may take to arrive: 30 s by default, at least 1 ms.
    /// A slower one is refused with status 408.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.config.body_timeout = timeout;
        self
    }

    /// How long an upgrade may take, from the answer to the handshake until the connection is ours: 10 s by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// Spreads the closing of connections evenly over this time when the hub shuts down, so that a herd of clients does not come back
    /// all at once: zero by default, which closes all at once. What is published meanwhile is still delivered to those that are left.
    pub fn shutdown_spread(mut self, time: Duration) -> Self {
        self.config.shutdown_spread = time;
        self
    }

    /// Subscriptions one client may have: 1,024 by default, 1 to 16,777,216. One more is refused with an `error` to that client.
    pub fn max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.config.max_subscriptions = subscriptions;
        self
    }

    /// Sets how many messages of each channel are kept: 0 to 2^32. A subscriber can begin with
    /// kept messages, resume after a reconnect, and ask for a gap again.
    ///
    /// 0, the default, keeps nothing. A channel without subscribers then costs nothing.
    pub fn history(mut self, messages: usize) -> Self {
        self.config.history_messages = messages;
        self
    }

    /// Sets how many bytes of each channel are kept, those of the encodings included: 1 MiB by
    /// default, 1 byte to 256 GiB.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.config.history_bytes = bytes;
        self
    }

    /// How long a message is kept: an hour by default, at least a second. A channel outlives its last subscriber until then.
    pub fn history_age(mut self, age: Duration) -> Self {
        self.config.history_age = age;
        self
    }

    /// Bytes that all histories may hold together: 256 MiB by default. Beyond that the channels used the longest ago forget theirs.
    pub fn history_total(mut self, bytes: usize) -> Self {
        self.config.history_total = bytes;
        self
    }

    /// Sets the interval of protocol pings (RFC 6455 5.5.2): 30 s by default, at least 10 ms.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// Sets how long a peer may send nothing at all: 60 s by default, at least the
    /// [ping interval](HubBuilder::ping_interval). A peer that is silent for longer is closed with
    /// code 1001.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Sets how long the peer may take to answer a close frame: 2 s by default, at least 1 ms.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Sets how long a shutdown flushes the queue of each client: 5 s by default.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.config.flush_timeout = timeout;
        self
    }

    /// Called when a client has connected, in its connection's task: keep it short. A panic ends that connection alone.
    pub fn on_connect(mut self, callback: impl Fn(&Arc<Client>) + Send + Sync + 'static) -> Self {
        self.callbacks.connect = Some(Box::new(callback));
        self
    }

    /// Called once for each client that had connected, when it has left every channel. A panic is logged and ends nothing.
    pub fn on_disconnect(
        mut self,
        callback: impl Fn(&Arc<Client>, CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.disconnect = Some(Box::new(callback));
        self
    }

    /// Judges a request by its address and headers before anybody asks who sends it: for a connection, a stream or the API. A panic refuses.
    pub fn on_upgrade(
        mut self,
        callback: impl Fn(&Uri, &HeaderMap) -> Admission + Send + Sync + 'static,
    ) -> Self {
        self.gate.on_upgrade = Some(Box::new(callback));
        self
    }

    /// Finds out who sends a request, before the upgrade: [`Client::identity`]. Without one everybody may come in. See
    /// [`access`](crate::access) for those there are.
    ///
    /// ```
    /// use outrace::access::{AuthError, Bearer, Identity};
    ///
    /// let hub = outrace::Hub::builder()
    ///     .authenticator(Bearer::new(|token| match token {
    ///         // A secret of one's own is compared in constant time: see ApiKeys and TokenTable.
    ///         token if is_session(token) => Ok(Identity::new("alice")),
    ///         _ => Err(AuthError::Invalid),
    ///     }))
    ///     .on_subscribe(|client, channel| {
    ///         client.identity().is_some_and(|who| channel.as_str().starts_with(&format!("{who}:")))
    ///     })
    ///     .build()?;
    /// # fn is_session(_: &str) -> bool { false }
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.gate.authenticator = Some(Box::new(authenticator));
        self
    }

    /// Called when the authenticator has refused a request. A panic is logged and changes nothing.
    pub fn on_auth_failure(
        mut self,
        callback: impl Fn(&Credentials, &AuthError) + Send + Sync + 'static,
    ) -> Self {
        self.gate.on_failure = Some(Box::new(callback));
        self
    }

    /// Which pages may connect and publish: by default those of the server's own host.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.gate.origins = origins;
        self
    }

    /// Lets the server be addressed by this host name (said again, by this one too). A listener on a loopback address
    /// answers to loopback names alone unless others are allowed here: the name under which a proxy passes requests on, say. Once a name is
    /// allowed, any other listener answers to no other name but that and loopback's.
    ///
    /// The hub knows where a request came in when the server puts the [`LocalAddress`](crate::LocalAddress) into its extensions, as
    /// that of `outrace::server` does.
    pub fn allow_host(mut self, name: impl AsRef<str>) -> Self {
        self.gate.hosts.allow(name.as_ref());
        self
    }

    /// Says whether who sends a request to publish may do so; `None` when there is no authenticator. For requests over HTTP: what the
    /// program itself publishes is not asked about. A panic refuses. Without it, whoever may come in may publish, as far as their
    /// [`Grants`](crate::access::Grants) go.
    pub fn authorize_publish(
        mut self,
        callback: impl Fn(Option<&Identity>, PublishTarget<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.publish = Some(Box::new(callback));
        self
    }

    /// Says whether a client may subscribe to a channel. A panic refuses. Also asked of a client that only wants to list channels, which
    /// never connects.
    pub fn on_subscribe(
        mut self,
        callback: impl Fn(&Arc<Client>, &ChannelName) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.subscribe = Some(Box::new(callback));
        self
    }

    /// Called with each message of a client that is none of the wire's commands, in its connection's task: keep it short. Without this callback such messages
    /// are ignored and counted in [`Stats::ignored`]; with it they are the application's and not counted there. [`Client::send_text`] answers.
    ///
    /// A panic ends that connection alone, with close code 1011.
    ///
    /// ```
    /// use outrace::{ClientMessage, Hub};
    ///
    /// let echo = Hub::builder().on_message(|client, message| {
    ///     // What does not fit into the client's queue is skipped and counted.
    ///     let _sent = match message {
    ///         ClientMessage::Text(text) => client.send_text(text),
    ///         ClientMessage::Binary(bytes) => client.send_binary(bytes),
    ///     };
    /// });
    /// # echo.build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn on_message(
        mut self,
        callback: impl Fn(&Arc<Client>, ClientMessage<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.message = Some(Box::new(callback));
        self
    }

    /// Makes the hub.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn build(self) -> Result<Hub, ConfigError> {
        self.config.check()?;
        Ok(Hub {
            inner: Arc::new(Inner::new(self.config, self.gate, self.callbacks)),
        })
    }
}

impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// A hub with the default settings.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner::new(
                Config::default(),
                Gate::default(),
                Callbacks::default(),
            )),
        }
    }

    /// A hub with settings of one's own.
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// Publishes one line of a process to `process:ID`. Invalid UTF-8 becomes U+FFFD; the line is without its terminator.
    ///
    /// # Errors
    /// The process id is not valid.
    pub fn send_process_output(
        &self,
        process_id: &str,
        line: impl AsRef<[u8]>,
    ) -> Result<usize, NameError> {
        let channel = self.inner.process_channel(process_id)?;
        Ok(channel.map_or(0, |channel| {
            if !channel.is_wanted() {
                channel.count_unwatched(1);
                return 0;
            }
            channel.publish(Run::Line(Bytes::copy_from_slice(line.as_ref())))
        }))
    }

    /// Publishes a run of lines of a process at once: as many messages, nobody else's between them.
    ///
    /// # Errors
    /// The process id is not valid.
    pub fn send_process_lines(&self, process_id: &str, lines: Lines) -> Result<usize, NameError> {
        let channel = self.inner.process_channel(process_id)?;
        Ok(channel.map_or(0, |channel| channel.publish(Run::Lines(lines))))
    }

    /// Publishes a change of a process's status. The exit code is 0 for a status that is no exit. A status has a reserve in each
    /// client's queue, so that it is not lost behind a flood of lines.
    ///
    /// # Errors
    /// The process id is not valid.
    pub fn send_process_status(
        &self,
        process_id: &str,
        status: impl Into<Status>,
        exit_code: i32,
    ) -> Result<usize, NameError> {
        let channel = self.inner.process_channel(process_id)?;
        let id = ProcessId::parse(process_id)?;
        Ok(channel.map_or(0, |channel| {
            channel.publish(message_run(
                Message::status(&status.into(), exit_code).with_process(id),
            ))
        }))
    }

    /// Publishes a message to a channel.
    ///
    /// # Errors
    /// The channel name is not valid.
    pub fn send_to_channel(&self, channel: &str, message: Message) -> Result<usize, NameError> {
        let channel = self.inner.channel(channel)?;
        Ok(channel.map_or(0, |channel| channel.publish(message_run(message))))
    }

    /// Sends a message to every client, subscribed or not; answers how many clients there are. A client whose queue is full is
    /// disconnected with close code 1013. A stream over HTTP counts as a client, and carries its channel alone.
    pub fn broadcast(&self, message: Message) -> usize {
        self.inner.everyone.publish(message_run(message))
    }

    /// Sends `{"event":name,"data":data}` to every client, as [`Hub::broadcast`].
    ///
    /// # Errors
    /// The data can't be serialized. With no client connected it is not tried.
    pub fn send_event(
        &self,
        name: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<usize, serde_json::Error> {
        if self.client_count() == 0 {
            return Ok(0);
        }
        Ok(self.broadcast(Message::event(name, data)?))
    }

    /// Sends an error text to every client, as [`Hub::broadcast`].
    pub fn send_error(&self, text: &str) -> usize {
        self.broadcast(Message::error(text.to_owned()))
    }

    /// A handle to publish to one channel without looking it up.
    ///
    /// # Errors
    /// The channel name is not valid.
    pub fn publisher(&self, channel: &str) -> Result<Publisher, NameError> {
        Ok(Publisher::new(
            Arc::clone(&self.inner.registry),
            &ChannelName::parse(channel)?,
        ))
    }

    /// Publishes what a process manager has to tell; answers how many subscribers the process's channel had.
    pub fn publish_event(&self, event: ProcessEvent) -> usize {
        let sent = match &event {
            ProcessEvent::Started { id } => {
                self.send_process_status(id.as_str(), Status::Running, 0)
            }
            ProcessEvent::Output { id, line } => self.send_process_output(id.as_str(), line),
            ProcessEvent::Exited { id, code } => {
                self.send_process_status(id.as_str(), Status::Exited, *code)
            }
            ProcessEvent::Crashed { id, code } => {
                self.send_process_status(id.as_str(), Status::Crashed, *code)
            }
            ProcessEvent::Stopped { id } => {
                self.send_process_status(id.as_str(), Status::Stopped, 0)
            }
        };
        sent.expect("a ProcessId is valid")
    }

    /// Publishes all events of a stream, until it ends.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the stream with the events it has not yielded yet; none that it yielded is lost.
    pub async fn forward(&self, events: impl Stream<Item = ProcessEvent>) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await {
            self.publish_event(event);
        }
    }

    /// Does what an action asks for.
    pub fn execute(&self, action: Action) -> Reply {
        self.inner.execute(self, action)
    }

    /// Connected clients.
    pub fn client_count(&self) -> usize {
        self.inner.everyone.listeners()
    }

    /// Channels with at least one subscriber.
    pub fn channel_count(&self) -> usize {
        self.inner.registry.live()
    }

    /// The subscribers of a channel; 0 for one that does not exist or whose name is not valid.
    pub fn channel_subscriber_count(&self, channel: &str) -> usize {
        self.inner
            .registry
            .find(channel)
            .map_or(0, |channel| channel.listeners())
    }

    /// The hub's counters. Linear in clients and channels.
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let mut queues = Queues::default();
        for client in inner.everyone.clients() {
            let used = client.outbox.used();
            queues.add(used.messages, used.bytes);
        }
        let subscribers = inner
            .registry
            .all()
            .iter()
            .map(|channel| channel.listeners())
            .sum();
        inner.core.totals.stats(
            self.client_count(),
            self.channel_count(),
            subscribers,
            queues,
            inner.core.history_bytes(),
        )
    }

    /// The clients connected now.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = Arc<Client>> + use<> {
        self.inner.everyone.clients().into_iter()
    }

    /// The channels that have subscribers, a history or a status now, by name.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = ChannelStats> + use<> {
        let mut channels: Vec<_> = self
            .inner
            .registry
            .all()
            .iter()
            .filter_map(|channel| {
                let status = channel.status();
                let (subscribers, kept_bytes) = (channel.listeners(), channel.kept_bytes());
                if subscribers == 0 && kept_bytes == 0 && status.is_none() {
                    return None;
                }
                Some(ChannelStats {
                    channel: channel.name()?.clone(),
                    subscribers,
                    published: channel.published(),
                    skipped: channel.skipped(),
                    epoch: channel.epoch().to_owned(),
                    seq: channel.seq(),
                    kept_bytes,
                    status,
                })
            })
            .collect();
        channels.sort_unstable_by(|a, b| a.channel.as_str().cmp(b.channel.as_str()));
        channels.into_iter()
    }

    /// The clients subscribed to a channel now.
    pub fn subscribers(&self, channel: &str) -> impl ExactSizeIterator<Item = Arc<Client>> + use<> {
        self.inner
            .registry
            .find(channel)
            .map(|channel| channel.clients())
            .unwrap_or_default()
            .into_iter()
    }

    /// Answers a WebSocket handshake and, when it succeeds, serves the client in a task of its own. For any server built on hyper 1: the
    /// connection has to be served `with_upgrades`.
    ///
    /// A request that is no handshake, comes from a page of another site, is not admitted or comes while the hub is full or
    /// stopping is answered with a refusal, and `text/plain`.
    ///
    /// Waits for nothing but the [authenticator](HubBuilder::authenticator), if there is one.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    /// A dropped future has not answered; nothing is left of the request.
    pub async fn upgrade<B>(&self, request: Request<B>) -> Response<UpgradeBody> {
        connection::upgrade(&self.inner, request).await
    }

    #[cfg(any(fuzzing, test, feature = "internals", feature = "server"))]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Starts the hub's flush clock in this runtime, which otherwise begins with the first client: without it, history ages only when
    /// something is published.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn start(&self) {
        self.inner.registry.start_ticker();
    }

    /// Whether [`Hub::shutdown`] has been called.
    pub fn is_stopping(&self) -> bool {
        self.inner.is_stopping()
    }

    /// Ends the hub: refuses new connections, sends every client what waits for it, then close code 1001. Returns when all
    /// connections have ended, which they do within the timeouts of [`HubBuilder::close_timeout`] and [`HubBuilder::flush_timeout`].
    ///
    /// # Cancel safety
    /// A dropped future ends the waiting; the hub goes on ending. Calling it again waits again.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        // Release, paired with `is_stopping`.
        inner.stopping.store(true, Ordering::Release);
        for channel in inner.registry.all() {
            channel.sealed().await;
        }
        inner.everyone.sealed().await;
        let (begun, spread) = (Instant::now(), inner.config().shutdown_spread);
        let herd = inner.everyone.clients();
        let mut asked = 0;
        loop {
            let empty = inner.emptied.notified();
            let share = begun.elapsed().as_secs_f64() / spread.as_secs_f64().max(f64::MIN_POSITIVE);
            let due = if share < 1.0 {
                (herd.len() as f64 * share) as usize
            } else {
                herd.len()
            };
            for client in &herd[asked..due] {
                client.outbox.ask_to_close(CloseReason::Shutdown);
            }
            asked = due;
            if asked == herd.len() {
                // Each time round: one whose handshake was under way may have joined after the first look.
                for client in inner.everyone.clients() {
                    client.outbox.ask_to_close(CloseReason::Shutdown);
                }
            }
            if inner.slots.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::select! {
                () = empty => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("clients", &self.client_count())
            .field("channels", &self.channel_count())
            .finish_non_exhaustive()
    }
}

fn message_run(message: Message) -> Run {
    Run::Message(Box::new(message))
}

/// What an [`Action`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reply {
    /// A message was published; so many were there to get it.
    Sent {
        /// Subscribers or clients at that moment.
        subscribers: usize,
    },
    /// A count was asked for.
    Count {
        /// The count.
        count: usize,
    },
    /// `ws.stats`.
    Stats {
        /// Connected clients.
        clients: usize,
        /// Channels with at least one subscriber.
        channels: usize,
        /// Subscriptions of all clients together.
        subscribers: usize,
    },
    /// An order for a process was taken, or not: a hub supervises none by itself.
    Ordered {
        /// Whether it will be carried out.
        accepted: bool,
    },
}

/// A channel to publish to once.
enum Target {
    Live(Arc<Channel>),
    /// Kept from vanishing until its history holds what is published.
    Kept(Publisher),
}

impl std::ops::Deref for Target {
    type Target = Arc<Channel>;

    fn deref(&self) -> &Arc<Channel> {
        match self {
            Self::Live(channel) => channel,
            Self::Kept(publisher) => publisher.target(),
        }
    }
}

/// A hub's parts.
pub(crate) struct Inner {
    core: Arc<HubShared>,
    registry: Arc<Registry>,
    /// The channel of all clients: each is in it from its first moment to its last.
    everyone: Arc<Channel>,
    gate: Gate,
    callbacks: Callbacks,
    next_client: AtomicU64,
    /// Connections and handshakes under way.
    slots: AtomicUsize,
    /// The same by address.
    addresses: Addresses,
    stopping: AtomicBool,
    emptied: Notify,
}

impl Inner {
    fn new(config: Config, gate: Gate, callbacks: Callbacks) -> Self {
        let core = Arc::new(HubShared::new(config));
        Self {
            registry: Registry::new(Arc::clone(&core)),
            everyone: Arc::new(Channel::new(Arc::clone(&core), None, Overflow::Disconnect)),
            core,
            gate,
            callbacks,
            next_client: AtomicU64::new(1),
            slots: AtomicUsize::new(0),
            addresses: Addresses::new(),
            stopping: AtomicBool::new(false),
            emptied: Notify::new(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.core.config
    }

    pub(crate) fn core(&self) -> &HubShared {
        &self.core
    }

    /// Seals what waits in any channel.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub(crate) fn flush(&self) {
        for channel in self.registry.all() {
            channel.seal();
        }
        self.everyone.seal();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The channel of a process, if anybody listens to it or what is published is kept. No allocation for one that exists.
    fn process_channel(&self, process_id: &str) -> Result<Option<Target>, NameError> {
        const PREFIX: &[u8] = b"process:";
        let mut name = [0; 8 + 128];
        let Some(name) = name.get_mut(..PREFIX.len() + process_id.len()) else {
            return ProcessId::parse(process_id).map(|_| None);
        };
        name[..PREFIX.len()].copy_from_slice(PREFIX);
        name[PREFIX.len()..].copy_from_slice(process_id.as_bytes());
        let name = std::str::from_utf8(name).expect("two texts, one after the other");
        self.channel(name)
            .or_else(|_| ProcessId::parse(process_id).map(|_| None))
    }

    /// The channel of that name, if anybody listens to it or what is published is kept.
    fn channel(&self, name: &str) -> Result<Option<Target>, NameError> {
        if self.core.keeps_history() {
            let name = ChannelName::parse(name)?;
            let publisher = Publisher::bounded(Arc::clone(&self.registry), &name);
            if publisher.is_err() {
                self.core.totals.count_refused(RefusalReason::ChannelLimit);
            }
            return Ok(publisher.ok().map(Target::Kept));
        }
        match self.registry.find(name) {
            Some(channel) => Ok(Some(Target::Live(channel))),
            // Only a name that is not known needs to be judged.
            None => ChannelName::parse(name).map(|_| None),
        }
    }

    fn execute(&self, hub: &Hub, action: Action) -> Reply {
        let sent = |subscribers| Reply::Sent { subscribers };
        match action {
            Action::Broadcast { channel, message } => sent(hub.broadcast(match channel {
                Some(channel) => message.in_channel(channel),
                None => message,
            })),
            Action::SendChannel { channel, message } => sent(
                hub.send_to_channel(channel.as_str(), message)
                    .expect("a ChannelName is valid"),
            ),
            Action::SendEvent { message } | Action::SendError { message } => {
                sent(hub.broadcast(message))
            }
            Action::SendProcessOutput { process_id, output } => sent(
                hub.send_process_output(process_id.as_str(), output)
                    .expect("a ProcessId is valid"),
            ),
            Action::SendProcessStatus {
                process_id,
                status,
                exit_code,
            } => sent(
                hub.send_process_status(process_id.as_str(), status, exit_code)
                    .expect("a ProcessId is valid"),
            ),
            Action::ClientCount => Reply::Count {
                count: hub.client_count(),
            },
            Action::ChannelCount => Reply::Count {
                count: hub.channel_count(),
            },
            Action::SubscriberCount { channel } => Reply::Count {
                count: hub.channel_subscriber_count(channel.as_str()),
            },
            Action::OrderProcess { .. } => Reply::Ordered { accepted: false },
            Action::Stats => {
                let stats = hub.stats();
                Reply::Stats {
                    clients: stats.clients,
                    channels: stats.channels,
                    subscribers: stats.subscribers,
                }
            }
        }
    }

    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Takes one of the connections there may be.
    pub(crate) fn take_slot(&self) -> bool {
        let most = self.config().max_connections;
        // AcqRel, as in `give_slot_back`: who sees the last slot given back sees what its connection did.
        self.slots
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |slots| {
                (slots < most).then_some(slots + 1)
            })
            .is_ok()
    }

    pub(crate) fn give_slot_back(&self) {
        if self.slots.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn make_client(&self, visitor: PeerInfo, speaks: ClientKind) -> Arc<Client> {
        // Relaxed: only has to be unique.
        let id = ClientId(self.next_client.fetch_add(1, Ordering::Relaxed));
        Arc::new(Client::new(
            id,
            visitor,
            self.config().limits(),
            speaks,
            Arc::downgrade(&self.core.totals),
        ))
    }

    /// Who a request is from, if it may come in.
    pub(crate) async fn admit(&self, head: &request::Parts) -> Result<Option<Identity>, Denial> {
        self.gate.admit(head).await
    }

    /// Whether whoever sends an action may have it done. Nobody's is limited by the callback alone.
    #[cfg(feature = "server")]
    pub(crate) fn permits(&self, client: &Arc<Client>, action: &Action) -> bool {
        let identity = client.identity();
        match action {
            Action::ClientCount | Action::ChannelCount | Action::Stats => true,
            Action::SubscriberCount { channel } => self.authorizes(client, channel),
            Action::Broadcast { .. } | Action::SendEvent { .. } | Action::SendError { .. } => {
                self.may_publish(identity, PublishTarget::Everyone)
            }
            Action::SendChannel { channel, .. } => {
                self.may_publish(identity, PublishTarget::Channel(channel))
            }
            Action::SendProcessOutput { process_id, .. }
            | Action::SendProcessStatus { process_id, .. } => self.may_publish(
                identity,
                PublishTarget::Channel(&ChannelName::process(process_id)),
            ),
            Action::OrderProcess { process_id, .. } => self.may_publish(
                identity,
                PublishTarget::Process(&ChannelName::process(process_id)),
            ),
        }
    }

    #[cfg(feature = "server")]
    fn may_publish(&self, identity: Option<&Identity>, target: PublishTarget<'_>) -> bool {
        let grants = identity.and_then(Identity::grants);
        if !grants.is_none_or(|grants| grants.may_publish(target)) {
            return false;
        }
        let Some(authorize) = &self.callbacks.publish else {
            return true;
        };
        catch_callback("authorize_publish", || authorize(identity, target)).unwrap_or(false)
    }

    /// Whether a client may see a channel.
    pub(crate) fn authorizes(&self, client: &Arc<Client>, channel: &ChannelName) -> bool {
        let grants = client.identity().and_then(Identity::grants);
        if !grants.is_none_or(|grants| grants.may_subscribe(channel)) {
            return false;
        }
        let Some(authorize) = &self.callbacks.subscribe else {
            return true;
        };
        catch_callback("on_subscribe", || authorize(client, channel)).unwrap_or(false)
    }

    /// Makes a client one of all.
    pub(crate) fn welcome(&self, client: &Arc<Client>) -> Arc<Subscription> {
        self.registry.start_ticker();
        self.core.totals.count_connected();
        let membership = Arc::new(Subscription::new(
            Arc::clone(client),
            Arc::clone(&self.everyone),
            Encoding::Json,
            None,
        ));
        self.everyone.join(&membership);
        if self.is_stopping() {
            client.outbox.ask_to_close(CloseReason::Shutdown);
        }
        membership
    }

    /// Calls the connect callback. A panic ends the connection, with close code 1011.
    pub(crate) fn tell_connected(&self, client: &Arc<Client>) {
        tracing::debug!(client = %client.id(), address = ?client.address(), "connected");
        if let Some(connect) = &self.callbacks.connect
            && catch_callback("on_connect", || connect(client)).is_none()
        {
            client.outbox.ask_to_close(CloseReason::Internal);
        }
    }

    /// Takes a client out of every channel, that of all included. The second call does nothing.
    pub(crate) fn leave_all(&self, membership: &Arc<Subscription>) {
        if membership.has_left() {
            return;
        }
        self.everyone.leave(membership);
        let subscriptions = std::mem::take(&mut *membership.client.lock());
        for subscription in subscriptions.into_values() {
            self.leave(&subscription);
        }
    }

    /// A connection has ended: counts what is discarded with it, and tells the application.
    pub(crate) fn unregister(&self, membership: &Arc<Subscription>, reason: CloseReason) {
        self.leave_all(membership);
        let client = &membership.client;
        self.core
            .totals
            .count_discarded(client.outbox.discard() as u64);
        self.core.totals.count_closed(reason);
        tracing::debug!(client = %client.id(), %reason, "disconnected");
        if let Some(disconnect) = &self.callbacks.disconnect {
            catch_callback("on_disconnect", || disconnect(client, reason));
        }
    }

    /// Hands the application a message that is no command; false when there is no callback for it. A panic there is `Err`: the connection is to end.
    pub(crate) fn dispatch(
        &self,
        client: &Arc<Client>,
        message: ClientMessage<'_>,
    ) -> Result<bool, Panicked> {
        let Some(callback) = &self.callbacks.message else {
            return Ok(false);
        };
        catch_callback("on_message", || callback(client, message))
            .map(|()| true)
            .ok_or(Panicked)
    }

    /// Does what a client asks for. Its next message has to wait for what is answered here: what was under way when it unsubscribed comes
    /// before the answer to that.
    pub(crate) fn command(
        &self,
        client: &Arc<Client>,
        command: Command<'_>,
    ) -> Option<OffersUnderway> {
        match command {
            Command::Subscribe { channel, options } => {
                tracing::trace!(client = %client.id(), channel, ?options, "subscribe");
                let subscribed = match options {
                    Ok(options) => self.subscribe(client, channel, options),
                    Err(_) => Err(SubscribeRefusal::Options),
                };
                if let Err(refusal) = subscribed {
                    tracing::debug!(client = %client.id(), channel, %refusal, "refused a subscription");
                    self.core.totals.count_refused(refusal.reason());
                    self.answer(client, Message::error(refusal.as_str()));
                }
            }
            Command::Unsubscribe { channel } => {
                tracing::trace!(client = %client.id(), channel, "unsubscribe");
                return self.unsubscribe(client, channel);
            }
            Command::Ping => self.answer(client, Message::new(MessageType::Pong)),
        }
        None
    }

    fn answer(&self, client: &Client, message: Message) {
        let frame = single(&Envelope::new(None), &message, &HubShared::timestamp());
        client.count_single(&self.core.totals, client.outbox.offer_reserved(frame));
    }

    /// Subscribes a client, as it asks. Again is free; again with options is a new subscription in the old one's place, or, when a range is asked
    /// for, a replay of that.
    fn subscribe(
        &self,
        client: &Arc<Client>,
        channel: &str,
        options: Option<SubscribeOptions>,
    ) -> Result<(), SubscribeRefusal> {
        let name = ChannelName::parse(channel).map_err(|error| SubscribeRefusal::from(&error))?;
        if !self.authorizes(client, &name) {
            return Err(SubscribeRefusal::Unauthorized);
        }
        let (known, count) = {
            let subscriptions = client.lock();
            (subscriptions.get(&name).cloned(), subscriptions.len())
        };
        let mut options = options;
        let range = options.as_mut().and_then(|options| options.range.take());
        if let Some(known) = known {
            let Some(options) = options else {
                return Ok(());
            };
            if let (Some(range), true) = (&range, known.is_tracked()) {
                known.channel.refetch(&known, range.clone());
                return Ok(());
            }
            self.unsubscribe(client, name.as_str());
            return self.join(client, name, Some(options), range);
        }
        if count >= self.config().max_subscriptions {
            return Err(SubscribeRefusal::Limit);
        }
        self.join(client, name, options, range)
    }

    fn join(
        &self,
        client: &Arc<Client>,
        name: ChannelName,
        options: Option<SubscribeOptions>,
        range: Option<Range>,
    ) -> Result<(), SubscribeRefusal> {
        let batch = options.as_ref().is_some_and(|options| options.batch);
        let encoding = if batch {
            Encoding::Batch
        } else {
            Encoding::Json
        };
        self.join_as(client, name, encoding, options, range)
    }

    /// Subscribes a client to a channel to which it is not subscribed.
    pub(crate) fn join_as(
        &self,
        client: &Arc<Client>,
        name: ChannelName,
        encoding: Encoding,
        options: Option<SubscribeOptions>,
        range: Option<Range>,
    ) -> Result<(), SubscribeRefusal> {
        let channel = self
            .registry
            .pin_bounded(&name)
            .map_err(|ChannelLimit| SubscribeRefusal::Channels)?;
        let subscription = Arc::new(Subscription::new(
            Arc::clone(client),
            Arc::clone(&channel),
            encoding,
            options,
        ));
        client.lock().insert(name, Arc::clone(&subscription));
        if channel.join(&subscription) {
            self.registry.count_live();
        }
        if let Some(range) = range {
            channel.refetch(&subscription, range);
        }
        Ok(())
    }

    /// Gives a client what it is owed, now that its writer has written everything.
    pub(crate) fn resume(&self, client: &Client) {
        for subscription in client.take_pending() {
            subscription.channel.resume(&subscription);
        }
    }

    fn unsubscribe(&self, client: &Client, channel: &str) -> Option<OffersUnderway> {
        let subscription = client.lock().remove(channel)?;
        self.leave(&subscription);
        subscription.channel.offers_underway()
    }

    fn leave(&self, subscription: &Arc<Subscription>) {
        if subscription.channel.leave(subscription) {
            self.registry.count_dead();
        }
        self.registry.unpin(&subscription.channel);
    }
}

/// A callback of the application panicked.
#[derive(Debug)]
pub(crate) struct Panicked;
