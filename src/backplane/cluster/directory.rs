//! The channels of all nodes, as each node knows them.
//!
//! Pure: no I/O, no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::message::{ClusterMessage, DirectoryNews, ListedChannel, News};
use super::names::NodeId;
use crate::message::{ChannelName, LOST, Status, StatusReport};
use crate::stats::ChannelStats;

/// The most channels that one node is believed to have. Further ones are not listed.
const MAX_CHANNELS_OF_A_NODE: usize = 200_000;

/// The channels of the other nodes.
#[derive(Debug, Default)]
pub(crate) struct DirectoryTable {
    nodes: HashMap<NodeId, NodeList>,
}

#[derive(Debug, Default)]
struct NodeList {
    /// The number of the last news. `None` before the first snapshot, and after lost news.
    seq: Option<u64>,
    channels: BTreeMap<ChannelName, ListedChannel>,
    /// The snapshot that is coming in.
    incoming: Option<Incoming>,
    /// Whether the node is gone.
    is_gone: bool,
}

#[derive(Debug)]
struct Incoming {
    seq: u64,
    next_chunk: u64,
    channels: BTreeMap<ChannelName, ListedChannel>,
}

/// What the news of a node led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The list is as the node had it then.
    Current {
        /// Whether it changed.
        changed: bool,
    },
    /// A snapshot is coming in.
    Partly,
    /// News were missed: a snapshot is to be asked for.
    Missed,
}

impl DirectoryTable {
    /// Takes the news of a node. Costs what they say.
    pub(crate) fn apply(&mut self, from: &NodeId, news: DirectoryNews) -> Applied {
        let list = self.nodes.entry(from.clone()).or_default();
        list.is_gone = false;
        match news.news {
            News::Snapshot {
                chunk,
                is_last,
                channels,
            } => list.snapshot(news.seq, chunk, is_last, channels),
            News::Delta { changed, removed } => list.delta(news.seq, changed, removed),
        }
    }

    /// Takes note of the number of a node's last news, from its heartbeat. Returns whether a
    /// snapshot is to be asked for.
    pub(crate) fn is_behind(&mut self, node: &NodeId, seq: u64) -> bool {
        let list = self.nodes.entry(node.clone()).or_default();
        list.is_gone = false;
        list.seq.is_none_or(|known| known < seq)
    }

    /// Takes note that a node is gone: its channels have the status `lost` from now on. Returns
    /// them. They are forgotten when another node of the same name or another home lists them, or
    /// with [`DirectoryTable::forget`].
    pub(crate) fn gone(&mut self, node: &NodeId) -> Vec<ChannelName> {
        let Some(list) = self.nodes.get_mut(node) else {
            return Vec::new();
        };
        list.is_gone = true;
        list.seq = None;
        list.incoming = None;
        for channel in list.channels.values_mut() {
            let code = channel.status.as_ref().map_or(0, |report| report.code);
            channel.status = Some(StatusReport {
                status: Status::from(LOST),
                code,
            });
        }
        list.channels.keys().cloned().collect()
    }

    /// Forgets a node.
    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// Returns the node that lists a channel: one that is there, if any.
    pub(crate) fn home(&self, channel: &ChannelName) -> Option<&NodeId> {
        let homes = self.nodes.iter();
        let mut homes = homes.filter(|(_, list)| list.channels.contains_key(channel));
        homes
            .clone()
            .find(|(_, list)| !list.is_gone)
            .or_else(|| homes.next())
            .map(|(node, _)| node)
    }

    /// Returns the nodes that are there.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        let nodes = self.nodes.iter().filter(|(_, list)| !list.is_gone);
        nodes.map(|(node, _)| node)
    }

    /// Returns the channels of all other nodes by name, each once, with the name of its node. Of
    /// several nodes that list one, the node that is there counts.
    pub(crate) fn list(&self) -> Vec<ChannelStats> {
        let mut lists: Vec<_> = self.nodes.iter().collect();
        // Ascending: a later entry takes the place of an earlier one.
        lists.sort_by_key(|(node, list)| (!list.is_gone, *node));
        let mut channels = BTreeMap::new();
        for (node, list) in lists {
            let name = node.name();
            for (channel, listed) in &list.channels {
                channels.insert(channel, listed.stats(name.clone()));
            }
        }
        channels.into_values().collect()
    }
}

impl NodeList {
    fn snapshot(
        &mut self,
        seq: u64,
        chunk: u64,
        is_last: bool,
        channels: Vec<ListedChannel>,
    ) -> Applied {
        if self.seq.is_some_and(|known| known >= seq) {
            return Applied::Current { changed: false };
        }
        if chunk == 0 {
            self.incoming = Some(Incoming {
                seq,
                next_chunk: 0,
                channels: BTreeMap::new(),
            });
        }
        let expected =
            |incoming: &&mut Incoming| incoming.seq == seq && incoming.next_chunk == chunk;
        let Some(incoming) = self.incoming.as_mut().filter(expected) else {
            self.incoming = None;
            return Applied::Missed;
        };
        incoming.next_chunk += 1;
        for listed in channels {
            if incoming.channels.len() < MAX_CHANNELS_OF_A_NODE {
                incoming.channels.insert(listed.channel.clone(), listed);
            }
        }
        if !is_last {
            return Applied::Partly;
        }
        if let Some(incoming) = self.incoming.take() {
            self.channels = incoming.channels;
        }
        self.seq = Some(seq);
        Applied::Current { changed: true }
    }

    fn delta(
        &mut self,
        seq: u64,
        changed: Vec<ListedChannel>,
        removed: Vec<ChannelName>,
    ) -> Applied {
        match self.seq {
            Some(known) if seq <= known => return Applied::Current { changed: false },
            Some(known) if seq == known + 1 => {}
            _ => {
                self.seq = None;
                return Applied::Missed;
            }
        }
        self.seq = Some(seq);
        for channel in removed {
            self.channels.remove(&channel);
        }
        for listed in changed {
            let is_known = self.channels.contains_key(&listed.channel);
            if is_known || self.channels.len() < MAX_CHANNELS_OF_A_NODE {
                self.channels.insert(listed.channel.clone(), listed);
            }
        }
        Applied::Current { changed: true }
    }
}

/// The channels of this node, as it told them to the others.
#[derive(Debug, Default)]
pub(crate) struct OwnDirectory {
    seq: u64,
    told: HashMap<ChannelName, ListedChannel>,
}

impl OwnDirectory {
    /// Returns the number of the last news.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the news of channels that may have changed: `None` for one that is gone. Costs what
    /// is given, whatever the number of channels.
    pub(crate) fn changed(
        &mut self,
        channels: impl IntoIterator<Item = (ChannelName, Option<ListedChannel>)>,
    ) -> Vec<ClusterMessage> {
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (channel, listed) in channels {
            match listed {
                Some(listed) if self.told.get(&channel) != Some(&listed) => {
                    self.told.insert(channel, listed.clone());
                    changed.push(listed);
                }
                Some(_) => {}
                None => {
                    if self.told.remove(&channel).is_some() {
                        removed.push(channel);
                    }
                }
            }
        }
        DirectoryNews::delta(&mut self.seq, changed, removed)
    }

    /// Returns the news when the channels are these and no others. Costs a comparison for each.
    pub(crate) fn compared(&mut self, channels: &[ChannelStats]) -> Vec<ClusterMessage> {
        let present: HashSet<_> = channels.iter().map(|stats| &stats.channel).collect();
        let gone = self
            .told
            .keys()
            .filter(|channel| !present.contains(channel));
        let gone: Vec<_> = gone.map(|channel| (channel.clone(), None)).collect();
        let present = channels
            .iter()
            .map(|stats| (stats.channel.clone(), Some(stats.into())));
        self.changed(gone.into_iter().chain(present))
    }

    /// Returns all channels as they were last told.
    pub(crate) fn snapshot(&self) -> Vec<ClusterMessage> {
        let mut channels: Vec<_> = self.told.values().cloned().collect();
        channels.sort_by(|one, other| one.channel.cmp(&other.channel));
        DirectoryNews::snapshot(self.seq, channels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::listed;
    use super::*;

    fn node() -> NodeId {
        NodeId::new("web.1", 7).unwrap()
    }

    fn apply(table: &mut DirectoryTable, messages: Vec<ClusterMessage>) -> Option<Applied> {
        let apply = |message| match message {
            ClusterMessage::Directory(news) => table.apply(&node(), news),
            other => panic!("another kind came: {other:?}"),
        };
        messages.into_iter().map(apply).last()
    }

    fn channel(index: usize, published: u64) -> (ChannelName, Option<ListedChannel>) {
        let name = ChannelName::parse(&format!("process:{index}")).unwrap();
        let listed = ListedChannel {
            channel: name.clone(),
            subscribers: 0,
            published,
            epoch: "e".into(),
            seq: published,
            kept_bytes: 0,
            skipped: 0,
            dropped: 0,
            status: None,
        };
        (name, Some(listed))
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut own = OwnDirectory::default();
        let all = own.changed((0..10_000).map(|index| channel(index, 0)));
        assert!(all.len() > 5);
        let changed = own.changed((0..100).map(|index| channel(index, u64::from(index == 7))));
        assert_eq!(changed.len(), 1);
        let ClusterMessage::Directory(news) = &changed[0] else {
            panic!("another kind came")
        };
        assert!(matches!(&news.news, News::Delta { changed, .. } if changed.len() == 1));
        assert!(
            own.changed((0..100).map(|index| channel(index, u64::from(index == 7))))
                .is_empty()
        );
        let mut table = DirectoryTable::default();
        assert_eq!(
            apply(&mut table, own.snapshot()),
            Some(Applied::Current { changed: true })
        );
        assert_eq!(table.list().len(), 10_000);
    }

    #[test]
    fn the_channels_of_a_node_that_is_gone_are_lost_until_another_has_them() {
        let mut own = OwnDirectory::default();
        own.changed([channel(1, 5)]);
        let mut table = DirectoryTable::default();
        apply(&mut table, own.snapshot());
        let (name, _) = channel(1, 0);
        assert_eq!(table.gone(&node()), std::slice::from_ref(&name));
        let listed = table.list().remove(0);
        assert_eq!(listed.status.unwrap().status.as_str(), LOST);
        assert_eq!(listed.node.as_deref(), Some("web.1"));
        assert_eq!(table.nodes().count(), 0);
        let other = NodeId::new("a", 1).unwrap();
        for message in own.snapshot() {
            if let ClusterMessage::Directory(news) = message {
                table.apply(&other, news);
            }
        }
        assert_eq!(table.list()[0].node.as_deref(), Some("a"));
        assert_eq!(table.home(&name), Some(&other));
        table.forget(&other);
        assert_eq!(table.home(&name), Some(&node()));
    }

    proptest! {
        /// Whatever messages are lost, a table that asks for a snapshot when it missed something
        /// has in the end what the node has.
        #[test]
        fn a_missed_delta_is_noticed_and_repaired(
            steps in prop::collection::vec(
                (prop::collection::vec((listed(), any::<bool>()), 0..4), any::<bool>()), 1..20,
            ),
        ) {
            let mut own = OwnDirectory::default();
            let mut table = DirectoryTable::default();
            let mut model: BTreeMap<ChannelName, ListedChannel> = BTreeMap::new();
            for (changes, is_lost) in steps {
                for (listed, is_there) in &changes {
                    if *is_there {
                        model.insert(listed.channel.clone(), listed.clone());
                    } else {
                        model.remove(&listed.channel);
                    }
                }
                let all: Vec<_> = model.values().map(|listed| listed.stats("x".into())).collect();
                let messages = own.compared(&all);
                if !is_lost && apply(&mut table, messages) == Some(Applied::Missed) {
                    apply(&mut table, own.snapshot());
                }
            }
            if table.is_behind(&node(), own.seq()) {
                apply(&mut table, own.snapshot());
            }
            prop_assert!(!table.is_behind(&node(), own.seq()));
            let listed: Vec<_> = table.list().iter().map(ListedChannel::from).collect();
            prop_assert_eq!(listed, model.into_values().collect::<Vec<_>>());
        }
    }
}
