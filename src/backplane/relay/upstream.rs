//! The task of a relay: connects to the upstream server, subscribes to what is watched here, and
//! feeds the mirrors.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep, sleep_until};

use super::channel::RelayedChannel;
use super::decode::{Received, decode};
use crate::backplane::{Counters, Node};
use crate::client::{Backoff, Endpoint, Link};
use crate::message::ChannelName;

/// How long the server keeps sending a channel whose last subscriber has left.
const LINGER: Duration = Duration::from_secs(30);
/// How long a subscription waits for a server that is not heard.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time of no deadline: far enough, and no overflow of a clock.
const NEVER: Duration = Duration::from_secs(3600);

pub(super) struct UpstreamTask {
    node: Node,
    endpoint: Endpoint,
    backoff: Backoff,
    idle_timeout: Duration,
    counters: Arc<Counters>,
    channels: HashMap<ChannelName, RelayedChannel>,
    /// When a channel is next due. It may be early, and is found again when it has passed: a scan
    /// of all channels for each frame would cost more than the frame.
    deadline: Instant,
}

impl UpstreamTask {
    pub(super) fn new(
        node: Node,
        endpoint: Endpoint,
        backoff: Backoff,
        idle_timeout: Duration,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            node,
            endpoint,
            backoff,
            idle_timeout,
            counters,
            channels: HashMap::new(),
            deadline: Instant::now() + NEVER,
        }
    }

    /// Runs until the hub drops it.
    pub(super) async fn run(mut self) {
        loop {
            let mut link = self.connect().await;
            self.backoff.reset();
            tracing::info!(upstream = self.endpoint.shown_url(), "connected");
            self.counters.count_connected();
            self.serve(&mut link).await;
            self.counters.count_disconnected();
            if !link.is_good() {
                self.pause().await;
            }
        }
    }

    /// Connects, as often as it takes. Takes care of the mirrors meanwhile.
    async fn connect(&mut self) -> Link {
        loop {
            let connecting = Link::open(self.endpoint.clone(), self.idle_timeout);
            match self.tend_during(connecting).await {
                Ok(link) => return link,
                Err(reason) => {
                    let upstream = self.endpoint.shown_url();
                    tracing::warn!(upstream, %reason, "cannot connect");
                }
            }
            self.pause().await;
        }
    }

    /// Waits before the next attempt to connect. Takes care of the mirrors meanwhile.
    async fn pause(&mut self) {
        let delay = sleep(self.backoff.next_delay());
        self.tend_during(delay).await;
    }

    /// Waits for `work`, and takes care of the mirrors meanwhile. There is no connection to send
    /// requests on: the next one begins with all of them.
    async fn tend_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let node = self.node.clone();
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                changed = node.changes() => self.note(changed, &mut Vec::new()),
                () = sleep_until(self.deadline) => self.keep_deadlines(&mut Vec::new()),
            }
        }
    }

    /// Subscribes to what is watched, and feeds the mirrors until the connection ends.
    async fn serve(&mut self, link: &mut Link) {
        let node = self.node.clone();
        let history = node.history();
        let mut requests: Vec<String> = self
            .channels
            .values()
            .map(|channel| channel.subscribe_request(history))
            .collect();
        let reason = loop {
            for request in requests.drain(..) {
                link.send(request);
            }
            tokio::select! {
                frame = link.frame() => match frame {
                    Ok(()) => {
                        self.counters.hear();
                        self.read(link, &mut requests).await;
                    }
                    Err(reason) => break reason,
                },
                changed = node.changes() => self.note(changed, &mut requests),
                () = sleep_until(self.deadline) => self.keep_deadlines(&mut requests),
            }
        };
        tracing::warn!(upstream = self.endpoint.shown_url(), %reason, "the connection is lost");
        for channel in self.channels.values_mut() {
            channel.disconnected();
        }
    }

    /// Takes the messages of the current frame.
    async fn read(&mut self, link: &mut Link, requests: &mut Vec<String>) {
        while let Some(json) = link.next_message() {
            match decode(json, now_ms()) {
                Some(Received::Channel(name, upstream)) => {
                    if let Some(channel) = self.channels.get_mut(&*name) {
                        channel.take(upstream, requests);
                        channel.mirror().has_room().await;
                    }
                }
                Some(Received::Everyone(message)) => self.node.broadcast(*message),
                Some(Received::Refused(text)) => {
                    tracing::warn!(upstream = self.endpoint.shown_url(), text, "refused");
                }
                None => {}
            }
        }
    }

    /// Takes notice of channels whose subscribers have changed.
    fn note(&mut self, changed: Vec<ChannelName>, requests: &mut Vec<String>) {
        let (now, history) = (Instant::now(), self.node.history());
        for name in changed {
            let is_watched = self.node.subscribers(&name) > 0;
            match self.channels.get_mut(&name) {
                Some(channel) if is_watched => channel.unwatched_since = None,
                Some(channel) => {
                    channel.unwatched_since.get_or_insert(now);
                }
                None if is_watched => match self.node.mirror(&name) {
                    Ok(mirror) => {
                        let answer_by = now + ANSWER_TIMEOUT;
                        let channel = RelayedChannel::new(name.clone(), mirror, answer_by);
                        requests.push(channel.subscribe_request(history));
                        self.channels.insert(name, channel);
                    }
                    Err(error) => tracing::warn!(channel = name.as_str(), %error, "not relayed"),
                },
                None => {}
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
            false
        });
        self.deadline = self.next_deadline();
    }
}

/// The time in milliseconds since 1970-01-01T00:00:00Z.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
