//! One look of the sealer at what waits: from the queue to blocks and to the changes between them. A panic in it, which would be a bug, loses no more
//! than the block that was being delivered, and that is skipped and told as such.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Channel;
use super::block::Block;
use super::fanout::Tally;
use super::history::History;
use super::ingest::{Entry, Waiting};
use super::subscribers::Change;
use crate::sync::Ordering;

/// What the sealer has in hand during one look. Outlives a panic in it.
pub(super) struct SealPass {
    pub(super) block: Block,
    pub(super) changes: Vec<Change>,
    pub(super) tally: Tally,
    /// Of the queue, and not given back yet.
    taken: Waiting,
    /// Messages that found no room in the queue, in a row.
    overflowed: u64,
    /// Taken from the queue, and to be done when the block before it has been delivered.
    next: Option<Entry>,
    /// When the flush was asked for; 0 when it was not, or is not the first look of it.
    asked: u64,
    delivering: Option<Delivering>,
}

/// A block on its way to the subscribers.
#[derive(Clone, Copy)]
struct Delivering {
    first: u64,
    messages: u64,
    /// How many subscribers had been offered something before it.
    reached: usize,
}

impl SealPass {
    fn new(entries: usize) -> Self {
        Self {
            block: Block::with_capacity(entries.min(1024)),
            changes: Vec::new(),
            tally: Tally::default(),
            taken: Waiting::default(),
            overflowed: 0,
            next: None,
            asked: 0,
            delivering: None,
        }
    }

    /// A block is being delivered.
    pub(super) fn begin(&mut self, first: u64, messages: usize) {
        let reached = self.tally.reached.clients;
        self.delivering = Some(Delivering {
            first,
            messages: messages as u64,
            reached,
        });
    }

    /// It has been.
    pub(super) fn end(&mut self) {
        self.delivering = None;
    }
}

impl Channel {
    /// One look, as the sealer. Does not panic: who publishes has no part in what goes wrong here, and the flag would stay raised.
    pub(super) fn seal_once(self: &Arc<Self>) {
        let mut carried = None;
        loop {
            let entries = self.ingest.len();
            let mut look = SealPass::new(entries);
            let again = carried.is_some();
            // Relaxed, and no swap: a time for reports, and one that is lost between the two lines is one less in them.
            look.asked = self.asked.load(Ordering::Relaxed);
            self.asked.store(0, Ordering::Relaxed);
            look.next = carried.take();
            // Unwind safe: `recover` puts right what a panic left half done.
            if catch_unwind(AssertUnwindSafe(|| self.look(&mut look, entries))).is_ok() {
                return;
            }
            carried = self.recover(look);
            // What was left in the queue is looked at now, since nobody may ask again. Each look takes at least one entry of it.
            if entries == 0 && (again || carried.is_none()) {
                return;
            }
        }
    }

    fn look(self: &Arc<Self>, look: &mut SealPass, mut entries: usize) {
        if let Some(entry) = look.next.take() {
            self.between(look, entry);
        }
        while entries > 0
            && let Some(entry) = self.ingest.pop()
        {
            entries -= 1;
            if let Entry::Run(run) = entry {
                // A run of them is one gap, and one round of the subscribers.
                if look.overflowed > 0 {
                    self.skip_for_all(look);
                }
                look.taken += Waiting {
                    messages: run.messages(),
                    bytes: run.bytes(),
                };
                look.block.push(run);
            } else {
                self.between(look, entry);
            }
        }
        self.deliver(look);
        self.finish(look);
    }

    /// What has its place between two blocks.
    fn between(self: &Arc<Self>, look: &mut SealPass, entry: Entry) {
        // Not lost with a block that panics.
        let entry = look.next.insert(entry);
        let overflows = matches!(entry, Entry::Overflowed(_));
        self.deliver(look);
        if look.overflowed > 0 && !overflows {
            self.skip_for_all(look);
        }
        match look.next.take() {
            None | Some(Entry::Run(_)) => unreachable!("it was put there above, and is no run"),
            Some(Entry::Overflowed(messages)) => look.overflowed += messages,
            Some(Entry::Join(subscription)) => {
                self.number_unheard(&mut look.changes);
                look.changes.push(Change::Join(Arc::clone(&subscription)));
                self.owed(&subscription, None, &mut look.tally);
            }
            Some(Entry::Leave(subscription)) => look.changes.push(Change::Leave(subscription)),
            Some(Entry::Resume(subscription)) => self.owed(&subscription, None, &mut look.tally),
            Some(Entry::Refetch(subscription, range)) => {
                self.owed(&subscription, Some(range), &mut look.tally);
            }
            Some(Entry::Trim) => {
                self.change_history(|history| history.trim(self.core.keep, self.core.ticker.now()));
            }
            Some(Entry::Forget) => self.change_history(History::clear),
        }
    }

    /// The end of a look.
    fn finish(self: &Arc<Self>, look: &mut SealPass) {
        self.subscribers.apply(&mut look.changes);
        self.ingest.release(std::mem::take(&mut look.taken));
        look.overflowed += self.ingest.take_overflowed();
        if look.overflowed > 0 {
            self.skip_for_all(look);
        }
        let tally = std::mem::take(&mut look.tally);
        self.skipped.fetch_add(tally.skipped, Ordering::Relaxed);
        self.core
            .totals
            .count_fan_out(tally.offered, tally.skipped, tally.discarded);
        if tally.reached.clients > 0 {
            let now = self.core.ticker.now();
            self.core.ticker.pace.spent(now, tally.reached);
            if look.asked > 0 {
                self.core.totals.count_flush(now.saturating_sub(look.asked));
            }
        }
    }

    /// Messages that no queue could take any more, as the sealer: they keep their numbers and are skipped for everybody.
    fn skip_for_all(&self, look: &mut SealPass) {
        self.subscribers.apply(&mut look.changes);
        let first = self.seq() + 1;
        let messages = std::mem::take(&mut look.overflowed);
        self.seq.store(self.seq() + messages, Ordering::Relaxed);
        let skipped = look.tally.skipped;
        for subscription in self.subscribers.load().iter().filter(|s| self.reaches(s)) {
            self.offer_nothing(subscription, first, messages, &mut look.tally);
        }
        self.core.totals.count_overrun(look.tally.skipped - skipped);
    }

    /// After a panic, as the sealer: nobody who joined or left is forgotten, the room in the queue is given back, and those to whom the block
    /// did not come are spared it.
    #[cold]
    fn recover(self: &Arc<Self>, mut look: SealPass) -> Option<Entry> {
        self.core.totals.count_panicked();
        tracing::error!(
            channel = self.name.as_ref().map(|name| name.as_str()),
            "sealing a block panicked"
        );
        let again = catch_unwind(AssertUnwindSafe(|| {
            if let Some(block) = look.delivering.take() {
                let last = block.first + block.messages - 1;
                self.seq.store(self.seq().max(last), Ordering::Relaxed);
                // The last one that was offered something may not have got it.
                let had = (look.tally.reached.clients - block.reached).saturating_sub(1);
                for subscription in self
                    .subscribers
                    .load()
                    .iter()
                    .filter(|s| self.reaches(s))
                    .skip(had)
                {
                    self.offer_nothing(subscription, block.first, block.messages, &mut look.tally);
                }
            }
            // Not taken out of the look by `deliver` yet.
            look.overflowed +=
                std::mem::replace(&mut look.block, Block::with_capacity(0)).len() as u64;
            self.finish(&mut look);
        }));
        if again.is_err() {
            // The rest of it would only panic again; these two steps cannot.
            self.subscribers.apply(&mut look.changes);
            self.ingest.release(std::mem::take(&mut look.taken));
        }
        look.next.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::{Context, Wake, Waker};

    use bytes::Bytes;

    use super::super::{Client, ClientId, ClientKind, HubShared, Overflow, Run, Subscription};
    use super::*;
    use crate::config::Config;
    use crate::encode::Encoding;
    use crate::message::ChannelName;
    use crate::protocol::SubscribeOptions;
    use crate::stats::Queues;

    /// A task that cannot be woken. Whoever seals wakes the tasks of those it offers something.
    struct Unwakeable;

    impl Wake for Unwakeable {
        fn wake(self: Arc<Self>) {
            panic!("this is the test's own panic, and belongs in its output");
        }
    }

    fn client(channel: &Channel, id: u64) -> Arc<Client> {
        let core = Arc::downgrade(&channel.core);
        let limits = channel.core.config.limits();
        Arc::new(Client::new(
            ClientId(id),
            crate::access::PeerInfo::default(),
            limits,
            ClientKind::WebSocket,
            core,
        ))
    }

    fn join(channel: &Arc<Channel>, id: u64, options: Option<SubscribeOptions>) -> Arc<Client> {
        let client = client(channel, id);
        let encoding = Encoding::Json;
        channel.join(&Arc::new(Subscription::new(
            Arc::clone(&client),
            Arc::clone(channel),
            encoding,
            options,
        )));
        client
    }

    fn sleep_badly(client: &Client) {
        client
            .outbox
            .register(&Context::from_waker(&Waker::from(Arc::new(Unwakeable))));
        assert!(!client.outbox.take_or_sleep(&mut VecDeque::new()));
    }

    /// What came, as text; it is written then.
    fn received(client: &Client) -> String {
        let mut parcels = VecDeque::new();
        client.outbox.take(&mut parcels);
        let mut text = String::new();
        for parcel in parcels {
            client.outbox.release(parcel.weight());
            client.count_written(u64::from(parcel.messages));
            text.push_str(&String::from_utf8_lossy(&parcel.bytes));
        }
        text
    }

    fn line(text: &'static str) -> Run {
        Run::Line(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn after_a_panic_the_channel_goes_on_and_who_did_not_get_the_block_is_told() {
        let core = Arc::new(HubShared::new(Config::default()));
        let name = ChannelName::parse("c").unwrap();
        let channel = Arc::new(Channel::new(Arc::clone(&core), Some(name), Overflow::Skip));
        let before = join(&channel, 1, None);
        let panicking = join(&channel, 2, None);
        let after = join(&channel, 3, None);
        let told = join(
            &channel,
            4,
            Some(SubscribeOptions {
                gaps: true,
                ..SubscribeOptions::default()
            }),
        );
        received(&told);
        sleep_badly(&panicking);
        // Neither the publisher nor the next one notices.
        assert_eq!(channel.publish(line("lost")), 4);
        assert_eq!(channel.publish(line("next")), 4);
        assert_eq!(channel.ingest.waiting(), Waiting::default());
        let texts = [&before, &panicking, &after, &told].map(|client| received(client));
        assert!(
            texts[0].contains("lost") && texts[0].contains("next"),
            "{texts:?}"
        );
        assert!(
            !texts[2].contains("lost") && texts[2].contains("next"),
            "{texts:?}"
        );
        assert!(
            texts[3].contains(r#""data":{"from":1,"to":1,"count":1}"#),
            "{texts:?}"
        );
        assert!(
            !texts[3].contains("lost") && texts[3].contains("next"),
            "{texts:?}"
        );
        let stats = core.totals.stats(4, 1, 4, Queues::default(), 0);
        let written: u64 = [&before, &panicking, &after, &told]
            .map(|client| client.written())
            .iter()
            .sum();
        assert_eq!(
            (stats.panicked, stats.offered),
            (1, written + stats.skipped),
            "{stats:?}"
        );
        assert_eq!((channel.seq(), channel.listeners()), (2, 4));
    }

    #[test]
    fn who_joins_or_leaves_in_the_look_that_panics_has_joined_or_left() {
        let core = Arc::new(HubShared::new(Config::default()));
        let name = ChannelName::parse("c").unwrap();
        let channel = Arc::new(Channel::new(core, Some(name), Overflow::Skip));
        let panicking = join(&channel, 1, None);
        sleep_badly(&panicking);
        // All in one look: while the flag is held nobody else seals.
        let answered = channel.sealer.request().unwrap();
        let leaving = Arc::new(Subscription::new(
            client(&channel, 2),
            Arc::clone(&channel),
            Encoding::Json,
            None,
        ));
        channel.join(&leaving);
        channel.publish(line("one"));
        let joining = join(&channel, 3, None);
        channel.leave(&leaving);
        channel.publish(line("two"));
        channel.seal_once();
        channel.sealer.give_up(answered);
        channel.publish(line("three"));
        let ids: Vec<u64> = channel
            .clients()
            .iter()
            .map(|client| client.id().0)
            .collect();
        assert_eq!(ids, [1, 3]);
        let text = received(&joining);
        assert!(
            !text.contains("one") && text.contains("two") && text.contains("three"),
            "{text}"
        );
        assert_eq!(
            (channel.seq(), channel.ingest.waiting()),
            (3, Waiting::default())
        );
    }
}
