//! One client's subscription to one channel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Channel;
use super::client::Client;
use crate::encode::Encoding;
use crate::protocol::{Range, Since, SubscribeOptions};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, lock};

/// One client's subscription to one channel, from its join to its leave.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) client: Arc<Client>,
    pub(crate) channel: Arc<Channel>,
    pub(crate) encoding: Encoding,
    /// Where it stands in the channel's subscriber set. Written and read by the sealer alone, whose flag orders it: Relaxed.
    place: AtomicUsize,
    left: AtomicBool,
    /// The sealer could not give it all it is owed: its client's writer is to ask for it when there is room.
    owed: AtomicBool,
    /// `None` for a subscription without options: it is live from its join on, and is told nothing.
    tracked: Option<Box<Tracked>>,
}

/// What a subscription with options keeps beside.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Whether it is told of what was skipped.
    pub(crate) gaps: bool,
    /// What it asked to be replayed first.
    pub(crate) tail: Option<u64>,
    pub(crate) since: Option<Since>,
    /// The sealer's: locked by one thread at a time, so nobody ever waits for it.
    state: Mutex<State>,
}

/// Where a subscription with options stands in its channel's numbering.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// It has been told that it is subscribed, and its place is set.
    pub(crate) welcomed: bool,
    /// The first message of a gap it has not been told of.
    pub(crate) gap: Option<u64>,
    /// The next message to be taken from the history; `None` when it is live.
    pub(crate) behind: Option<u64>,
    /// What it asked to be sent again.
    pub(crate) refetches: VecDeque<Refetch>,
}

impl State {
    /// Notes a range to be sent again; false for one too many. `next` is the number of the next message published: from
    /// that on all comes from the history, after the replay.
    pub(crate) fn ask_again(&mut self, range: Range, next: u64) -> bool {
        if self.refetches.len() >= MAX_REFETCHES {
            return false;
        }
        self.refetches.push_back(Refetch {
            range,
            begun: None,
            gap: None,
        });
        if self.welcomed {
            self.behind.get_or_insert(next);
        }
        true
    }

    /// Whether a new block is not for it yet.
    pub(crate) fn is_deferred(&self) -> bool {
        !self.welcomed || self.behind.is_some() || !self.refetches.is_empty()
    }
}

/// A range of messages to be sent again.
#[derive(Debug)]
pub(crate) struct Refetch {
    pub(crate) range: Range,
    /// Set once the replay has begun: what comes next, what was announced.
    pub(crate) begun: Option<(u64, u64, u64)>,
    /// The first message of a hole in the replay that it has not been told of: what was dropped since it began.
    pub(crate) gap: Option<u64>,
}

/// Ranges a subscription may have asked for and not yet got.
const MAX_REFETCHES: usize = 16;

impl Subscription {
    /// A subscription as the options ask for; without any, a plain one.
    pub(crate) fn new(
        client: Arc<Client>,
        channel: Arc<Channel>,
        encoding: Encoding,
        options: Option<SubscribeOptions>,
    ) -> Self {
        let tracked = options.map(|options| {
            Box::new(Tracked {
                gaps: options.gaps,
                tail: options.tail,
                since: options.since,
                state: Mutex::default(),
            })
        });
        Self {
            client,
            channel,
            encoding,
            place: AtomicUsize::new(usize::MAX),
            left: AtomicBool::new(false),
            owed: AtomicBool::new(false),
            tracked,
        }
    }

    pub(crate) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// From now on nothing more is offered. Release, paired with the Acquire of [`Subscription::has_left`]; a seal that runs at this very
    /// moment may still offer its block.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    pub(crate) fn tracked(&self) -> Option<&Tracked> {
        self.tracked.as_deref()
    }

    /// Asks the client's writer to come back for this subscription when it has room. The sealer tries once more after this: see
    /// [`Client::owe`].
    pub(crate) fn owe(&self) {
        // Relaxed: `Client::owe` releases it.
        self.owed.store(true, Ordering::Relaxed);
        self.client.owe();
    }

    /// Whether something is owed. Relaxed: a hint for those who look again.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// Whether something was owed; the caller sees to it.
    pub(crate) fn take_owed(&self) -> bool {
        self.owed.swap(false, Ordering::AcqRel)
    }
}

impl Tracked {
    /// For the sealer alone. A panic while it was held leaves numbers that still add up.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
