//! One connection to an upstream server, with the channels that come over it.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep, sleep_until};

use super::channel::RelayedChannel;
use super::decode::{Received, decode};
use super::mailbox::Mailbox;
use super::router::Reports;
use super::upstream::Upstream;
use crate::backplane::{Counters, Node};
use crate::client::{Backoff, Endpoint, Link, LinkFailure};
use crate::message::ChannelName;

/// How long the server keeps sending a channel whose last subscriber has left.
const LINGER: Duration = Duration::from_secs(30);
/// The time of no deadline: far enough, and no overflow of a clock.
const NEVER: Duration = Duration::from_secs(3600);
/// The delay after a server has found a loop of relays. Only a person can break it.
const LOOP_DELAY: Duration = Duration::from_secs(30);

/// What the router has for a lane. Taken in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct LaneOrders {
    /// Channels that come over this lane from now on.
    pub(super) take: Vec<RelayedChannel>,
    /// Channels to give back to the router.
    pub(super) give: HashSet<ChannelName>,
    /// Channels whose subscribers have changed.
    pub(super) changed: HashSet<ChannelName>,
    /// No server has the channels of this lane, so that nothing is to be waited for.
    pub(super) answers: bool,
    /// The lane has no channels and ends.
    pub(super) ends: bool,
}

/// The way of a lane to its server.
pub(super) struct LaneLink {
    pub(super) upstream: Arc<Upstream>,
    /// The server with the path of the handshake.
    pub(super) endpoint: Endpoint,
    pub(super) backoff: Backoff,
    pub(super) idle_timeout: Duration,
    /// The first lane of a server stands for the server: it says whether the server is there, and
    /// passes on what the server sends to everyone.
    pub(super) is_first: bool,
}

/// Feeds the mirrors of some channels.
pub(super) struct Lane {
    node: Node,
    inbox: Arc<Mailbox<LaneOrders>>,
    router: Arc<Mailbox<Reports>>,
    counters: Arc<Counters>,
    channels: HashMap<ChannelName, RelayedChannel>,
    /// When a channel is next due. It may be early, and is found again when it has passed: a scan
    /// of all channels for each frame would cost more than the frame.
    deadline: Instant,
    ends: bool,
}

impl Lane {
    pub(super) fn new(
        node: Node,
        inbox: Arc<Mailbox<LaneOrders>>,
        router: Arc<Mailbox<Reports>>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            node,
            inbox,
            router,
            counters,
            channels: HashMap::new(),
            deadline: Instant::now() + NEVER,
            ends: false,
        }
    }

    /// Takes care of channels that come from nowhere yet.
    pub(super) async fn wait(mut self) {
        self.tend_during(std::future::pending::<()>()).await;
    }

    /// Runs until the router ends it or drops it.
    pub(super) async fn run(mut self, mut link: LaneLink) {
        let mut is_again = false;
        while let Some(mut socket) = self.connect(&mut link).await {
            tracing::info!(upstream = link.endpoint.shown_url(), "connected");
            if link.is_first {
                self.counters.count_connected(is_again);
                is_again = true;
            }
            self.serve(&link, &mut socket).await;
            // A server that accepts connections and closes them at once has not recovered yet.
            if socket.is_good() {
                link.backoff.reset();
            }
            if self.pause(link.backoff.next_delay()).await.is_none() {
                return;
            }
        }
    }

    /// Connects, as often as it takes. Takes care of the mirrors meanwhile. Returns `None` if the
    /// lane ends.
    async fn connect(&mut self, link: &mut LaneLink) -> Option<Link> {
        loop {
            let connecting = Link::open(link.endpoint.clone(), link.idle_timeout);
            let LinkFailure { reason, is_loop } = match self.tend_during(connecting).await? {
                Ok(socket) => return Some(socket),
                Err(failure) => failure,
            };
            let upstream = link.endpoint.shown_url();
            tracing::warn!(upstream, %reason, "cannot connect");
            self.set_up(link, false);
            let delay = if is_loop {
                LOOP_DELAY
            } else {
                link.backoff.next_delay()
            };
            self.pause(delay).await?;
        }
    }

    /// Says whether the server is there.
    fn set_up(&self, link: &LaneLink, up: bool) {
        if !link.is_first {
            return;
        }
        if link.upstream.set_up(up) {
            self.router.tell(|reports| reports.is_relisted = true);
        }
    }

    /// Waits before the next attempt to connect. Takes care of the mirrors meanwhile.
    async fn pause(&mut self, delay: Duration) -> Option<()> {
        self.tend_during(sleep(delay)).await
    }

    /// Waits for `work`, and takes care of the mirrors meanwhile. There is no connection to send
    /// requests on: the next one begins with all of them. Returns `None` if the lane ends.
    async fn tend_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let inbox = Arc::clone(&self.inbox);
        let mut work = pin!(work);
        while !self.ends {
            tokio::select! {
                done = &mut work => return Some(done),
                orders = inbox.take() => self.obey(orders, &mut Vec::new()),
                () = sleep_until(self.deadline) => self.keep_deadlines(&mut Vec::new()),
            }
        }
        None
    }

    /// Subscribes to the channels, and feeds the mirrors until the connection ends.
    async fn serve(&mut self, link: &LaneLink, socket: &mut Link) {
        let inbox = Arc::clone(&self.inbox);
        let history = self.node.history();
        let mut requests: Vec<String> = self
            .channels
            .values()
            .map(|channel| channel.subscribe_request(history))
            .collect();
        self.set_up(link, true);
        let reason = loop {
            for request in requests.drain(..) {
                socket.send(request);
            }
            tokio::select! {
                frame = socket.frame() => match frame {
                    Ok(()) => {
                        self.counters.hear();
                        self.read(link, socket, &mut requests).await;
                    }
                    Err(reason) => break Some(reason),
                },
                orders = inbox.take() => self.obey(orders, &mut requests),
                () = sleep_until(self.deadline) => self.keep_deadlines(&mut requests),
            }
            if self.ends {
                break None;
            }
        };
        if link.is_first {
            self.counters.count_disconnected();
        }
        self.set_up(link, false);
        if let Some(reason) = reason {
            tracing::warn!(upstream = link.endpoint.shown_url(), %reason, "the connection is lost");
        }
        for channel in self.channels.values_mut() {
            channel.disconnected();
        }
    }

    /// Takes the messages of the current frame.
    async fn read(&mut self, link: &LaneLink, socket: &mut Link, requests: &mut Vec<String>) {
        while let Some(json) = socket.next_message() {
            match decode(json, now_ms()) {
                Some(Received::Channel(name, upstream)) => {
                    if let Some(channel) = self.channels.get_mut(&*name) {
                        channel.take(upstream, requests, &self.counters);
                        channel.mirror().has_room().await;
                    }
                }
                // Each connection gets it.
                Some(Received::Everyone(message)) if link.is_first => {
                    self.node.broadcast(*message);
                }
                Some(Received::Refused(text)) => {
                    tracing::warn!(upstream = link.endpoint.shown_url(), text, "refused");
                }
                Some(Received::Damaged) => self.counters.count_damaged(),
                Some(Received::Everyone(_)) | None => {}
            }
        }
    }

    /// Does what the router says.
    fn obey(&mut self, orders: LaneOrders, requests: &mut Vec<String>) {
        let history = self.node.history();
        let mut changed = orders.changed;
        for channel in orders.take {
            requests.push(channel.subscribe_request(history));
            // Its subscribers may have changed on the way.
            changed.insert(channel.name().clone());
            self.channels.insert(channel.name().clone(), channel);
        }
        for name in orders.give {
            let Some(mut channel) = self.channels.remove(&name) else {
                // It was released before, and the router was told.
                continue;
            };
            requests.push(channel.unsubscribe_request());
            channel.disconnected();
            self.router.tell(|reports| reports.given.push(channel));
        }
        if orders.answers {
            let waiting = self.channels.values_mut();
            waiting
                .filter(|channel| channel.answer_by.is_some())
                .for_each(RelayedChannel::answer);
        }
        self.note(changed);
        self.ends = orders.ends;
    }

    /// Takes notice of channels whose subscribers have changed.
    fn note(&mut self, changed: HashSet<ChannelName>) {
        let now = Instant::now();
        for name in changed {
            let is_watched = self.node.subscribers(&name) > 0;
            match self.channels.get_mut(&name) {
                Some(channel) if is_watched => channel.unwatched_since = None,
                Some(channel) => {
                    channel.unwatched_since.get_or_insert(now);
                }
                // It was released meanwhile.
                None => self.router.tell(|reports| {
                    reports.unknown.insert(name);
                }),
            }
        }
        self.deadline = self.next_deadline();
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        self.channels
            .values()
            .flat_map(|channel| {
                let unwatched = channel.unwatched_since.map(|since| since + LINGER);
                [unwatched, channel.answer_by]
            })
            .flatten()
            .min()
            .unwrap_or(now + NEVER)
    }

    /// Lets go what was not watched for long, and answers subscriptions that waited for too long.
    fn keep_deadlines(&mut self, requests: &mut Vec<String>) {
        let now = Instant::now();
        let node = &self.node;
        let mut released = Vec::new();
        self.channels.retain(|name, channel| {
            if channel.answer_by.is_some_and(|by| by <= now) {
                tracing::warn!(channel = name.as_str(), "the upstream server is silent");
                channel.answer();
            }
            if channel
                .unwatched_since
                .is_none_or(|since| since + LINGER > now)
            {
                return true;
            }
            // New subscribers wait from here on. One that came before this is found here.
            channel.hold_back();
            if node.subscribers(name) > 0 {
                channel.unwatched_since = None;
                channel.answer();
                return true;
            }
            requests.push(channel.unsubscribe_request());
            released.push(name.clone());
            false
        });
        if !released.is_empty() {
            // The mirrors are gone by now: the router may create others.
            self.router
                .tell(|reports| reports.released.extend(released));
        }
        self.deadline = self.next_deadline();
    }
}

/// The time in milliseconds since 1970-01-01T00:00:00Z.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
