//! The state that the threads of one round share: the phase, the measured window and the progress
//! counters.

use super::interval::LatencyInterval;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// The phase of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Clients join and lines flow.
    Run,
    /// All lines are fed. Stalled and slow clients read too, and no client joins any more.
    Drain,
    /// The server was told to end. Connections may close.
    Ending,
    /// Receivers return their results.
    Stop,
}

/// The shared state of one round.
///
/// Each atomic is a plain value that some threads set and others poll. No other data is published
/// through them, so Relaxed is enough everywhere.
#[derive(Debug)]
pub(crate) struct RoundControl {
    phase: AtomicU8,
    /// The time at which the first line is due.
    origin_ns: AtomicU64,
    /// The measured window.
    from_ns: AtomicU64,
    until_ns: AtomicU64,
    /// Lines fed so far.
    published: AtomicU64,
    /// The number of clients that stay for the whole round. They come first in `progress`.
    steady: usize,
    /// Per client, the lines received and the lines noticed missing.
    progress: Box<[AtomicU64]>,
    joined: AtomicU64,
    received: AtomicU64,
    skipped: AtomicU64,
    ended: AtomicU64,
    visits: AtomicU64,
    /// Connections that are open.
    open: AtomicU64,
    /// Clients that have to reconnect and have not done so yet.
    away: AtomicU64,
    overflows: AtomicU64,
    failed: AtomicU64,
    /// Collects the latencies of one interval.
    pub(crate) interval: LatencyInterval,
}

impl RoundControl {
    pub(crate) fn new(steady: usize, clients: usize) -> RoundControl {
        RoundControl {
            phase: AtomicU8::new(Phase::Run as u8),
            origin_ns: AtomicU64::new(u64::MAX),
            from_ns: AtomicU64::new(u64::MAX),
            until_ns: AtomicU64::new(u64::MAX),
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
            interval: LatencyInterval::new(),
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

    /// Sets the time of the first line and the measured window.
    ///
    /// Lines intended within the window count for latency. Lines that arrive within it count for
    /// throughput.
    pub(crate) fn set_window(&self, origin_ns: u64, window_ns: Range<u64>) {
        self.until_ns.store(window_ns.end, Relaxed);
        self.from_ns.store(window_ns.start, Relaxed);
        self.origin_ns.store(origin_ns, Relaxed);
    }

    pub(crate) fn window_ns(&self) -> Range<u64> {
        self.from_ns.load(Relaxed)..self.until_ns.load(Relaxed)
    }

    pub(crate) fn origin_ns(&self) -> u64 {
        self.origin_ns.load(Relaxed)
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

    /// Returns the progress of the slowest steady client. Linear in the number of clients.
    pub(crate) fn slowest_progress(&self) -> u64 {
        self.progress[..self.steady]
            .iter()
            .map(|p| p.load(Relaxed))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Returns the lines that one client received or noticed missing.
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

    /// Returns the lines that steady clients received, and the lines that they noticed missing.
    pub(crate) fn received(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.skipped.load(Relaxed))
    }

    pub(crate) fn add_ended(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Returns the number of clients that received the end of every channel or were disconnected.
    ///
    /// Churners do not count, since they need not be connected at the end.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    pub(crate) fn add_visit(&self) {
        self.visits.fetch_add(1, Relaxed);
    }

    pub(crate) fn visits(&self) -> u64 {
        self.visits.load(Relaxed)
    }

    /// Counts a connection that was opened, or one that was closed.
    pub(crate) fn set_open(&self, opened: bool) {
        if opened {
            self.open.fetch_add(1, Relaxed)
        } else {
            self.open.fetch_sub(1, Relaxed)
        };
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Counts a client that went away and has to reconnect, or one that has reconnected.
    pub(crate) fn set_away(&self, away: bool) {
        if away {
            self.away.fetch_add(1, Relaxed)
        } else {
            self.away.fetch_sub(1, Relaxed)
        };
    }

    /// Returns the number of clients that have to reconnect and have not done so yet.
    pub(crate) fn away(&self) -> u64 {
        self.away.load(Relaxed)
    }

    /// Counts a client that the server closed because a broadcast did not fit into its queue.
    pub(crate) fn add_overflow(&self) {
        self.overflows.fetch_add(1, Relaxed);
    }

    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// Reports that a receiver thread gave up. Its result has the reason.
    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Relaxed) > 0
    }
}
