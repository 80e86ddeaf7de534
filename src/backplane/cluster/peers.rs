//! The other nodes: which are there, what they list, and what they want.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::directory::{Applied, DirectoryTable, OwnDirectory};
use super::interest::{InterestChange, InterestTable};
use super::message::{ClusterMessage, DirectoryNews, Heartbeat, InterestNews, ListedChannel};
use super::names::NodeId;
use crate::backplane::{Directory, ForwardedOrder, Node, OrderError};
use crate::message::ChannelName;
use crate::stats::ChannelStats;
use crate::sync::lock;

/// How long the channels of a node that is gone are listed.
const LOST_FOR: Duration = Duration::from_secs(600);
/// The most orders that wait to be sent.
const MAX_ORDERS: usize = 64;
/// How long an order waits for its reply.
const ORDER_TIMEOUT: Duration = Duration::from_secs(8);

/// The other nodes.
#[derive(Debug)]
pub(super) struct Peers {
    listed: Arc<ClusterDirectory>,
    own: OwnDirectory,
    interest: InterestTable,
    /// When each node was heard last.
    heard: HashMap<NodeId, Instant>,
    /// When each node went whose channels are still listed.
    gone: HashMap<NodeId, Instant>,
    /// How long a node may be silent.
    timeout: Duration,
    begun: Instant,
}

/// What a heartbeat is an occasion for.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) is_new: bool,
    pub(super) wants_snapshot: bool,
}

impl Peers {
    pub(super) fn new(listed: Arc<ClusterDirectory>, timeout: Duration) -> Self {
        Self {
            listed,
            own: OwnDirectory::default(),
            interest: InterestTable::default(),
            heard: HashMap::new(),
            gone: HashMap::new(),
            timeout,
            begun: Instant::now(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the node that lists a channel, if it is there.
    pub(super) fn home_of(&self, channel: &ChannelName) -> Option<NodeId> {
        let table = lock(&self.listed.table);
        let home = table.home(channel).filter(|node| self.is_alive(node));
        home.cloned()
    }

    pub(super) fn is_alive(&self, node: &NodeId) -> bool {
        self.heard.contains_key(node)
    }

    /// Returns the other nodes that are there.
    pub(super) fn all_alive(&self) -> HashSet<NodeId> {
        self.heard.keys().cloned().collect()
    }

    /// Returns whether a node was there and is not any more.
    pub(super) fn is_gone(&self, node: &NodeId) -> bool {
        self.gone.contains_key(node)
    }

    /// Returns the number of the other nodes that are there.
    pub(super) fn alive(&self) -> usize {
        self.heard.len()
    }

    /// Takes notice of the time. Returns the nodes that were silent for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<NodeId> {
        let now_ms = self.now_ms();
        self.interest.expire(now_ms);
        let silent = self
            .heard
            .iter()
            .filter(|(_, heard)| **heard + self.timeout <= now);
        let silent: Vec<NodeId> = silent.map(|(node, _)| node.clone()).collect();
        for node in &silent {
            self.remove(node);
        }
        let mut table = lock(&self.listed.table);
        self.gone.retain(|node, since| {
            let is_listed = *since + LOST_FOR > now;
            if !is_listed {
                table.forget(node);
            }
            is_listed
        });
        silent
    }

    /// Takes notice that a node has ended. Returns whether it was there.
    pub(super) fn remove(&mut self, node: &NodeId) -> bool {
        let was_there = self.heard.remove(node).is_some();
        if was_there {
            self.interest.remove(node);
            lock(&self.listed.table).gone(node);
            self.gone.insert(node.clone(), Instant::now());
        }
        was_there
    }

    /// Takes notice that a node wants a channel.
    pub(super) fn wants(&mut self, node: &NodeId, channel: &ChannelName) {
        let news = InterestNews {
            renewed: vec![channel.clone()],
            ..InterestNews::default()
        };
        self.interest.take(node, news, self.now_ms());
    }

    pub(super) fn is_wanted(&self, channel: &ChannelName) -> bool {
        self.interest.is_wanted(channel)
    }

    /// Takes what a node wants. Returns the channels for which this changes something.
    pub(super) fn interest(&mut self, from: &NodeId, news: InterestNews) -> Vec<ChannelName> {
        let changes = self.interest.take(from, news, self.now_ms());
        let name = |change| match change {
            InterestChange::Began(channel) | InterestChange::Ended(channel) => channel,
        };
        changes.into_iter().map(name).collect()
    }

    /// Takes a sign of life.
    pub(super) fn heartbeat(&mut self, from: &NodeId, heartbeat: &Heartbeat) -> Heard {
        let is_new = self.heard.insert(from.clone(), Instant::now()).is_none();
        self.gone.remove(from);
        let mut table = lock(&self.listed.table);
        if is_new {
            // An earlier run of the same node is not lost: it is there again.
            let name = from.name();
            self.gone.retain(|node, _| {
                let is_same = node.name() == name;
                if is_same {
                    table.forget(node);
                }
                !is_same
            });
        }
        Heard {
            is_new,
            wants_snapshot: table.is_behind(from, heartbeat.directory_seq),
        }
    }

    /// Takes news of the channels of a node.
    pub(super) fn directory(&self, from: &NodeId, news: DirectoryNews) -> Applied {
        if !self.is_alive(from) {
            // Its next heartbeat has its list asked for.
            return Applied::Current { changed: false };
        }
        lock(&self.listed.table).apply(from, news)
    }

    /// Returns the number of the last news of this node's channels.
    pub(super) fn own_seq(&self) -> u64 {
        self.own.seq()
    }

    /// Returns the news of channels here that may have changed: `None` for one that is gone.
    pub(super) fn own_changed(
        &mut self,
        channels: impl IntoIterator<Item = (ChannelName, Option<ListedChannel>)>,
    ) -> Vec<ClusterMessage> {
        self.own.changed(channels)
    }

    /// Returns the news when the channels here are these and no others.
    pub(super) fn own_compared(&mut self, channels: &[ChannelStats]) -> Vec<ClusterMessage> {
        self.own.compared(channels)
    }

    /// Returns all channels of this node.
    pub(super) fn own_snapshot(&self) -> Vec<ClusterMessage> {
        self.own.snapshot()
    }
}

/// The channels of all nodes, and the way to give orders to other nodes.
#[derive(Debug)]
pub(super) struct ClusterDirectory {
    table: Mutex<DirectoryTable>,
    here: OnceLock<(Node, String)>,
    orders: mpsc::Sender<PlacedOrder>,
    placed: Mutex<Option<mpsc::Receiver<PlacedOrder>>>,
}

/// An order that waits for its reply.
#[derive(Debug)]
pub(super) struct PlacedOrder {
    pub(super) node: NodeId,
    pub(super) order: ForwardedOrder,
    pub(super) reply: oneshot::Sender<Result<bool, OrderError>>,
}

impl ClusterDirectory {
    pub(super) fn new() -> Self {
        let (orders, placed) = mpsc::channel(MAX_ORDERS);
        Self {
            table: Mutex::default(),
            here: OnceLock::new(),
            orders,
            placed: Mutex::new(Some(placed)),
        }
    }

    /// Begins to list the channels of this node too. Returns the orders for other nodes.
    ///
    /// # Panics
    /// Panics when it is called again.
    pub(super) fn begin(&self, node: Node, name: String) -> mpsc::Receiver<PlacedOrder> {
        let _ = self.here.set((node, name));
        let placed = lock(&self.placed).take();
        placed.expect("a node's task begins once")
    }

    fn list(&self) -> Vec<ChannelStats> {
        let mut listed = lock(&self.table).list();
        if let Some((node, name)) = self.here.get() {
            let mut here: HashMap<ChannelName, ChannelStats> = node
                .homes()
                .into_iter()
                .map(|stats| (stats.channel.clone(), stats))
                .collect();
            for stats in here.values_mut() {
                stats.node = Some(name.clone());
            }
            listed.retain(|stats| !here.contains_key(&stats.channel));
            listed.extend(here.into_values());
        }
        listed
    }

    /// Gives an order to the node that is home of the process's channel.
    async fn place(&self, order: ForwardedOrder) -> Result<bool, OrderError> {
        let channel = ChannelName::process(&order.process_id);
        let home = {
            let table = lock(&self.table);
            let is_there = |home: &&NodeId| table.nodes().any(|node| node == *home);
            match table.home(&channel) {
                None => return Err(OrderError::NoSuchProcess(order.process_id)),
                Some(home) => Some(home).filter(is_there).cloned(),
            }
        };
        let Some(node) = home else {
            return Err(OrderError::Unreachable("it is gone".to_owned()));
        };
        let (reply, replied) = oneshot::channel();
        let placed = PlacedOrder { node, order, reply };
        if self.orders.try_send(placed).is_err() {
            return Err(OrderError::Unreachable("too many orders wait".to_owned()));
        }
        match timeout(ORDER_TIMEOUT, replied).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(OrderError::Unanswered),
        }
    }
}

impl Directory for ClusterDirectory {
    fn channels(&self) -> Pin<Box<dyn Future<Output = Vec<ChannelStats>> + Send + '_>> {
        Box::pin(async { self.list() })
    }

    fn order(
        &self,
        order: ForwardedOrder,
    ) -> Pin<Box<dyn Future<Output = Result<bool, OrderError>> + Send + '_>> {
        Box::pin(self.place(order))
    }
}
