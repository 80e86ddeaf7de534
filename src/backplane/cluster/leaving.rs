//! How a node leaves the others: first they get what they miss of its channels, then it says
//! goodbye.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::broker::{Key, Topic};
use super::lease::Effect;
use super::message::ClusterMessage;
use super::node_task::NodeTask;
use super::operations;

/// How long a node that leaves waits for the others. The hub waits for 2 s.
const MAX_SETTLING: Duration = Duration::from_millis(1200);
/// The time between two looks at what is due meanwhile.
const TICK: Duration = Duration::from_millis(50);
/// The time after which the last numbers are told again.
const TELL_AGAIN: Duration = Duration::from_millis(300);
/// How long the blocks may take to leave before the last numbers are told.
const MAX_FLUSH: Duration = Duration::from_millis(200);

impl NodeTask {
    /// Leaves the channels to the other nodes, and tells them that this node ends.
    pub(super) async fn leave(&mut self) {
        while let Some(exported) = self.node.try_exported() {
            self.export(exported);
        }
        self.settle().await;
        self.wire.outgoing.is_empty().await;
        let (now, mut effects) = (self.clock.now(), Vec::new());
        for channel in self.homes.keys() {
            self.leases.release(channel, now, &mut effects);
        }
        let mut releases = JoinSet::new();
        for effect in effects {
            if let Effect::Call { id, key, call } = effect {
                releases.spawn(operations::call(Arc::clone(&self.broker), id, key, call));
            }
        }
        // A broker that hangs does not hold the hub up for long: each call has a limit.
        while releases.join_next().await.is_some() {}
        self.wire.send(Topic::Directory, &ClusterMessage::Bye);
        self.wire.outgoing.is_empty().await;
        let session = Key::Session(self.wire.me.clone());
        if let Ok(Some((_, revision))) = self.broker.read(&session).await {
            // It would expire by itself.
            let _ = self.broker.remove(&session, revision).await;
        }
        self.broker.close().await;
        self.node.has_left();
    }

    /// Answers the other nodes until none of them misses anything of the channels here, and stores
    /// what is to be stored. What takes too long is lost.
    async fn settle(&mut self) {
        if self.homes.is_empty() {
            return;
        }
        let (node, broker) = (self.node.clone(), Arc::clone(&self.broker));
        let outgoing = Arc::clone(&self.wire.outgoing);
        let until = Instant::now() + MAX_SETTLING;
        let mut told_at = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.is_connected {
            let is_stored = self.homes.values().all(|home| home.is_stored());
            if told_at.is_none() && is_stored {
                self.unsettled = self.peers.all_alive();
                let _ = timeout(MAX_FLUSH, outgoing.is_empty()).await;
                told_at = Some(self.tell_last_numbers());
            }
            let peers = &self.peers;
            self.unsettled.retain(|node| peers.is_alive(node));
            if told_at.is_some() && self.unsettled.is_empty() {
                break;
            }
            let exported = async {
                outgoing.has_block_room().await;
                node.exported().await
            };
            let lease_due = self.clock.instant(self.leases.due());
            tokio::select! {
                incoming = broker.next() => self.incoming(incoming).await,
                exported = exported => self.export(exported),
                Some(done) = self.operations.join_next() => self.done(done),
                _ = tick.tick() => {
                    let now = Instant::now();
                    self.append_all();
                    self.keep_mirrors(now);
                    if told_at.is_some_and(|at| at + TELL_AGAIN <= now) {
                        told_at = Some(self.tell_last_numbers());
                    }
                }
                () = sleep_until(lease_due) => self.lease_tick(),
                () = sleep_until(until) => {
                    tracing::warn!(nodes = self.unsettled.len(), "some nodes may miss messages");
                    break;
                }
            }
            self.finish_resigning();
            self.tell_settled();
        }
    }

    /// Tells the last numbers of the channels here, and asks to be told who misses nothing.
    fn tell_last_numbers(&mut self) -> Instant {
        self.heartbeat();
        self.wire.send(Topic::Directory, &ClusterMessage::Leaving);
        Instant::now()
    }

    /// Tells the nodes that leave that this one has all of their channels that it follows.
    pub(super) fn tell_settled(&mut self) {
        let (mirrors, wire) = (&self.mirrors, &self.wire);
        self.leaving.retain(|node| {
            let is_settled = mirrors.has_all_of(node);
            if is_settled {
                wire.tell(node, &ClusterMessage::Settled);
            }
            !is_settled
        });
    }
}
