//! The state of one channel, and what every other file asks of it.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use super::block::{Run, Style};
use super::client::Client;
use super::epoch::Epoch;
use super::history::History;
use super::ingest::Ingest;
use super::mirror::MirrorState;
use super::numbering::Numbering;
use super::open_piece::LastPiece;
use super::partial::PartialLine;
use super::pins::Pins;
use super::profile::{Overflow, Profile};
use super::seal::{ScheduleFlag, SealFlag, SealerCell};
use super::shared::HubShared;
use super::size_bound::SizeBound;
use super::subscribers::Subscribers;
use crate::encode::Envelope;
use crate::message::{ChannelName, LOST, Message, Status, StatusReport};
use crate::stats::ChannelStats;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, lock};

/// The most lines in one batch frame. By then the envelope's share of a line is about a byte, and
/// the room of a queue is still used finely.
const MAX_BATCH_LINES: usize = 128;

/// What a channel asks of the collection that keeps it.
pub(super) trait ChannelOwner: Send + Sync {
    /// Takes back the pin of the channel's history, which is empty.
    fn release(&self, channel: &Arc<Channel>);

    /// Makes room for histories, which hold `held_bytes` together.
    fn make_room(&self, held_bytes: usize);
}

/// The status of a channel's process.
#[derive(Debug)]
struct NotedStatus {
    report: StatusReport,
    /// Whether the process runs where the home of this mirror is.
    is_elsewhere: bool,
}

/// One channel: its queue of pushes, its numbering, its subscribers.
pub(crate) struct Channel {
    pub(super) shared: Arc<HubShared>,
    pub(super) profile: Profile,
    pub(super) ingest: Ingest,
    pub(super) subscribers: Subscribers,
    /// The number of subscriptions that have joined. It is what publishers are told, and whether
    /// they need to push at all.
    pub(super) listeners: AtomicUsize,
    /// The registry keeps the channel while there are any.
    pub(super) pins: Pins,
    pub(super) sealer: SealFlag,
    /// Raised while the ticker is to seal this channel.
    pub(super) scheduled: ScheduleFlag,
    pub(super) numbering: Numbering,
    pub(super) last_piece: LastPiece,
    pub(super) partial: PartialLine,
    /// The last blocks, when the hub keeps them.
    pub(super) history: Option<SealerCell<History>>,
    /// Whether messages matter without subscribers here: there is a history, a bridge, or somebody
    /// elsewhere who may want them. Relaxed, see `set_pushed`.
    pub(super) always_pushed: AtomicBool,
    /// Whether the registry keeps the channel for messages that were pushed.
    holds_messages: bool,
    /// `None` for a channel that numbers its messages itself.
    pub(super) mirror: Option<MirrorState>,
    /// Bytes that the history holds.
    pub(super) kept_bytes: AtomicUsize,
    /// The collection that keeps the channel; `None` for the channel of all clients.
    owner: Option<Weak<dyn ChannelOwner>>,
    skipped: AtomicU64,
    dropped: AtomicU64,
    /// The time of the last publication or replay, in nanoseconds since the hub began.
    used_at: AtomicU64,
    /// The time at which the flush that is due was asked for, by the same clock; 0 when none was.
    /// For reports alone.
    asked_at: AtomicU64,
    /// The last status published. Locked by publishers of a status and by callers that ask for it;
    /// no line comes here.
    status: Mutex<Option<NotedStatus>>,
}

impl Channel {
    pub(crate) fn new(
        shared: Arc<HubShared>,
        name: Option<ChannelName>,
        overflow: Overflow,
    ) -> Self {
        // The channel of all clients has neither latecomers nor options.
        let history = (name.is_some() && shared.keeps_history()).then(SealerCell::default);
        let shares = shared.sharing.is_some();
        let mirror =
            (name.is_some() && shared.interest.is_some()).then(|| MirrorState::new(shares));
        let always_pushed = history.is_some() || shared.exports.is_some() || shares;
        let holds_messages = history.is_some() || (name.is_some() && shares);
        let envelope = Envelope::new(name.as_ref());
        let max_message = shared.config.max_outgoing_message;
        Self {
            profile: Profile {
                size_bound: SizeBound::new(max_message, &envelope),
                style: Style {
                    envelope,
                    max_message,
                    epoch: Epoch::new(shared.epoch()),
                    batch_lines: (shared.config.queue / 2).clamp(1, MAX_BATCH_LINES),
                },
                name,
                overflow,
            },
            shared,
            ingest: Ingest::new(),
            subscribers: Subscribers::default(),
            listeners: AtomicUsize::new(0),
            pins: Pins::default(),
            sealer: SealFlag::default(),
            scheduled: ScheduleFlag::default(),
            numbering: Numbering::default(),
            last_piece: LastPiece::default(),
            partial: PartialLine::default(),
            always_pushed: AtomicBool::new(always_pushed),
            holds_messages,
            history,
            mirror,
            kept_bytes: AtomicUsize::new(0),
            owner: None,
            skipped: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            used_at: AtomicU64::new(0),
            asked_at: AtomicU64::new(0),
            status: Mutex::default(),
        }
    }

    /// Names the collection that keeps the channel.
    pub(super) fn owned_by(self, owner: Weak<dyn ChannelOwner>) -> Self {
        Self {
            owner: Some(owner),
            ..self
        }
    }

    pub(super) fn owner(&self) -> Option<Arc<dyn ChannelOwner>> {
        self.owner.as_ref()?.upgrade()
    }

    pub(crate) fn name(&self) -> Option<&ChannelName> {
        self.profile.name.as_ref()
    }

    /// Returns the name of the numbering. Another channel of the same name begins another
    /// numbering.
    pub(crate) fn epoch(&self) -> Arc<String> {
        self.profile.style.epoch.name()
    }

    /// Returns the number of the last sealed message.
    pub(crate) fn seq(&self) -> u64 {
        self.numbering.last()
    }

    /// Returns the number of messages published to this channel since it exists.
    pub(crate) fn published(&self) -> u64 {
        self.numbering.published()
    }

    /// Counts messages that need no push because the channel has no subscribers.
    pub(crate) fn count_unwatched(&self, messages: u64) {
        self.numbering.count_unnumbered(messages);
    }

    /// Returns the number of bytes that the history holds.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether the channel keeps a history.
    pub(super) fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    /// Returns whether subscriptions with options have to wait for the source of a mirror.
    pub(super) fn is_unsynced(&self) -> bool {
        self.mirror
            .as_ref()
            .is_some_and(|mirror| !mirror.is_synced())
    }

    /// Returns the epoch and the number of the last message sealed in it.
    pub(crate) fn position(&self) -> (Arc<String>, u64) {
        self.profile.style.epoch.with(|| self.seq())
    }

    /// Returns whether messages are pushed although the channel has no subscribers here.
    #[inline]
    pub(super) fn is_always_pushed(&self) -> bool {
        self.always_pushed.load(Ordering::Relaxed)
    }

    /// Returns whether messages matter without subscribers and without other nodes.
    pub(super) fn is_always_pushed_here(&self) -> bool {
        self.keeps_history() || self.shared.exports.is_some()
    }

    /// Has the registry keep the channel for messages that were just pushed.
    pub(super) fn hold(&self) {
        if self.holds_messages {
            self.pins.hold();
        }
    }

    /// Returns whether the registry keeps the channel for its history.
    pub(super) fn is_held(&self) -> bool {
        self.pins.is_held()
    }

    /// Gives up the pin of an empty history. The channel goes unless more is on its way to it, or
    /// it has subscribers or publishers.
    pub(super) fn let_go(self: &Arc<Self>) {
        if self.pins.let_go(|| self.ingest.len() > 0)
            && let Some(owner) = self.owner()
        {
            owner.release(self);
        }
    }

    /// Returns the number of subscribers.
    pub(crate) fn listeners(&self) -> usize {
        // Acquire, paired with the AcqRel of `join`: a publisher that sees a subscriber here pushes
        // after its join.
        self.listeners.load(Ordering::Acquire)
    }

    /// Returns whether a message published now reaches a subscriber or a bridge, or is kept.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_always_pushed() || self.listeners() > 0
    }

    /// Returns whether a message published now waits for the hub's next flush.
    #[cfg(feature = "process")]
    pub(crate) fn is_paced(&self) -> bool {
        let clock = &self.shared.clock;
        self.listeners() > 0 && !clock.is_flush_due(clock.now())
    }

    /// Returns the clients subscribed now.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        let snapshot = self.subscribers.snapshot();
        snapshot
            .iter()
            .filter(|subscription| !subscription.has_left())
            .map(|subscription| Arc::clone(&subscription.client))
            .collect()
    }

    /// Returns the number of messages x subscribers that were skipped.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    pub(super) fn count_skipped(&self, messages: u64) {
        self.skipped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Returns the number of messages that found the channel's queue full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn count_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
        self.shared.recorder.dropped(messages);
    }

    /// Returns the last status published. Of several publishers' statuses it is the one that came
    /// here last.
    pub(crate) fn status(&self) -> Option<StatusReport> {
        lock(&self.status)
            .as_ref()
            .map(|noted| noted.report.clone())
    }

    pub(super) fn note_status(&self, message: &Message) {
        self.note_status_from(message, false);
    }

    /// Takes note of a status. `is_elsewhere` says that the home of a mirror told it.
    pub(super) fn note_status_from(&self, message: &Message, is_elsewhere: bool) {
        let Some(report) = message.status_report() else {
            return;
        };
        let noted = NotedStatus {
            report,
            is_elsewhere,
        };
        if lock(&self.status).replace(noted).is_none() {
            self.note_listed();
        } else {
            self.note_unlisted();
        }
    }

    /// Takes note that the home that this channel mirrored is gone: a process that ran there is
    /// lost. What was published here since is kept.
    pub(super) fn lose_status_of_home(&self) {
        if let Some(noted) = &mut *lock(&self.status)
            && noted.is_elsewhere
            && noted.report.status.is_running()
        {
            noted.report.status = Status::from(LOST);
            noted.is_elsewhere = false;
        }
    }

    /// Tells those who wait for a channel to appear in the list of channels.
    pub(super) fn note_listed(&self) {
        self.shared.listing.change();
        self.note_unlisted();
    }

    /// Tells other nodes that the list of channels may show something else for this channel.
    pub(super) fn note_unlisted(&self) {
        if let (Some(sharing), Some(name)) = (&self.shared.sharing, self.name()) {
            sharing.listed.note(name);
        }
    }

    /// Takes note of a run that is about to be published. Returns whether it ends the process.
    #[inline]
    pub(super) fn note_run(&self, run: &Run) -> bool {
        match run {
            Run::Message(message) => {
                self.note_status(message);
                message.ends_process()
            }
            _ => false,
        }
    }

    /// Returns the channel's counters, or `None` if it has neither subscribers nor history nor
    /// status.
    pub(crate) fn report(&self) -> Option<ChannelStats> {
        let status = self.status();
        let (subscribers, kept_bytes) = (self.listeners(), self.kept_bytes());
        if subscribers == 0 && kept_bytes == 0 && status.is_none() {
            return None;
        }
        let (epoch, seq) = self.position();
        Some(ChannelStats {
            channel: self.name()?.clone(),
            subscribers,
            published: self.published(),
            skipped: self.skipped(),
            dropped: self.dropped(),
            epoch: epoch.to_string(),
            seq,
            kept_bytes,
            status,
            node: None,
        })
    }

    /// Returns the time of the last publication or replay, in nanoseconds since the hub began.
    pub(super) fn last_used(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// Notes a publication or replay at `now`.
    pub(super) fn touch(&self, now: u64) {
        self.used_at.store(now, Ordering::Relaxed);
    }

    /// Notes that a flush was asked for at `now`.
    pub(super) fn note_asked(&self, now: u64) {
        self.asked_at.store(now, Ordering::Relaxed);
    }

    /// Takes the time at which the flush was asked for. Relaxed, and no swap: it is for reports,
    /// and a time that is lost between the two lines is one less in them.
    pub(super) fn take_asked(&self) -> u64 {
        let asked = self.asked_at.load(Ordering::Relaxed);
        self.asked_at.store(0, Ordering::Relaxed);
        asked
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("name", &self.name())
            .field("listeners", &self.listeners())
            .field("published", &self.published())
            .field("skipped", &self.skipped())
            .finish_non_exhaustive()
    }
}
