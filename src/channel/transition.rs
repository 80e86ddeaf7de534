//! The sealer's part of a change of role: what waits for a home, and what a home sends to others.

use super::Run;
use super::block::Block;
use super::mirror::Renumbering;
use super::pass::SealPass;
use super::pending::PendingRun;
use super::role::{HomeNumbering, RoleChange};
use super::sealer::Sealer;
use super::shared::HubShared;
use crate::message::Message;

impl SealPass {
    /// Changes the role of a channel whose home can be here.
    pub(super) fn change_role(&mut self, sealer: &Sealer<'_>, change: RoleChange) {
        let channel = sealer.channel();
        let Some(role) = channel.role() else { return };
        match change {
            RoleChange::Home(home, numbering, first, is_exported) => {
                self.become_home(sealer, home, numbering, first, is_exported);
            }
            RoleChange::Resign(home) => {
                if role.home() == home {
                    sealer.export(false);
                    role.set_home(0);
                    sealer.set_synced(false);
                    channel.note_listed();
                }
            }
            RoleChange::Export(exported) => {
                if exported && !role.is_exported() {
                    // Nodes that come now are not told of what nobody had before.
                    sealer.number_unwatched(&mut self.changes);
                }
                sealer.export(exported && role.home() > 0);
            }
            RoleChange::Restart => {
                if role.home() > 0 {
                    sealer.export(false);
                    self.restart(sealer);
                }
            }
            RoleChange::Take(most_bytes, answer) => {
                let taken = sealer.pending(|pending| pending.take(most_bytes));
                // A caller that is gone has not taken them.
                if let Err(taken) = answer.send(taken) {
                    sealer.pending(|pending| pending.give_back(taken));
                }
            }
            RoleChange::GiveBack(runs) => {
                if role.home() > 0 {
                    self.waited.extend(runs);
                    self.number_waited(sealer);
                } else {
                    sealer.pending(|pending| pending.give_back(runs));
                }
            }
        }
    }

    fn become_home(
        &mut self,
        sealer: &Sealer<'_>,
        home: u64,
        numbering: HomeNumbering,
        first: Vec<PendingRun>,
        is_exported: bool,
    ) {
        let channel = sealer.channel();
        let Some(role) = channel.role() else { return };
        // First, so that a panic below leaves a home with all its messages.
        role.set_home(home);
        channel.lose_status_of_home();
        self.waited.extend(first);
        self.waited
            .append(&mut sealer.pending(|pending| pending.take_all()));
        let is_new = role.use_epoch();
        match numbering {
            HomeNumbering::New if is_new && channel.seq() == 0 => {}
            HomeNumbering::New => self.restart(sealer),
            HomeNumbering::Continue { epoch, seq } if epoch == *channel.epoch() => {
                self.skip_to(sealer, seq);
            }
            HomeNumbering::Continue { epoch, seq } => {
                sealer.apply(&mut self.changes);
                sealer.renumber(Renumbering { epoch, seq }, &mut self.tally);
            }
        }
        sealer.export(is_exported);
        channel.note_listed();
        self.synced(sealer);
        self.number_waited(sealer);
        sealer.answer_pings();
    }

    /// Begins an epoch that no other node knows.
    fn restart(&mut self, sealer: &Sealer<'_>) {
        sealer.apply(&mut self.changes);
        let renumbering = Renumbering {
            epoch: sealer.channel().shared.epoch(),
            seq: 0,
        };
        sealer.renumber(renumbering, &mut self.tally);
    }

    /// Numbers and delivers what waited for a home, in blocks of the usual size.
    fn number_waited(&mut self, sealer: &Sealer<'_>) {
        let channel = sealer.channel();
        let enough = channel.shared.enough_waiting;
        while !self.waited.is_empty() {
            let mut block = Block::with_capacity(self.waited.len().min(64));
            while let Some(run) = self.waited.pop_front() {
                run.release(|run| block.push(run));
                if block.waiting().exceeds(enough) {
                    break;
                }
            }
            self.deliver_block(sealer, block, channel.seq() + 1, HubShared::timestamp());
        }
    }

    /// Keeps messages that were published here until the channel has a home. What there is no room
    /// for is counted. `is_local` messages also go to the hub's bridge, which is where they were
    /// published.
    pub(super) fn set_aside(&mut self, sealer: &Sealer<'_>, block: Block, is_local: bool) {
        let channel = sealer.channel();
        let messages = block.len() as u64;
        let (Some(sharing), Some(_)) = (&channel.shared.sharing, channel.role()) else {
            return channel.refuse_local(messages);
        };
        let exports = channel.shared.exports.as_ref().filter(|_| is_local);
        let mut exported = Vec::new();
        let mut refused = 0;
        let mut admitted = 0;
        sealer.pending(|pending| {
            for run in block.into_runs() {
                match sharing.budget.admit(run) {
                    Ok(run) => {
                        exported.extend(exports.map(|_| run.run().clone()));
                        pending.push(run);
                        admitted += 1;
                    }
                    Err(run) => refused += run.messages() as u64,
                }
            }
        });
        if let Some(exports) = exports
            && !exported.is_empty()
        {
            exports.offer(channel.name(), HubShared::timestamp(), exported);
        }
        if refused > 0 {
            channel.refuse_local(refused);
        }
        if admitted > 0
            && let Some(name) = channel.name()
        {
            sharing.pending.note(name);
        }
    }

    /// Hands messages to all clients to the other nodes.
    pub(super) fn broadcast(&self, sealer: &Sealer<'_>, block: &Block) {
        let channel = sealer.channel();
        let (None, Some(sharing)) = (channel.name(), &channel.shared.sharing) else {
            return;
        };
        for run in block.runs() {
            match run {
                Run::Message(message) => sharing.export_broadcast(message),
                Run::Pieces(pieces) => pieces
                    .iter()
                    .for_each(|piece| sharing.export_broadcast(piece)),
                Run::Line(line) => sharing.export_broadcast(&Message::output(line.clone())),
                Run::Lines(lines) => lines
                    .iter()
                    .for_each(|line| sharing.export_broadcast(&Message::output(line.to_vec()))),
            }
        }
    }
}

impl Sealer<'_> {
    /// Has the blocks of a home sent to other nodes from now on, or not any more.
    pub(super) fn export(&self, exported: bool) {
        let channel = self.channel();
        if !channel
            .role()
            .is_some_and(|role| role.set_exported(exported))
        {
            return;
        }
        if exported {
            // Before the text is read: a text that is set later has it shown again.
            channel.watch_partial();
            if channel.partial.text().is_some_and(|text| !text.is_empty()) {
                self.export_partial();
            }
        } else {
            channel.unwatch_partial();
        }
    }

    /// Sends the unfinished line to other nodes if they want the channel.
    pub(super) fn export_partial(&self) {
        if let (Some(sharing), Some(name)) = (self.channel().export_to(), self.channel().name())
            && let Some(text) = self.channel().partial.text()
        {
            sharing.export_partial(name, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::super::Channel;
    use super::super::reading::Wanted;
    use super::super::testing::{channel_with, join, line, received};
    use super::*;
    use crate::config::Config;
    use crate::outbox::OutboxReader;
    use crate::protocol::SubscribeOptions;

    /// A task that panics when it is woken.
    struct Unwakeable;

    impl Wake for Unwakeable {
        fn wake(self: Arc<Self>) {
            panic!("this is the test's own panic, and belongs in its output");
        }
    }

    fn sharing_channel() -> Arc<Channel> {
        channel_with(Config {
            mirrors: true,
            shares: true,
            // Two messages a block.
            queue: 4,
            history: 100,
            ..Config::default()
        })
    }

    fn become_home(channel: &Arc<Channel>) {
        let numbering = HomeNumbering::Continue {
            epoch: channel.epoch().to_string(),
            seq: 0,
        };
        channel.change_role(RoleChange::Home(1, numbering, Vec::new(), false));
    }

    #[tokio::test]
    async fn a_panic_while_waiting_messages_are_numbered_costs_the_block_under_way() {
        let channel = sharing_channel();
        let gaps = || SubscribeOptions {
            gaps: true,
            ..SubscribeOptions::default()
        };
        let told = join(&channel, 1, Some(gaps()));
        become_home(&channel);
        channel.change_role(RoleChange::Resign(1));
        let texts = ["1", "2", "3", "4", "5", "6"];
        for text in texts {
            channel.publish(line(text));
        }
        assert!(received(&told).contains("subscribed"));
        let waker = Waker::from(Arc::new(Unwakeable));
        told.outbox.register(&Context::from_waker(&waker));
        assert!(!OutboxReader::default().take_or_sleep(&told.outbox));
        become_home(&channel);
        channel.seal();
        assert_eq!(channel.seq(), 6);
        let kept = channel.read_history(Wanted::After(0), usize::MAX).await;
        let numbers: Vec<u64> = kept.runs.iter().map(|run| run.first_seq()).collect();
        assert_eq!(numbers, [1, 3, 5]);
        assert!(received(&told).contains(r#""data":{"from":1,"to":2,"count":2}"#));
        let sharing = channel.shared.sharing.as_ref().expect("it shares");
        assert_eq!(sharing.budget.held(), (0, 0));
        let stats = channel.shared.totals.stats(1, 1, 1, Default::default(), 0);
        assert_eq!(stats.panicked, 1);
    }
}
