//! Stages 1, 2 and 4: from a push to the outboxes of all subscribers.
//!
//! ```text
//! publish ──▶ ingest ──▶ seal ──▶ block ──▶ (encode) ──▶ fan out ──▶ outboxes
//! join/leave ─┘  one queue, one order                    snapshot
//! ```
//!
//! No thread waits for another: a publisher pushes and, if the hub's pace allows it or much is
//! waiting, tries to become the sealer. A sealer makes another pass when others pushed meanwhile.
//!
//! The files call each other in one direction: this one, `recover`, `pass`, `sealer`, `replay`,
//! `delivery`. All of them know `state`.

mod alarm;
mod block;
mod client;
mod client_extensions;
mod clock;
mod delivery;
mod epoch;
mod history;
pub(crate) mod home;
mod ingest;
mod interest;
mod joining;
mod listing;
mod lossless;
pub(crate) mod mirror;
mod numbering;
mod open_piece;
mod overflow_row;
mod pace;
mod partial;
mod pass;
mod pending;
mod pins;
mod profile;
mod publisher;
mod reading;
mod recorder;
mod recover;
mod registry;
mod replay;
mod role;
mod seal;
mod sealer;
mod shared;
mod sharing;
mod size_bound;
mod state;
mod subscribers;
mod subscription;
mod tally;
#[cfg(test)]
mod testing;
mod ticker;
mod ticker_task;
mod transition;

use std::sync::Arc;
use std::time::Duration;

use crate::encode::Timestamp;
use crate::message::Message;
use crate::protocol::Range;
use crate::reason::RefusalReason;
use crate::sync::Ordering;

pub use client::{Client, ClientId};
pub use client_extensions::ClientExtensions;
pub use lossless::Lossless;
pub use publisher::Publisher;
pub use reading::Wanted;

pub(crate) use block::Run;
pub(crate) use client::{ClientKind, Presence};
pub(crate) use ingest::Origin;
pub(crate) use interest::Interest;
pub(crate) use pending::PendingRun;
pub(crate) use profile::Overflow;
pub(crate) use reading::Kept;
pub(crate) use registry::{ChannelLimit, Registry};
pub(crate) use role::HomeNumbering;
pub(crate) use shared::HubShared;
pub(crate) use sharing::{Export, SealedExport, Sharing};
#[cfg(feature = "server")]
pub(crate) use size_bound::is_publishable;
pub(crate) use state::Channel;
pub(crate) use subscription::Subscription;
pub(crate) use ticker_task::start_ticker;

use block::Block;
use ingest::{Entry, Pushed};
use seal::PassUnderway;
use sealer::Sealer;
use size_bound::TooLong;
use state::ChannelOwner;
use ticker::Flush;

/// The most passes that one thread makes in a row because there are further requests, before it
/// leaves the rest to the ticker: a publisher's call must end.
const MAX_PASSES_IN_A_ROW: usize = 4;

/// The time between two looks of [`Channel::sealed`].
const SEALED_POLL_INTERVAL: Duration = Duration::from_millis(1);

impl Channel {
    /// Publishes a run of messages and returns the number of subscribers. Never blocks, and never
    /// waits for a socket.
    ///
    /// This usually costs a push. When the pace allows it or much is waiting it costs a seal: one
    /// encoding, and a constant for each subscriber. Lines that are longer than a message may be
    /// are cut first.
    pub(crate) fn publish(self: &Arc<Self>, run: Run) -> usize {
        if self.profile.size_bound.surely_holds(&run) {
            self.publish_fitting(run)
        } else {
            self.publish_long(run)
        }
    }

    /// Publishes a run after its long lines were cut. A message that is too long and can't be cut
    /// is not published but counted.
    #[cold]
    fn publish_long(self: &Arc<Self>, run: Run) -> usize {
        let is_line = matches!(run, Run::Line(_) | Run::Lines(_));
        if is_line && !self.is_wanted() {
            return self.publish_fitting(run);
        }
        match self.profile.fit(run) {
            Ok(run) => self.publish_fitting(run),
            Err(TooLong) => {
                // Only counted: an event of tracing would be published by whoever publishes its
                // log.
                self.shared.recorder.refused(RefusalReason::MessageSize);
                0
            }
        }
    }

    /// Publishes a run whose messages fit.
    fn publish_fitting(self: &Arc<Self>, run: Run) -> usize {
        let ends_process = self.note_run(&run);
        let listeners = self.listeners();
        let messages = run.messages();
        if messages == 0 || (listeners == 0 && !self.is_always_pushed()) {
            self.count_unwatched(messages as u64);
            if ends_process {
                self.show_partial(b"");
            }
            return listeners;
        }
        let pushed = self.push(Entry::Run(run));
        if ends_process {
            // Behind its last line and its status.
            self.show_partial(b"");
        }
        self.hold();
        self.seal_pushed(pushed);
        listeners
    }

    /// Returns the run with its long lines cut, or counts and drops a message that is too long and
    /// can't be cut.
    fn fit(&self, run: Run) -> Option<Run> {
        if self.profile.size_bound.surely_holds(&run) {
            return Some(run);
        }
        let fitting = self.profile.fit(run).ok();
        if fitting.is_none() {
            self.shared.recorder.refused(RefusalReason::MessageSize);
        }
        fitting
    }

    /// Publishes a message that came over a bridge or from another node with its timestamp. It is
    /// not sent to where it came from.
    ///
    /// It is a block of its own, so that no other message pays for a timestamp that differs.
    pub(crate) fn import(self: &Arc<Self>, message: Message, timestamp: Timestamp, origin: Origin) {
        let Some(run) = self.fit(Run::Message(Box::new(message))) else {
            return;
        };
        let ends_process = self.note_run(&run);
        if self.listeners() > 0 || self.keeps_history() || self.is_wanted_elsewhere() {
            let mut block = Block::with_capacity(1);
            block.push(run);
            block.seal(0, timestamp, 0);
            let pushed = self.push(Entry::Imported(Box::new(block), origin));
            self.hold();
            self.seal_pushed(pushed);
        } else {
            self.count_unwatched(run.messages() as u64);
        }
        if ends_process {
            self.show_partial(b"");
        }
    }

    /// Has the channel sealed after a push of messages.
    #[inline]
    fn seal_pushed(self: &Arc<Self>, pushed: Pushed) {
        match pushed {
            Pushed::Accepted(waiting) if waiting.exceeds(self.shared.enough_waiting) => {
                self.seal();
            }
            Pushed::Accepted(_) => self.seal_soon(),
            Pushed::Dropped { first } => self.relieve(first),
        }
    }

    /// Has a channel sealed whose queue is full, or else lets the thread that seals it run.
    ///
    /// The yield is what keeps goodput when many threads flood one channel: while the sealer's
    /// thread is preempted, they would spend their time slices on messages that find no room. With
    /// eight publishers on two busy cores, one subscriber got 1 % of what it got from one
    /// publisher, and gets two thirds (`benches/flood.rs`).
    #[cold]
    fn relieve(self: &Arc<Self>, first: bool) {
        let has_sealed = (first || self.sealer.is_idle()) && self.seal();
        if !has_sealed {
            std::thread::yield_now();
        }
    }

    /// Adds a subscriber, which gets every message pushed after this returned. Returns true when it
    /// is the only one.
    pub(crate) fn join(self: &Arc<Self>, subscription: &Arc<Subscription>) -> bool {
        if subscription.shows_partial() {
            self.watch_partial();
        }
        self.push(Entry::Join(Arc::clone(subscription)));
        // AcqRel, after the push: a publisher that sees the new count pushes behind the join.
        let first = self.listeners.fetch_add(1, Ordering::AcqRel) == 0;
        if first && self.name().is_some() && !self.is_held() && self.status().is_none() {
            self.note_listed();
        }
        self.seal_soon();
        first
    }

    /// Removes a subscriber. It gets no message that is pushed from now on, and none that waits
    /// unsealed. Returns true when it was the last one.
    ///
    /// To be called once for each subscription.
    pub(crate) fn leave(self: &Arc<Self>, subscription: &Arc<Subscription>) -> bool {
        subscription.leave();
        if subscription.shows_partial() {
            self.unwatch_partial();
        }
        let last = self.listeners.fetch_sub(1, Ordering::AcqRel) == 1;
        self.push(Entry::Leave(Arc::clone(subscription)));
        self.seal_soon();
        last
    }

    /// Returns the pass that may still offer something to a subscriber that left before this call;
    /// `None` when there is none.
    pub(crate) fn offers_underway(self: &Arc<Self>) -> Option<OffersUnderway> {
        Some(OffersUnderway {
            underway: self.sealer.underway()?,
            channel: Arc::clone(self),
        })
    }

    /// Gives a subscriber what is pending for it, now that it has room.
    pub(crate) fn resume(self: &Arc<Self>, subscription: &Arc<Subscription>) {
        self.push(Entry::Resume(Arc::clone(subscription)));
        self.seal();
    }

    /// Sends a subscriber a range of messages again.
    pub(crate) fn refetch(self: &Arc<Self>, subscription: &Arc<Subscription>, range: Range) {
        self.push(Entry::Refetch(Arc::clone(subscription), range));
        self.seal();
    }

    /// Answers a client's ping once the channel, which is a mirror, has caught up with its source.
    pub(crate) fn answer_when_synced(self: &Arc<Self>, client: Arc<Client>) {
        self.push(Entry::Ping(client));
        self.seal_soon();
    }

    /// Shows the unfinished line, at its place among what is published.
    fn push_partial(self: &Arc<Self>) {
        self.push(Entry::Partial);
        self.seal_soon();
    }

    /// Drops the history that is too old.
    fn trim(self: &Arc<Self>) {
        self.push(Entry::Trim);
        self.seal();
    }

    /// Drops the history.
    fn forget(self: &Arc<Self>) {
        self.push(Entry::Forget);
        self.seal();
    }

    fn push(&self, entry: Entry) -> Pushed {
        self.ingest.push(entry, self.shared.most_waiting)
    }

    /// Pushes messages if there is room for them.
    fn try_push(&self, entry: Entry) -> Result<Pushed, Entry> {
        self.ingest.try_push(entry, self.shared.most_waiting)
    }

    /// Has the channel sealed: now if the pace allows it, else at the next tick.
    fn seal_soon(self: &Arc<Self>) {
        if !self.scheduled.raise() {
            return;
        }
        let now = self.shared.clock.now();
        self.note_asked(now);
        if self.shared.clock.is_flush_due(now) || !self.shared.ticker.is_running() {
            self.seal_scheduled();
        } else {
            self.schedule();
        }
    }

    /// Has the ticker seal the channel.
    fn schedule(self: &Arc<Self>) {
        let channel: Arc<dyn Flush> = Arc::<Self>::clone(self);
        self.shared.ticker.schedule(channel);
    }

    /// Seals what raised `scheduled`.
    fn seal_scheduled(self: &Arc<Self>) {
        self.scheduled.lower();
        self.seal();
    }

    /// Seals what waits. Returns false when another thread is the sealer, which then makes another
    /// pass.
    pub(crate) fn seal(self: &Arc<Self>) -> bool {
        let Some(mut sealer) = Sealer::request(self) else {
            return false;
        };
        let mut passes = 0;
        while passes < MAX_PASSES_IN_A_ROW || !self.shared.ticker.is_running() {
            recover::pass(&sealer);
            passes += 1;
            match sealer.done() {
                None => return true,
                Some(again) => sealer = again,
            }
        }
        // Others keep pushing. The flag is given up first, so that either the ticker or the next
        // publisher finds it free.
        sealer.give_up();
        if self.scheduled.raise() {
            self.schedule();
        }
        true
    }

    /// Has everything sealed that was pushed before this call. Waits while another thread seals
    /// that, but not for what is pushed meanwhile.
    pub(crate) async fn sealed(self: &Arc<Self>) {
        let passes = self.sealer.passes();
        while !self.seal() && self.sealer.passes().wrapping_sub(passes) < 2 {
            tokio::time::sleep(SEALED_POLL_INTERVAL).await;
        }
    }
}

impl Flush for Channel {
    fn flush(self: Arc<Self>) {
        self.seal_scheduled();
    }
}

/// A pass of a channel's sealer that may not have seen that a subscriber left.
#[derive(Debug)]
pub(crate) struct OffersUnderway {
    channel: Arc<Channel>,
    underway: PassUnderway,
}

impl OffersUnderway {
    /// Returns whether the pass has ended, so that nothing more is offered to that subscriber.
    pub(crate) fn are_over(&self) -> bool {
        self.channel.sealer.is_over(&self.underway)
    }
}
