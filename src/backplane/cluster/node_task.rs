//! The task of a node: takes what comes from the broker and from the hub, one after the other.
//!
//! It owns all that the node knows. What takes time is begun by it and runs beside it, and its end
//! is one more event: a broker that hangs keeps no channel from going on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::broker::{Broker, Incoming, Topic};
use super::clock::LeaseClock;
use super::forwarding::{Forward, Forwarding, TAKEN_BYTES};
use super::lease::{Effect, HomeState, Leases, Now};
use super::message::{ClusterMessage, Heartbeat, InterestNews, Request};
use super::mirrors::{Mirrors, Subscribing};
use super::names::NodeId;
use super::numbered::Homes;
use super::operations::{self, Done};
use super::orders::Orders;
use super::peers::{Peers, PlacedOrder};
use super::wire::Wire;
use crate::backplane::{Exported, Home, Node};
use crate::message::ChannelName;

/// The time between two looks at what is due.
const TICK: Duration = Duration::from_millis(100);
/// The time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The time between two renewals of the interest in channels.
const INTEREST_RENEWAL: Duration = Duration::from_secs(10);
/// The time between two lists of what the channels here count.
const FIGURES: Duration = Duration::from_secs(5);
/// How long homes are silent after the connection came back, so that mirrors are subscribed again.
const SILENCE: Duration = Duration::from_millis(250);
/// How long messages wait for a home while the broker is gone, before the channel goes on here.
pub(super) const MAX_HOMELESS: Duration = Duration::from_secs(2);
/// The time between two attempts to find a home.
const FIND_HOME_AGAIN: Duration = Duration::from_millis(500);

/// Everything that a node knows.
pub(super) struct NodeTask {
    pub(super) node: Node,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) wire: Wire,
    pub(super) clock: LeaseClock,
    pub(super) leases: Leases,
    pub(super) homes: Homes,
    pub(super) mirrors: Mirrors,
    pub(super) forwarding: Forwarding,
    pub(super) peers: Peers,
    pub(super) orders: Orders,
    /// Whether the broker stores the blocks.
    pub(super) is_durable: bool,
    /// The channels whose home this node ceases to be, once what uses them has ended.
    pub(super) resigning: Vec<Arc<Home>>,
    /// The channels whose home this node may be once messages that are being taken are there.
    pub(super) ready: HashMap<ChannelName, u64>,
    /// The requests of channels whose home this node is about to be.
    pub(super) early: HashMap<ChannelName, Vec<(NodeId, Request)>>,
    /// While this node leaves: the nodes that may still miss something of its channels.
    pub(super) unsettled: HashSet<NodeId>,
    /// The nodes that leave and wait until this one misses nothing.
    pub(super) leaving: HashSet<NodeId>,
    pub(super) operations: JoinSet<Done>,
    pub(super) is_connected: bool,
    exports_from: Instant,
    heartbeat_at: Instant,
    renewal_at: Instant,
    find_homes_at: Instant,
    figures_at: Instant,
}

impl NodeTask {
    pub(super) fn new(
        node: Node,
        broker: Arc<dyn Broker>,
        wire: Wire,
        clock: LeaseClock,
        peers: Peers,
        is_durable: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            leases: Leases::new(wire.me.clone()),
            node,
            broker,
            wire,
            clock,
            homes: Homes::new(),
            mirrors: Mirrors::default(),
            forwarding: Forwarding::default(),
            peers,
            orders: Orders::default(),
            is_durable,
            resigning: Vec::new(),
            ready: HashMap::new(),
            early: HashMap::new(),
            unsettled: HashSet::new(),
            leaving: HashSet::new(),
            operations: JoinSet::new(),
            is_connected: false,
            exports_from: now,
            heartbeat_at: now + HEARTBEAT,
            renewal_at: now + INTEREST_RENEWAL,
            find_homes_at: now,
            figures_at: now + FIGURES,
        }
    }

    /// Runs until the hub drops it.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<PlacedOrder>) {
        let (outgoing, counters) = (Arc::clone(&self.wire.outgoing), &self.wire.counters);
        let (counters, broker) = (Arc::clone(counters), Arc::clone(&self.broker));
        self.operations.spawn({
            let outgoing = Arc::clone(&outgoing);
            async move {
                outgoing.run(&broker, &counters).await;
                Done::Over
            }
        });
        let me = self.wire.me.clone();
        for topic in [
            Topic::Interest,
            Topic::Directory,
            Topic::Everyone,
            Topic::Node(me.clone()),
            Topic::Publishes(me),
        ] {
            // What fails now is there with the connection.
            let _ = self.broker.subscribe(&topic).await;
        }
        let (node, broker) = (self.node.clone(), Arc::clone(&self.broker));
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.lease_tick();
        loop {
            let exports_from = self.exports_from;
            let exported = async {
                sleep_until(exports_from).await;
                outgoing.has_block_room().await;
                node.exported().await
            };
            let lease_due = self.clock.instant(self.leases.due());
            tokio::select! {
                incoming = broker.next() => self.incoming(incoming).await,
                changed = node.changes() => {
                    for channel in changed {
                        self.subscribers_changed(&channel);
                    }
                }
                pending = node.pending() => {
                    for channel in pending {
                        self.pending(&channel);
                    }
                }
                exported = exported => self.export(exported),
                changed = node.home_changes() => self.homes_changed(changed),
                Some(placed) = orders.recv() => self.orders.place(placed, &self.wire),
                Some(done) = self.operations.join_next() => self.done(done),
                _ = tick.tick() => self.tick(),
                () = sleep_until(lease_due) => self.lease_tick(),
                () = node.is_leaving() => break,
            }
            self.finish_resigning();
            self.tell_settled();
        }
        self.leave().await;
        // The channels stay as they are until the hub drops this.
        std::future::pending().await
    }

    pub(super) fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a part of a cluster's node has failed");
                return;
            }
        };
        match done {
            Done::Over => {}
            Done::Replied(id, reply) => {
                self.lease(|leases, now, effects| leases.replied(id, reply, now, effects));
            }
            Done::Subscribed(channel) => self.subscribed(&channel),
            Done::Left(channel) => {
                let next = self.mirrors.left(&channel);
                self.subscribe(next);
            }
            Done::Taken(channel, local) => {
                let next = self.forwarding.taken(&channel, local, &self.wire);
                self.forward(&channel, next);
                if let Some(term) = self.ready.remove(&channel) {
                    self.become_home(&channel, term);
                }
            }
            Done::Opened {
                channel,
                term,
                opening,
            } => self.opened(&channel, term, opening),
            Done::Appended {
                channel,
                term,
                outcome,
            } => self.appended(&channel, term, outcome),
            Done::Loaded(channel, Some((last, past))) => {
                if let Some(followed) = self.mirrors.get_mut(&channel) {
                    followed.load(&last, past, &mut self.wire);
                }
            }
            Done::Loaded(_, None) => {}
            Done::Accepted { channel, from, run } => self.accepted(&channel, &from, run),
        }
    }

    /// Begins something that takes time.
    pub(super) fn begin(&mut self, operation: impl Future<Output = Done> + Send + 'static) {
        self.operations.spawn(operation);
    }

    pub(super) async fn incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message { topic, payload } => self.message(topic, &payload).await,
            Incoming::Connected { first } => self.connected(first),
            Incoming::Disconnected => {
                tracing::warn!("the connection to the broker is lost");
                self.is_connected = false;
                self.wire.counters.set_connected(false);
                self.node.set_connected(false);
            }
        }
    }

    fn connected(&mut self, first: bool) {
        tracing::info!(node = %self.wire.me, "connected to the broker");
        let now = Instant::now();
        self.is_connected = true;
        self.wire.counters.set_connected(true);
        self.node.set_connected(true);
        if !first {
            self.exports_from = now + SILENCE;
        }
        self.renew_interest();
        self.heartbeat();
        self.mirrors.reconnected(&mut self.wire);
        self.forwarding.reconnected();
        self.lease_tick();
    }

    /// Does what is due by the leases' clock.
    pub(super) fn lease_tick(&mut self) {
        self.lease(|leases, now, effects| leases.tick(now, effects));
    }

    /// Tells the leases something, and does what they then ask for.
    pub(super) fn lease(&mut self, tell: impl FnOnce(&mut Leases, Now, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        tell(&mut self.leases, self.clock.now(), &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Call { id, key, call } => {
                    let broker = Arc::clone(&self.broker);
                    self.begin(operations::call(broker, id, key, call));
                }
                Effect::BecomeHome { channel, term } => self.become_home(&channel, term),
                Effect::Elsewhere { channel, node, .. } => self.yield_to(&channel, &node),
                Effect::GoStale { channel } => self.become_stale(&channel),
            }
        }
    }

    /// Takes notice of the first or last subscriber of a channel.
    pub(super) fn subscribers_changed(&mut self, channel: &ChannelName) {
        if self.homes.contains_key(channel) {
            return;
        }
        let knows_home = self.known_home(channel).is_some();
        let next = self
            .mirrors
            .note(&self.node, channel, knows_home, &self.wire);
        self.subscribe(next);
    }

    pub(super) fn subscribe(&mut self, subscribing: Option<Subscribing>) {
        let broker = Arc::clone(&self.broker);
        match subscribing {
            None => {}
            Some(Subscribing::Begin(channel)) => {
                self.begin(operations::subscribe(broker, channel));
            }
            Some(Subscribing::End(channel)) => {
                let news = InterestNews {
                    removed: vec![channel.clone()],
                    ..InterestNews::default()
                };
                self.wire
                    .send(Topic::Interest, &ClusterMessage::Interest(news));
                if !self.concerns(&channel) {
                    self.lease(|leases, now, effects| leases.forget(&channel, now, effects));
                }
                self.begin(operations::leave(broker, channel));
            }
        }
    }

    fn subscribed(&mut self, channel: &ChannelName) {
        // Before the past is asked for, so that what comes after it is sent.
        let news = InterestNews {
            added: vec![channel.clone()],
            ..InterestNews::default()
        };
        self.wire
            .send(Topic::Interest, &ClusterMessage::Interest(news));
        let home = self.known_home(channel);
        self.mirrors
            .subscribed(channel, home.as_ref(), &mut self.wire);
        if home.is_none() && self.is_durable {
            let (stored, channel) = (self.stored(channel), channel.clone());
            self.begin(async move { Done::Loaded(channel, stored.load().await) });
        }
    }

    /// Returns the home of a channel, as far as it is known and not gone.
    pub(super) fn known_home(&self, channel: &ChannelName) -> Option<NodeId> {
        let listed = self.peers.home_of(channel);
        let leased = || match self.leases.state(channel) {
            HomeState::Elsewhere { node, .. } if !self.peers.is_gone(&node) => Some(node),
            _ => None,
        };
        listed.or_else(leased)
    }

    /// Takes notice of messages that were published here to a channel without a home here.
    fn pending(&mut self, channel: &ChannelName) {
        if !self.homes.contains_key(channel) {
            let next = self.forwarding.pending(channel);
            self.forward(channel, next);
        }
    }

    pub(super) fn forward(&mut self, channel: &ChannelName, next: Forward) {
        match next {
            Forward::Nothing => {}
            Forward::Take => {
                let (node, channel) = (self.node.clone(), channel.clone());
                self.begin(async move {
                    let local = node.take_pending(&channel, TAKEN_BYTES).await;
                    Done::Taken(channel, local)
                });
            }
            Forward::FindHome => match self.known_home(channel) {
                Some(home) => {
                    let next = self.forwarding.set_home(channel, &home, &self.wire);
                    self.forward(channel, next);
                }
                None => self.want_home(channel),
            },
        }
    }

    /// Becomes the home of a channel, or finds out which node is.
    pub(super) fn want_home(&mut self, channel: &ChannelName) {
        self.lease(|leases, now, effects| leases.want(channel, "", now, effects));
    }

    pub(super) fn export(&mut self, exported: Exported) {
        match exported {
            Exported::Block(block) => {
                let channel = block.channel();
                // Not a moment longer than the lease holds.
                if self.leases.term(channel, self.clock.now()).is_some()
                    && let Some(home) = self.homes.get_mut(channel)
                {
                    home.export(&block, &self.wire);
                    let channel = channel.clone();
                    self.append(&channel);
                }
            }
            Exported::Partial { channel, text } => {
                if let Some(home) = self.homes.get(&channel) {
                    home.export_partial(text, &self.wire);
                }
            }
            Exported::Broadcast(broadcast) => {
                let message = ClusterMessage::Broadcast(broadcast.message().clone());
                self.wire.send(Topic::Everyone, &message);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.heartbeat_at {
            self.heartbeat();
        }
        if now >= self.renewal_at {
            self.renew_interest();
        }
        if self.is_connected {
            for channel in self.forwarding.keep_deadlines(now, &self.wire) {
                self.want_home(&channel);
            }
        }
        self.keep_mirrors(now);
        self.wire.forget_old_requests(now);
        for gone in self.peers.expire(now) {
            self.node_gone(&gone);
        }
        self.orders.expire(now);
        self.append_all();
        self.update_exports();
        if now >= self.figures_at {
            self.figures_at = now + FIGURES;
            self.tell_figures();
            self.release_idle(now);
        }
        if now >= self.find_homes_at {
            self.find_homes_at = now + FIND_HOME_AGAIN;
            self.find_homes(now);
        }
        self.count();
    }

    /// Keeps the deadlines of the channels that this node follows.
    pub(super) fn keep_mirrors(&mut self, now: Instant) {
        let ended = self
            .mirrors
            .keep_deadlines(now, &self.node, self.is_connected, &mut self.wire);
        for subscribing in ended {
            self.subscribe(Some(subscribing));
        }
    }

    /// Sends a sign of life, with the last numbers of the channels that other nodes watch.
    pub(super) fn heartbeat(&mut self) {
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        if !self.is_connected {
            return;
        }
        let heartbeat = Heartbeat {
            is_stale: self.leases.is_stale(self.clock.now()),
            directory_seq: self.peers.own_seq(),
            heads: self.homes.values().filter_map(|home| home.head()).collect(),
        };
        for message in heartbeat.chunks() {
            self.wire.send(Topic::Directory, &message);
        }
    }

    fn renew_interest(&mut self) {
        self.renewal_at = Instant::now() + INTEREST_RENEWAL;
        let renewed = InterestNews {
            renewed: self.mirrors.wanted(),
            ..InterestNews::default()
        };
        for message in renewed.chunks() {
            self.wire.send(Topic::Interest, &message);
        }
    }

    pub(super) fn count(&self) {
        let counters = &self.wire.counters;
        let broker = self.broker.counters();
        counters.reconnects.set(broker.reconnects);
        counters
            .overrun
            .set(broker.dropped_blocks + broker.dropped_others);
        counters.nodes.set(self.peers.alive() + 1);
        counters.homes.set(self.homes.len());
        let stale = self.homes.values().filter(|home| home.is_stale);
        counters.stale.set(stale.count());
    }
}
