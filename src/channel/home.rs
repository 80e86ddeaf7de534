//! The handle of a channel whose home is here, and the way to what waits for a home.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::block::Block;
use super::ingest::Entry;
use super::pending::PendingRun;
use super::reading::{Kept, Wanted};
use super::registry::{ChannelLimit, Registry};
use super::role::{HomeNumbering, RoleChange};
use super::{Channel, Run, SEALED_POLL_INTERVAL};
use crate::message::ChannelName;

/// A channel that is a home, until this is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    channel: Arc<Channel>,
    registry: Arc<Registry>,
    number: u64,
}

impl Home {
    /// Makes a channel a home, whose blocks are exported if so said. `first` and then all that waits is numbered before what is published
    /// later.
    ///
    /// # Errors
    /// Returns `first` when the channel does not exist and there are as many others as allowed.
    pub(crate) fn new(
        registry: Arc<Registry>,
        name: &ChannelName,
        numbering: HomeNumbering,
        first: Vec<PendingRun>,
        is_exported: bool,
    ) -> Result<Self, Vec<PendingRun>> {
        let channel = match registry.pin_bounded(name) {
            Ok(channel) => channel,
            Err(ChannelLimit) => return Err(first),
        };
        let sharing = channel.shared.sharing.as_ref();
        let number = sharing.map_or(0, |sharing| sharing.next_home());
        let home = Self {
            channel,
            registry,
            number,
        };
        // What is published from now on need not be pushed: it comes after the change.
        home.channel.set_pushed(is_exported);
        home.change(RoleChange::Home(number, numbering, first, is_exported));
        Ok(home)
    }

    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Says whether the blocks that are sealed from now on are sent to other nodes.
    pub(crate) fn set_exported(&self, exported: bool) {
        // Before the change is pushed: what is published later is pushed behind it.
        self.channel.set_pushed(exported);
        self.change(RoleChange::Export(exported));
    }

    /// Publishes messages of another node, once there is room for them.
    ///
    /// # Cancel safety
    /// Nothing is published if the future is dropped.
    pub(crate) async fn publish(&self, runs: Vec<Run>) {
        let channel = &self.channel;
        let mut block = Block::with_capacity(runs.len());
        let mut last_status = None;
        for run in runs.into_iter().filter_map(|run| channel.fit(run)) {
            if let Run::Message(message) = &run
                && message.status_report().is_some()
            {
                last_status = Some(run.clone());
            }
            block.push(run);
        }
        if block.is_empty() {
            return;
        }
        let mut entry = Entry::Forwarded(Box::new(block));
        let pushed = loop {
            match channel.try_push(entry) {
                Ok(pushed) => break pushed,
                Err(full) => entry = full,
            }
            if channel.seal() {
                // There is room now, unless other publishers take it.
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(SEALED_POLL_INTERVAL).await;
            }
        };
        if last_status.is_some_and(|status| channel.note_run(&status)) {
            channel.show_partial(b"");
        }
        channel.hold();
        channel.seal_pushed(pushed);
    }

    /// Reads what the channel keeps.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn read(&self, wanted: Wanted, most_bytes: usize) -> Kept {
        self.channel.read_history(wanted, most_bytes).await
    }

    /// Begins an epoch that no other node knows, and exports nothing.
    pub(crate) fn restart(&self) {
        self.change(RoleChange::Restart);
        self.channel.set_pushed(false);
    }

    fn change(&self, change: RoleChange) {
        self.channel.change_role(change);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Before the change is pushed: what is published later is pushed behind it.
        self.channel.set_pushed(true);
        self.change(RoleChange::Resign(self.number));
        self.registry.unpin(&self.channel);
    }
}

impl Channel {
    pub(super) fn change_role(self: &Arc<Self>, change: RoleChange) {
        self.push(Entry::Role(Box::new(change)));
        self.seal();
    }

    /// Takes the oldest messages that wait for a home: `most_bytes` bytes at most, but at least one
    /// message. Returns nothing when none wait.
    ///
    /// # Cancel safety
    /// What was taken is given back if the future is dropped.
    pub(crate) async fn take_pending(self: &Arc<Self>, most_bytes: usize) -> Vec<PendingRun> {
        let (answer, answered) = oneshot::channel();
        let mut taking = Taking {
            channel: self,
            answered,
        };
        self.change_role(RoleChange::Take(most_bytes, answer));
        // An entry is dropped without an answer only when handling it panicked.
        (&mut taking.answered).await.unwrap_or_default()
    }

    /// Has messages that were taken wait again, before all others.
    pub(crate) fn give_back(self: &Arc<Self>, runs: Vec<PendingRun>) {
        if !runs.is_empty() {
            self.push(Entry::Role(Box::new(RoleChange::GiveBack(runs))));
            self.hold();
            self.seal();
        }
    }
}

/// Gives back what was taken for a caller that did not wait for it.
struct Taking<'a> {
    channel: &'a Arc<Channel>,
    answered: oneshot::Receiver<Vec<PendingRun>>,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.answered.close();
        if let Ok(runs) = self.answered.try_recv() {
            self.channel.give_back(runs);
        }
    }
}
