//! The task of a relay: decides over which connection each channel comes.
//!
//! A channel is always in one place: with the router, with one lane, or on its way between them. A
//! lane alone lets go of a channel that is not watched any more, and says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channel::RelayedChannel;
use super::lane::{Lane, LaneLink, LaneOrders};
use super::mailbox::Mailbox;
use super::upstream::Upstream;
use crate::backplane::{Counters, Node, PATH_HEADER, RelayPath};
use crate::client::Backoff;
use crate::message::ChannelName;

/// How long a subscription waits for a server that is not heard.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The most channels of one connection: a server lets a client have 1,024 subscriptions by default,
/// and send 2,048 messages at once.
const MAX_LANE_CHANNELS: usize = 1000;
/// The lane of channels that no server has yet.
const WAITING_LANE: usize = 0;

/// What the lanes have for the router.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Channels that a lane has let go. Their mirrors are gone.
    pub(super) released: HashSet<ChannelName>,
    /// Channels that a lane has given back.
    pub(super) given: Vec<RelayedChannel>,
    /// Channels that a lane was told of and does not have.
    pub(super) unknown: HashSet<ChannelName>,
    /// A server has another list, has come or has gone.
    pub(super) is_relisted: bool,
}

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    OnLane(usize),
    /// A lane was told to give it back.
    Moving(usize),
}

struct LaneHandle {
    /// The index of its server. `None` for the lane of channels that no server has.
    upstream: Option<usize>,
    inbox: Arc<Mailbox<LaneOrders>>,
    channels: usize,
}

/// The settings of the connections.
#[derive(Debug)]
pub(super) struct LinkSettings {
    pub(super) backoff: Backoff,
    pub(super) idle_timeout: Duration,
}

pub(super) struct Router {
    node: Node,
    upstreams: Vec<Arc<Upstream>>,
    settings: LinkSettings,
    counters: Arc<Counters>,
    inbox: Arc<Mailbox<Reports>>,
    /// The lanes by their number, which stays the same. `None` for one that has ended.
    lanes: Vec<Option<LaneHandle>>,
    places: HashMap<ChannelName, Place>,
    /// The lanes, and what follows the lists. They end with the router.
    tasks: JoinSet<()>,
}

impl Router {
    pub(super) fn new(
        node: Node,
        upstreams: Vec<Arc<Upstream>>,
        settings: LinkSettings,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            node,
            upstreams,
            settings,
            counters,
            inbox: Arc::default(),
            lanes: Vec::new(),
            places: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until the hub drops it.
    pub(super) async fn run(mut self) {
        self.open_lane(None);
        for (index, upstream) in self.upstreams.clone().into_iter().enumerate() {
            self.open_lane(Some(index));
            let inbox = Arc::clone(&self.inbox);
            self.tasks.spawn(async move {
                let changed = || inbox.tell(|reports| reports.is_relisted = true);
                upstream.follow(changed).await;
            });
        }
        let (node, inbox) = (self.node.clone(), Arc::clone(&self.inbox));
        loop {
            tokio::select! {
                changed = node.changes() => changed.into_iter().for_each(|name| self.consider(name)),
                reports = inbox.take() => self.hear(reports),
                Some(ended) = self.tasks.join_next() => {
                    // A lane that was told to end, or a bug: then the relay ends as a whole.
                    if let Err(error) = ended
                        && let Ok(panic) = error.try_into_panic()
                    {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }

    fn hear(&mut self, reports: Reports) {
        for name in reports.released {
            if let Some(Place::OnLane(lane) | Place::Moving(lane)) = self.places.remove(&name) {
                self.left(lane);
            }
        }
        for channel in reports.given {
            let mut present = None;
            if let Some(Place::OnLane(lane) | Place::Moving(lane)) =
                self.places.remove(channel.name())
            {
                present = self.lanes[lane].as_ref().and_then(|lane| lane.upstream);
                self.left(lane);
            }
            self.place(channel, present);
        }
        reports
            .unknown
            .into_iter()
            .for_each(|name| self.consider(name));
        if reports.is_relisted {
            self.move_channels();
            // Whoever hears of it finds the channels in their places.
            self.node.list_changed();
        }
    }

    /// Takes notice of a channel whose subscribers have changed.
    fn consider(&mut self, name: ChannelName) {
        match self.places.get(&name) {
            Some(&Place::OnLane(lane)) => self.tell(lane, |orders| {
                orders.changed.insert(name);
            }),
            // The lane that takes it looks for itself.
            Some(Place::Moving(_)) => {}
            None if self.node.subscribers(&name) == 0 => {}
            None => match self.node.mirror(&name) {
                Ok(mirror) => {
                    let answer_by = Instant::now() + ANSWER_TIMEOUT;
                    self.place(RelayedChannel::new(name, mirror, answer_by), None);
                }
                Err(error) => tracing::warn!(channel = name.as_str(), %error, "not relayed"),
            },
        }
    }

    /// Gives a channel to the lane that has it from the right server.
    fn place(&mut self, mut channel: RelayedChannel, present: Option<usize>) {
        let lane = match self.route(channel.name(), present) {
            Some(upstream) => self.lane_of(upstream),
            None => {
                if self.is_listed_through() {
                    channel.answer();
                }
                WAITING_LANE
            }
        };
        self.places
            .insert(channel.name().clone(), Place::OnLane(lane));
        if let Some(handle) = &mut self.lanes[lane] {
            handle.channels += 1;
        }
        self.tell(lane, |orders| orders.take.push(channel));
    }

    /// Moves the channels that another server has now, or has too while theirs is gone.
    fn move_channels(&mut self) {
        if self.upstreams.len() == 1 {
            return;
        }
        let moving: Vec<_> = self
            .places
            .iter()
            .filter_map(|(name, &place)| {
                let Place::OnLane(lane) = place else {
                    return None;
                };
                let present = self.lanes[lane].as_ref()?.upstream;
                (self.route(name, present) != present).then(|| (name.clone(), lane))
            })
            .collect();
        if self.is_listed_through() {
            // Those that stay in the waiting lane.
            self.tell(WAITING_LANE, |orders| orders.answers = true);
        }
        for (name, lane) in moving {
            self.places.insert(name.clone(), Place::Moving(lane));
            self.tell(lane, |orders| {
                orders.give.insert(name);
            });
        }
    }

    /// Returns whether a channel that no server lists does not exist yet: there is nothing to wait
    /// for.
    fn is_listed_through(&self) -> bool {
        self.upstreams
            .iter()
            .all(|upstream| upstream.is_listed_through())
    }

    /// Returns the server to take a channel from. `present` is the one that it comes from now.
    ///
    /// It is the first connected server where something was published to it. The channel stays with
    /// a server as long as that has it, and with one that is gone unless another has it from the
    /// same home: a process of the same name elsewhere is another process.
    fn route(&self, name: &ChannelName, present: Option<usize>) -> Option<usize> {
        if self.upstreams.len() == 1 {
            return Some(0);
        }
        let listed = |index: usize| self.upstreams[index].listed(name);
        let having = |wanted: &dyn Fn(usize) -> bool| {
            (0..self.upstreams.len()).find(|&index| self.upstreams[index].is_up() && wanted(index))
        };
        let has_content = |index: usize| listed(index).is_some_and(|listed| listed.has_content);
        match present {
            Some(index) if has_content(index) && self.upstreams[index].is_up() => present,
            Some(index) => match listed(index).filter(|listed| listed.has_content) {
                Some(known) => having(&|other| {
                    listed(other)
                        .is_some_and(|other| other.has_content && other.is_same_channel(&known))
                })
                .or(present),
                None => having(&has_content).or(present),
            },
            None => having(&has_content),
        }
    }

    /// Returns a lane to the server that takes one more channel.
    fn lane_of(&mut self, upstream: usize) -> usize {
        let has_room = |lane: &Option<LaneHandle>| {
            lane.as_ref().is_some_and(|lane| {
                lane.upstream == Some(upstream) && lane.channels < MAX_LANE_CHANNELS
            })
        };
        match self.lanes.iter().position(has_room) {
            Some(lane) => lane,
            None => self.open_lane(Some(upstream)),
        }
    }

    fn open_lane(&mut self, upstream: Option<usize>) -> usize {
        let inbox = Arc::<Mailbox<LaneOrders>>::default();
        let lane = Lane::new(
            self.node.clone(),
            Arc::clone(&inbox),
            Arc::clone(&self.inbox),
            Arc::clone(&self.counters),
        );
        match upstream {
            None => {
                self.tasks.spawn(lane.wait());
            }
            Some(index) => {
                let is_first = self.lanes_of(index).next().is_none();
                let upstream = Arc::clone(&self.upstreams[index]);
                let path = RelayPath::from_node(self.node.id());
                let endpoint = upstream.endpoint().clone();
                self.tasks.spawn(lane.run(LaneLink {
                    upstream,
                    endpoint: endpoint.with_header(PATH_HEADER, path.header()),
                    backoff: self.settings.backoff.clone(),
                    idle_timeout: self.settings.idle_timeout,
                    is_first,
                }));
            }
        }
        let handle = Some(LaneHandle {
            upstream,
            inbox,
            channels: 0,
        });
        match self.lanes.iter().position(Option::is_none) {
            Some(free) => {
                self.lanes[free] = handle;
                free
            }
            None => {
                self.lanes.push(handle);
                self.lanes.len() - 1
            }
        }
    }

    fn lanes_of(&self, upstream: usize) -> impl Iterator<Item = &LaneHandle> {
        self.lanes
            .iter()
            .flatten()
            .filter(move |lane| lane.upstream == Some(upstream))
    }

    /// Notes that a channel has left a lane. One beside the first of its server ends when it has no
    /// channels left.
    fn left(&mut self, lane: usize) {
        let Some(handle) = &mut self.lanes[lane] else {
            return;
        };
        handle.channels -= 1;
        // The first lanes are those that were opened at the start.
        if handle.channels == 0 && lane > self.upstreams.len() {
            handle.inbox.tell(|orders| orders.ends = true);
            self.lanes[lane] = None;
        }
    }

    fn tell(&self, lane: usize, order: impl FnOnce(&mut LaneOrders)) {
        if let Some(lane) = &self.lanes[lane] {
            lane.inbox.tell(order);
        }
    }
}
