//! Who wants which channel: what other nodes told, and what this node tells them.
//!
//! Pure: the caller gives the time, in milliseconds of a monotonic clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::message::InterestNews;
use super::names::NodeId;
use crate::message::ChannelName;

/// The time after which interest that is not renewed is gone, in milliseconds.
pub(crate) const EXPIRY_MS: u64 = 30_000;
/// The most channels that one node is believed to want. Beyond them its interest is not noted.
const MAX_CHANNELS_OF_A_NODE: usize = 100_000;

/// The channels that other nodes want.
#[derive(Debug, Default)]
pub(crate) struct InterestTable {
    channels: HashMap<ChannelName, BTreeSet<NodeId>>,
    nodes: HashMap<NodeId, Expiries>,
}

/// When the interest of one node in its channels ends.
#[derive(Debug, Default)]
struct Expiries {
    of: HashMap<ChannelName, u64>,
    order: BTreeMap<u64, BTreeSet<ChannelName>>,
}

/// A channel that other nodes began or ceased to want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterestChange {
    /// The first other node wants the channel.
    Began(ChannelName),
    /// No other node wants it any more.
    Ended(ChannelName),
}

impl InterestTable {
    /// Returns whether another node wants a channel.
    pub(crate) fn is_wanted(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    /// Returns the nodes that want a channel.
    #[cfg(test)]
    fn nodes(&self, channel: &ChannelName) -> impl Iterator<Item = &NodeId> {
        self.channels.get(channel).into_iter().flatten()
    }

    /// Takes what a node told.
    pub(crate) fn take(
        &mut self,
        node: &NodeId,
        news: InterestNews,
        now_ms: u64,
    ) -> Vec<InterestChange> {
        let mut changes = Vec::new();
        for channel in news.added.into_iter().chain(news.renewed) {
            let expiries = self.nodes.entry(node.clone()).or_default();
            let is_known = expiries.of.contains_key(&channel);
            if !is_known && expiries.of.len() >= MAX_CHANNELS_OF_A_NODE {
                continue;
            }
            expiries.renew(&channel, now_ms + EXPIRY_MS);
            if !is_known {
                let nodes = self.channels.entry(channel.clone()).or_default();
                nodes.insert(node.clone());
                if nodes.len() == 1 {
                    changes.push(InterestChange::Began(channel));
                }
            }
        }
        for channel in news.removed {
            let expiries = self.nodes.get_mut(node);
            if expiries.is_some_and(|expiries| expiries.remove(&channel)) {
                self.end(node, channel, &mut changes);
            }
        }
        changes
    }

    /// Forgets what was not renewed in time. Costs what it forgets, and a step for each node.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<InterestChange> {
        let mut ended = Vec::new();
        self.nodes.retain(|node, expiries| {
            for channel in expiries.take_expired(now_ms) {
                ended.push((node.clone(), channel));
            }
            !expiries.of.is_empty()
        });
        let mut changes = Vec::new();
        for (node, channel) in ended {
            self.end(&node, channel, &mut changes);
        }
        changes
    }

    /// Forgets a node that is gone.
    pub(crate) fn remove(&mut self, node: &NodeId) -> Vec<InterestChange> {
        let mut changes = Vec::new();
        let expiries = self.nodes.remove(node).unwrap_or_default();
        for channel in expiries.of.into_keys() {
            self.end(node, channel, &mut changes);
        }
        changes
    }

    fn end(&mut self, node: &NodeId, channel: ChannelName, changes: &mut Vec<InterestChange>) {
        let Some(nodes) = self.channels.get_mut(&channel) else {
            return;
        };
        nodes.remove(node);
        if nodes.is_empty() {
            self.channels.remove(&channel);
            changes.push(InterestChange::Ended(channel));
        }
    }
}

impl Expiries {
    fn renew(&mut self, channel: &ChannelName, at_ms: u64) {
        self.remove(channel);
        self.of.insert(channel.clone(), at_ms);
        self.order.entry(at_ms).or_default().insert(channel.clone());
    }

    fn remove(&mut self, channel: &ChannelName) -> bool {
        let Some(at_ms) = self.of.remove(channel) else {
            return false;
        };
        if let Some(channels) = self.order.get_mut(&at_ms) {
            channels.remove(channel);
            if channels.is_empty() {
                self.order.remove(&at_ms);
            }
        }
        true
    }

    fn take_expired(&mut self, now_ms: u64) -> Vec<ChannelName> {
        let later = self.order.split_off(&(now_ms + 1));
        let expired = std::mem::replace(&mut self.order, later);
        let expired: Vec<_> = expired.into_values().flatten().collect();
        for channel in &expired {
            self.of.remove(channel);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn name(index: u8) -> ChannelName {
        ChannelName::parse(&format!("c{index}")).unwrap()
    }

    fn node(index: u8) -> NodeId {
        NodeId::new("n", index.into()).unwrap()
    }

    proptest! {
        /// The model is a set of nodes, channels and times that is searched as a whole.
        #[test]
        fn a_channel_is_wanted_as_long_as_a_node_renewed_it_in_time(
            steps in prop::collection::vec((0..3u8, 0..3u8, 0..4u8, 0..20_000u64), 1..60),
        ) {
            let mut table = InterestTable::default();
            let mut model: HashMap<(u8, u8), u64> = HashMap::new();
            let mut told: HashSet<ChannelName> = HashSet::new();
            let mut now = 0;
            for (who, channel, action, passed) in steps {
                now += passed;
                let mut changes = table.expire(now);
                model.retain(|_, until| *until > now);
                let mut news = InterestNews::default();
                match action {
                    0 => news.added.push(name(channel)),
                    1 => news.renewed.push(name(channel)),
                    2 => news.removed.push(name(channel)),
                    _ => {
                        changes.extend(table.remove(&node(who)));
                        model.retain(|(other, _), _| *other != who);
                    }
                }
                match action {
                    0 | 1 => { model.insert((who, channel), now + EXPIRY_MS); }
                    2 => { model.remove(&(who, channel)); }
                    _ => {}
                }
                changes.extend(table.take(&node(who), news, now));
                for change in changes {
                    match change {
                        InterestChange::Began(name) => prop_assert!(told.insert(name)),
                        InterestChange::Ended(name) => prop_assert!(told.remove(&name)),
                    }
                }
                for channel in 0..3 {
                    let nodes: BTreeSet<_> = model
                        .keys()
                        .filter(|(_, other)| *other == channel)
                        .map(|(who, _)| node(*who))
                        .collect();
                    let wanted = !nodes.is_empty();
                    prop_assert_eq!(table.is_wanted(&name(channel)), wanted);
                    prop_assert_eq!(told.contains(&name(channel)), wanted);
                    prop_assert_eq!(table.nodes(&name(channel)).cloned().collect::<BTreeSet<_>>(), nodes);
                }
            }
        }
    }
}
