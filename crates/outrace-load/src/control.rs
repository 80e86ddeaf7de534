//! What the threads of one round share: the phase, the measured window, and the counters that show how far they are.

use crate::interval::Interval;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Width of a bucket of the timeline.
pub(crate) const BUCKET: u64 = 100 * crate::clock::MILLISECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Clients join, lines flow.
    Run,
    /// All lines are fed: stalled and slow clients read too, nobody joins any more.
    Drain,
    /// The server was told to end: connections may close.
    Ending,
    /// Receivers return what they have.
    Stop,
}

/// Every field is a plain value that one thread sets and others look at now and then; nothing else is published
/// through them, so Relaxed is enough everywhere.
#[derive(Debug)]
pub(crate) struct Control {
    phase: AtomicU8,
    /// When the first line is due.
    origin: AtomicU64,
    from: AtomicU64,
    until: AtomicU64,
    published: AtomicU64,
    /// Per client, lines received and lines noticed missing; the first `steady` are there all the time.
    steady: usize,
    progress: Box<[AtomicU64]>,
    joined: AtomicU64,
    received: AtomicU64,
    skipped: AtomicU64,
    ended: AtomicU64,
    visits: AtomicU64,
    /// Connections that are open, and those of clients that are on their way back.
    open: AtomicU64,
    away: AtomicU64,
    overflows: AtomicU64,
    failed: AtomicU64,
    /// The latencies since it was last asked.
    pub(crate) interval: Interval,
}

impl Control {
    pub(crate) fn new(steady: usize, clients: usize) -> Control {
        Control {
            phase: AtomicU8::new(Phase::Run as u8),
            origin: AtomicU64::new(u64::MAX),
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            published: AtomicU64::new(0),
            steady,
            progress: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            joined: AtomicU64::new(0),
            received: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            visits: AtomicU64::new(0),
            open: AtomicU64::new(0),
            away: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            interval: Interval::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Run,
            1 => Phase::Drain,
            2 => Phase::Ending,
            _ => Phase::Stop,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Lines intended within `from..until` count for latency, what arrives within it for throughput.
    pub(crate) fn measure(&self, origin: u64, from: u64, until: u64) {
        self.until.store(until, Relaxed);
        self.from.store(from, Relaxed);
        self.origin.store(origin, Relaxed);
    }

    pub(crate) fn window(&self) -> std::ops::Range<u64> {
        self.from.load(Relaxed)..self.until.load(Relaxed)
    }

    pub(crate) fn origin(&self) -> u64 {
        self.origin.load(Relaxed)
    }

    pub(crate) fn set_published(&self, lines: u64) {
        self.published.store(lines, Relaxed);
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set_progress(&self, client: usize, lines: u64) {
        if let Some(progress) = self.progress.get(client) {
            progress.store(lines, Relaxed);
        }
    }

    /// Lines the slowest steady client is done with. Linear in the number of clients.
    pub(crate) fn slowest(&self) -> u64 {
        self.progress[..self.steady]
            .iter()
            .map(|p| p.load(Relaxed))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Lines that one client is done with.
    pub(crate) fn progress(&self, client: usize) -> u64 {
        self.progress
            .get(client)
            .map_or(0, |progress| progress.load(Relaxed))
    }

    pub(crate) fn add_joined(&self) {
        self.joined.fetch_add(1, Relaxed);
    }

    pub(crate) fn joined(&self) -> u64 {
        self.joined.load(Relaxed)
    }

    pub(crate) fn add_received(&self, received: u64, skipped: u64) {
        self.received.fetch_add(received, Relaxed);
        if skipped > 0 {
            self.skipped.fetch_add(skipped, Relaxed);
        }
    }

    /// Lines that steady clients received, and lines they noticed missing.
    pub(crate) fn received(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.skipped.load(Relaxed))
    }

    pub(crate) fn add_ended(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Clients due to be there at the end that have the end of every channel, or were closed.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    pub(crate) fn add_visit(&self) {
        self.visits.fetch_add(1, Relaxed);
    }

    pub(crate) fn visits(&self) -> u64 {
        self.visits.load(Relaxed)
    }

    pub(crate) fn set_open(&self, opened: bool) {
        if opened {
            self.open.fetch_add(1, Relaxed)
        } else {
            self.open.fetch_sub(1, Relaxed)
        };
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// A client that has to come back has gone, or has come back.
    pub(crate) fn set_away(&self, away: bool) {
        if away {
            self.away.fetch_add(1, Relaxed)
        } else {
            self.away.fetch_sub(1, Relaxed)
        };
    }

    /// Clients that are to be there and are not, or not yet.
    pub(crate) fn away(&self) -> u64 {
        self.away.load(Relaxed)
    }

    /// The server closed a client because a message for everybody did not fit into its queue.
    pub(crate) fn add_overflow(&self) {
        self.overflows.fetch_add(1, Relaxed);
    }

    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// A receiver thread gave up; its result says why.
    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Relaxed) > 0
    }
}
