//! What other nodes say.

use super::block::{self, BlockError};
use super::broker::Topic;
use super::directory::Applied;
use super::message::{ClusterMessage, DirectoryNews, News};
use super::names::{NodeId, Token};
use super::node_task::NodeTask;
use super::orders;
use crate::message::ChannelName;

impl NodeTask {
    /// Takes a message of the broker.
    pub(super) async fn message(&mut self, topic: Topic, payload: &[u8]) {
        self.wire.counters.hear();
        if let Topic::Blocks(token) = topic {
            return self.block_message(&token, payload).await;
        }
        match ClusterMessage::decode(payload, self.wire.max_message) {
            Ok((from, message)) if from != self.wire.me => self.take(&from, message),
            Ok(_) => {}
            Err(error) => {
                self.wire.counters.damaged.add(1);
                tracing::debug!(?topic, %error, "a message cannot be read");
            }
        }
    }

    /// Takes a message of a channel that is followed.
    async fn block_message(&mut self, token: &Token, payload: &[u8]) {
        let Some(channel) = token.channel() else {
            return;
        };
        match block::decode(payload, self.wire.max_message) {
            Ok(block) => {
                self.heard(&channel, &block.header.home.clone(), block.header.term);
                self.mirrors.block(&channel, block, &mut self.wire);
            }
            Err(BlockError::NotABlock) => {
                let decoded = ClusterMessage::decode(payload, self.wire.max_message);
                if let Ok((_, ClusterMessage::Partial { epoch, text })) = decoded
                    && let Some(mirror) = self.mirrors.get_mut(&channel)
                {
                    mirror.partial(&epoch, &text);
                }
                return;
            }
            Err(error) => {
                self.wire.counters.damaged.add(1);
                tracing::debug!(%channel, %error, "a block cannot be read");
                if let Some(header) = error.header() {
                    self.heard(&channel, &header.home, header.term);
                    self.mirrors.unreadable(&channel, header, &mut self.wire);
                }
            }
        }
        if let Some(followed) = self.mirrors.get_mut(&channel) {
            followed.mirror().has_room().await;
        }
    }

    pub(super) fn heard(&mut self, channel: &ChannelName, home: &NodeId, term: u64) {
        self.lease(|leases, now, effects| leases.heard(channel, home, term, now, effects));
    }

    /// Returns whether a channel has viewers or publishers here.
    pub(super) fn concerns(&self, channel: &ChannelName) -> bool {
        self.homes.contains_key(channel)
            || self.mirrors.has(channel)
            || self.forwarding.has(channel)
    }

    fn take(&mut self, from: &NodeId, message: ClusterMessage) {
        match message {
            ClusterMessage::Interest(news) => {
                for channel in self.peers.interest(from, news) {
                    self.update_export(&channel);
                }
            }
            ClusterMessage::Heartbeat(heartbeat) => {
                let news = self.peers.heartbeat(from, &heartbeat);
                if news.is_new {
                    // It does not know this node either.
                    self.heartbeat();
                }
                if news.wants_snapshot {
                    self.wire.tell(from, &ClusterMessage::DirectoryWanted);
                }
                for head in &heartbeat.heads {
                    if self.concerns(&head.channel) {
                        self.heard(&head.channel, from, head.term);
                    }
                }
                self.mirrors.heads(from, &heartbeat.heads, &mut self.wire);
            }
            ClusterMessage::Directory(news) => {
                // A part of a snapshot that is not the last changes no list yet.
                let channels = listed_channels(&news);
                match self.peers.directory(from, news) {
                    Applied::Missed => self.wire.tell(from, &ClusterMessage::DirectoryWanted),
                    Applied::Partly | Applied::Current { changed: false } => {}
                    Applied::Current { changed: true } => self.node.list_changed(),
                }
                for channel in &channels {
                    self.mirrors.home_known(channel, from, &mut self.wire);
                }
            }
            ClusterMessage::DirectoryWanted => self.send_snapshot(from),
            ClusterMessage::Request(request) => self.request(from, request),
            ClusterMessage::Answer { id, blocks } => {
                for block in blocks {
                    self.answer(id, &block);
                }
            }
            ClusterMessage::Answered(answered) => {
                if let Some(channel) = self.wire.close_request(answered.id) {
                    self.heard(&channel, from, answered.term);
                    self.mirrors
                        .answered(&channel, from, &answered, &mut self.wire);
                }
            }
            ClusterMessage::NotHome { channel, home, .. } => {
                self.not_home(from, &channel, home);
            }
            ClusterMessage::Publish(forwarded) => self.publish(from, forwarded),
            ClusterMessage::Accepted { channel, run } => {
                let next = self.forwarding.accepted(&channel, from, run, &self.wire);
                self.forward(&channel, next);
            }
            ClusterMessage::Refused {
                channel, reason, ..
            } => self.forwarding.refused(&channel, from, reason),
            ClusterMessage::Broadcast(message) => self.node.broadcast(message),
            ClusterMessage::Bye => {
                self.leaving.remove(from);
                if self.peers.remove(from) {
                    self.node_gone(from);
                }
            }
            ClusterMessage::Leaving => {
                self.leaving.insert(from.clone());
            }
            ClusterMessage::Settled => {
                self.unsettled.remove(from);
            }
            ClusterMessage::Order(order) => {
                orders::carry_out(&self.node, from, order, &self.wire);
            }
            ClusterMessage::Ordered(ordered) => self.orders.ordered(from, ordered),
            // Sent where blocks are.
            ClusterMessage::Partial { .. } => {}
        }
    }

    /// Takes a part of an answer.
    fn answer(&mut self, id: u64, payload: &[u8]) {
        let Some(channel) = self.wire.requested(id) else {
            return;
        };
        match block::decode(payload, self.wire.max_message) {
            Ok(block) => self.mirrors.answer(&channel, id, block, &mut self.wire),
            Err(error) => {
                self.wire.counters.damaged.add(1);
                tracing::debug!(%channel, %error, "a part of an answer cannot be read");
            }
        }
    }

    /// Takes notice that a node which was asked is not the home of a channel.
    fn not_home(&mut self, from: &NodeId, channel: &ChannelName, home: Option<NodeId>) {
        self.mirrors.not_home(channel, from, &mut self.wire);
        if let Some(home) = home
            && home != self.wire.me
            && home != *from
            && self.peers.is_alive(&home)
        {
            self.mirrors.home_known(channel, &home, &mut self.wire);
        }
        if self.forwarding.not_home(channel, from) == super::forwarding::Forward::FindHome {
            // The record says who is, whatever the nodes believe.
            self.want_home(channel);
        }
    }
}

/// Returns the channels whose home news name.
fn listed_channels(news: &DirectoryNews) -> Vec<ChannelName> {
    let (News::Snapshot { channels, .. }
    | News::Delta {
        changed: channels, ..
    }) = &news.news;
    channels
        .iter()
        .map(|listed| listed.channel.clone())
        .collect()
}
