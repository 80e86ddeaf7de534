//! One client's subscription to one channel.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use super::Channel;
use super::client::Client;
use super::seal::{SealToken, SealerCell};
use crate::encode::Encoding;
use crate::protocol::{Range, Since, SubscribeOptions};
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// Ranges that one subscription may have asked for and not yet received.
const MAX_REFETCHES: usize = 16;

/// One client's subscription to one channel, from its join to its leave.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) client: Arc<Client>,
    pub(crate) channel: Arc<Channel>,
    pub(crate) encoding: Encoding,
    /// The index in the channel's subscriber list. Only the sealer reads and writes it, and its
    /// flag orders the accesses: Relaxed.
    place: AtomicUsize,
    left: AtomicBool,
    /// Something pending found no room: the client's writer asks for it when there is room.
    pending: AtomicBool,
    /// `None` for a subscription without options, which is live from its join on and is told
    /// nothing.
    tracked: Option<Box<Tracked>>,
}

/// The additional state of a subscription with options.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Whether it is told of skipped messages.
    pub(super) gaps: bool,
    /// Whether it is shown the unfinished line.
    pub(super) partial: bool,
    /// The replay that it asked for at its join.
    pub(super) tail: Option<u64>,
    pub(super) since: Option<Since>,
    cursor: SealerCell<Cursor>,
}

/// The place of a subscription with options in its channel's numbering.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The subscription was told that it is subscribed, and its place is set.
    pub(super) announced: bool,
    pub(super) gap: Gap,
    /// The next message to be taken from the history; `None` when the subscription is live.
    pub(super) behind: Option<u64>,
    /// The ranges to be sent again.
    pub(super) refetches: VecDeque<Refetch>,
    /// The latest text of the unfinished line is to be shown.
    pub(super) owes_partial: bool,
    /// The subscriber was shown a text that is not empty.
    pub(super) has_partial: bool,
}

impl Cursor {
    /// Notes a range to be sent again. Returns false when too many are noted already.
    ///
    /// `next` is the number of the next message that is published. From that one on, everything
    /// comes from the history, after the replay.
    pub(super) fn ask_again(&mut self, range: Range, next: u64) -> bool {
        if self.refetches.len() >= MAX_REFETCHES {
            return false;
        }
        self.refetches.push_back(Refetch {
            range,
            replay: None,
            gap: Gap::default(),
        });
        if self.announced {
            self.behind.get_or_insert(next);
        }
        true
    }

    /// Returns whether new blocks have to wait for the replay.
    pub(super) fn is_deferred(&self) -> bool {
        !self.announced || self.behind.is_some() || !self.refetches.is_empty()
    }
}

/// The messages that a subscription missed and was not told of yet, by the number of the first one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap(Option<u64>);

impl Gap {
    /// A gap that begins at message `first`.
    pub(super) fn from(first: u64) -> Self {
        Self(Some(first))
    }

    /// Begins a gap at message `first`, unless one is open: then it goes on.
    pub(super) fn open(&mut self, first: u64) {
        self.0.get_or_insert(first);
    }

    /// Ends the gap.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }

    /// Returns whether a gap is open.
    pub(super) fn is_open(self) -> bool {
        self.0.is_some()
    }

    /// Returns the first message of the gap if it lies before message `next`.
    pub(super) fn before(self, next: u64) -> Option<u64> {
        self.0.filter(|&first| first < next)
    }
}

/// A range of messages to be sent again.
#[derive(Debug)]
pub(super) struct Refetch {
    pub(super) range: Range,
    /// Set once the replay was announced.
    pub(super) replay: Option<Announced>,
    /// A hole in the replay: messages that were dropped after it began.
    pub(super) gap: Gap,
}

/// An announced replay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    /// The next message to be sent.
    pub(super) next: u64,
    /// The first and the last message that were announced. An empty range ends before it begins.
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Subscription {
    /// Makes a subscription with these options, or a plain one without any.
    pub(crate) fn new(
        client: Arc<Client>,
        channel: Arc<Channel>,
        encoding: Encoding,
        options: Option<SubscribeOptions>,
    ) -> Self {
        let tracked = options.map(|options| {
            Box::new(Tracked {
                gaps: options.gaps,
                partial: options.partial,
                tail: options.tail,
                since: options.since,
                cursor: SealerCell::default(),
            })
        });
        Self {
            client,
            channel,
            encoding,
            place: AtomicUsize::new(usize::MAX),
            left: AtomicBool::new(false),
            pending: AtomicBool::new(false),
            tracked,
        }
    }

    pub(super) fn place(&self, _: &SealToken) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(super) fn set_place(&self, place: usize, _: &SealToken) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// Marks the subscriber as gone: passes that begin after this offer it nothing. Release, paired
    /// with the Acquire of [`Subscription::has_left`]. A pass that runs at this moment may still
    /// offer its block.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Returns whether the subscription has options.
    pub(crate) fn is_tracked(&self) -> bool {
        self.tracked.is_some()
    }

    pub(super) fn tracked(&self) -> Option<&Tracked> {
        self.tracked.as_deref()
    }

    /// Returns whether the subscriber is shown the unfinished line.
    pub(super) fn shows_partial(&self) -> bool {
        self.tracked().is_some_and(|tracked| tracked.partial)
    }

    /// Returns whether the subscriber is told of skipped messages.
    pub(super) fn tells_gaps(&self) -> bool {
        self.tracked().is_some_and(|tracked| tracked.gaps)
    }

    /// Asks the client's writer to come back for this subscription when it has room. The sealer
    /// tries once more after this: see
    /// [`Outbox::mark_pending`](crate::outbox::Outbox::mark_pending).
    pub(super) fn mark_pending(&self) {
        // Relaxed: `Outbox::mark_pending` releases it.
        self.pending.store(true, Ordering::Relaxed);
        self.client.outbox.mark_pending();
    }

    /// Returns whether something is pending. Relaxed: a hint for callers that look again.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Returns whether something was pending, which the caller then sees to.
    pub(super) fn take_pending(&self) -> bool {
        self.pending.swap(false, Ordering::AcqRel)
    }
}

impl Tracked {
    /// Opens the subscription's place. A panic in an earlier pass leaves numbers that still add up.
    pub(super) fn cursor(&self, token: &SealToken) -> MutexGuard<'_, Cursor> {
        self.cursor.open(token)
    }
}
