//! The other nodes: who they are, what they list, and what they want.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::message::{DirectoryNews, Heartbeat, InterestNews, ListedChannel, News};
use super::names::NodeId;
use crate::backplane::{Directory, Node};
use crate::message::{ChannelName, Status, StatusReport};
use crate::stats::ChannelStats;
use crate::sync::lock;

const INTEREST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Peers {
    listed: Arc<ClusterDirectory>,
    interest: HashMap<ChannelName, HashMap<NodeId, Instant>>,
    own_seq: u64,
    timeout: Duration,
}

/// The channels of all nodes.
#[derive(Debug, Default)]
pub(super) struct ClusterDirectory {
    peers: Mutex<HashMap<NodeId, Peer>>,
    here: OnceLock<(Node, String)>,
}

#[derive(Debug)]
struct Peer {
    heard: Instant,
    seq: Option<u64>,
    is_gone: bool,
    channels: HashMap<ChannelName, ListedChannel>,
}

/// What a heartbeat is an occasion for.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) is_new: bool,
    pub(super) wants_snapshot: bool,
}

/// What news of channels are an occasion for.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) homes: Vec<ChannelName>,
    pub(super) wants_snapshot: bool,
}

impl Peers {
    pub(super) fn new(listed: Arc<ClusterDirectory>, timeout: Duration) -> Self {
        Self {
            listed,
            interest: HashMap::new(),
            own_seq: 0,
            timeout,
        }
    }

    pub(super) fn home_of(&self, channel: &ChannelName) -> Option<NodeId> {
        let peers = lock(&self.listed.peers);
        let mut live = peers.iter().filter(|(_, peer)| !peer.is_gone);
        live.find(|(_, peer)| peer.channels.contains_key(channel))
            .map(|(node, _)| node.clone())
    }

    pub(super) fn is_alive(&self, node: &NodeId) -> bool {
        lock(&self.listed.peers)
            .get(node)
            .is_some_and(|peer| !peer.is_gone)
    }

    pub(super) fn alive(&self) -> usize {
        let peers = lock(&self.listed.peers);
        peers.values().filter(|peer| !peer.is_gone).count()
    }

    pub(super) fn own_seq(&self) -> u64 {
        self.own_seq
    }

    pub(super) fn own_seq_mut(&mut self) -> &mut u64 {
        &mut self.own_seq
    }

    pub(super) fn expire(&mut self, now: Instant) -> Vec<NodeId> {
        for wanting in self.interest.values_mut() {
            wanting.retain(|_, since| *since + INTEREST_TIMEOUT > now);
        }
        self.interest.retain(|_, wanting| !wanting.is_empty());
        let mut gone = Vec::new();
        for (node, peer) in lock(&self.listed.peers).iter_mut() {
            if !peer.is_gone && peer.heard + self.timeout <= now {
                peer.is_gone = true;
                gone.push(node.clone());
            }
        }
        gone
    }

    pub(super) fn remove(&mut self, node: &NodeId) -> bool {
        lock(&self.listed.peers)
            .get_mut(node)
            .is_some_and(|peer| !std::mem::replace(&mut peer.is_gone, true))
    }

    pub(super) fn wants(&mut self, node: &NodeId, channel: &ChannelName) {
        let wanting = self.interest.entry(channel.clone()).or_default();
        wanting.insert(node.clone(), Instant::now());
    }

    pub(super) fn is_wanted(&self, channel: &ChannelName) -> bool {
        self.interest.contains_key(channel)
    }

    pub(super) fn interest(&mut self, from: &NodeId, news: &InterestNews) -> Vec<ChannelName> {
        for channel in news.added.iter().chain(&news.renewed) {
            self.wants(from, channel);
        }
        for channel in &news.removed {
            if let Some(wanting) = self.interest.get_mut(channel) {
                wanting.remove(from);
                if wanting.is_empty() {
                    self.interest.remove(channel);
                }
            }
        }
        [&news.added[..], &news.removed, &news.renewed].concat()
    }

    pub(super) fn heartbeat(&mut self, from: &NodeId, heartbeat: &Heartbeat) -> Heard {
        let mut peers = lock(&self.listed.peers);
        let is_new = peers.get(from).is_none_or(|peer| peer.is_gone);
        let peer = peers.entry(from.clone()).or_insert_with(|| Peer {
            heard: Instant::now(),
            seq: None,
            is_gone: false,
            channels: HashMap::new(),
        });
        peer.heard = Instant::now();
        peer.is_gone = false;
        Heard {
            is_new,
            wants_snapshot: peer.seq != Some(heartbeat.directory_seq),
        }
    }

    pub(super) fn directory(&mut self, from: &NodeId, news: DirectoryNews) -> Listed {
        let mut peers = lock(&self.listed.peers);
        let Some(peer) = peers.get_mut(from) else {
            return Listed::default();
        };
        let mut listed = Listed::default();
        let channels = match news.news {
            News::Snapshot {
                chunk, channels, ..
            } => {
                if chunk == 0 {
                    peer.channels.clear();
                }
                channels
            }
            News::Delta { changed, removed } => {
                if peer.seq != Some(news.seq - 1) {
                    listed.wants_snapshot = true;
                    return listed;
                }
                for channel in &removed {
                    peer.channels.remove(channel);
                }
                changed
            }
        };
        peer.seq = Some(news.seq);
        for channel in channels {
            listed.homes.push(channel.channel.clone());
            peer.channels.insert(channel.channel.clone(), channel);
        }
        listed
    }

    pub(super) fn is_not_home(&mut self, node: &NodeId, channel: &ChannelName) {
        if let Some(peer) = lock(&self.listed.peers).get_mut(node) {
            peer.channels.remove(channel);
        }
    }
}

impl ClusterDirectory {
    pub(super) fn begin(&self, node: Node, name: String) {
        let _ = self.here.set((node, name));
    }

    fn list(&self) -> Vec<ChannelStats> {
        let mut all: HashMap<ChannelName, ChannelStats> = HashMap::new();
        for is_gone in [true, false] {
            for (node, peer) in lock(&self.peers).iter() {
                if peer.is_gone != is_gone {
                    continue;
                }
                for channel in peer.channels.values() {
                    let mut stats = channel.stats(node.name());
                    if is_gone {
                        stats.status = Some(StatusReport {
                            status: Status::from("lost"),
                            code: 0,
                        });
                    }
                    all.insert(channel.channel.clone(), stats);
                }
            }
        }
        if let Some((node, name)) = self.here.get() {
            for mut stats in node.homes() {
                stats.node = Some(name.clone());
                all.insert(stats.channel.clone(), stats);
            }
        }
        all.into_values().collect()
    }
}

impl Directory for ClusterDirectory {
    fn channels(&self) -> Pin<Box<dyn Future<Output = Vec<ChannelStats>> + Send + '_>> {
        Box::pin(async { self.list() })
    }
}
