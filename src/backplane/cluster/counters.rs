//! What a node of a cluster counts.

use crate::backplane::{BackplaneReport, BackplaneStats};
use crate::histogram::Histogram;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The bounds of the lag, in microseconds.
static LAGS: [u64; 10] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_000_000, 10_000_000,
];
const MICROSECONDS_PER_SECOND: f64 = 1e6;

/// A number that only grows. Every access is Relaxed: it is a tally that orders nothing.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

/// A number that says how things are now. Every access is Relaxed: it orders nothing.
#[derive(Debug, Default)]
pub(super) struct Level(AtomicUsize);

impl Tally {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes over a number that something else counts.
    pub(super) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Level {
    pub(super) fn set(&self, level: usize) {
        self.0.store(level, Ordering::Relaxed);
    }

    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, less: usize) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a node. [`BackplaneStats`] says what each of them means.
#[derive(Debug)]
pub(super) struct Counters {
    connected: AtomicBool,
    pub(super) reconnects: Tally,
    pub(super) nodes: Level,
    pub(super) homes: Level,
    pub(super) stale: Level,
    pub(super) mirrors: Level,
    pub(super) lease_changes: Tally,
    pub(super) exported: Tally,
    pub(super) imported: Tally,
    pub(super) skipped: Tally,
    pub(super) repaired: Tally,
    pub(super) lost: Tally,
    pub(super) damaged: Tally,
    pub(super) overrun: Tally,
    pub(super) forwarded: Tally,
    pub(super) waiting_bytes: Level,
    lag: Histogram<10>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            connected: AtomicBool::default(),
            reconnects: Tally::default(),
            nodes: Level::default(),
            homes: Level::default(),
            stale: Level::default(),
            mirrors: Level::default(),
            lease_changes: Tally::default(),
            exported: Tally::default(),
            imported: Tally::default(),
            skipped: Tally::default(),
            repaired: Tally::default(),
            lost: Tally::default(),
            damaged: Tally::default(),
            overrun: Tally::default(),
            forwarded: Tally::default(),
            waiting_bytes: Level::default(),
            lag: Histogram::new(&LAGS),
        }
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Counts a block that was sealed at its home at `sealed_ms` and is delivered here at `now_ms`,
    /// both in milliseconds since 1970-01-01T00:00:00Z.
    pub(super) fn count_lag(&self, sealed_ms: i64, now_ms: i64) {
        let milliseconds = u64::try_from(now_ms.saturating_sub(sealed_ms)).unwrap_or(0);
        self.lag.count(milliseconds.saturating_mul(1000));
    }
}

impl BackplaneReport for Counters {
    fn stats(&self) -> BackplaneStats {
        BackplaneStats {
            connected: self.connected.load(Ordering::Relaxed),
            reconnects: self.reconnects.read(),
            nodes: self.nodes.read(),
            homes: self.homes.read(),
            stale: self.stale.read(),
            mirrors: self.mirrors.read(),
            lease_changes: self.lease_changes.read(),
            exported: self.exported.read(),
            imported: self.imported.read(),
            skipped: self.skipped.read(),
            repaired: self.repaired.read(),
            lost: self.lost.read(),
            damaged: self.damaged.read(),
            overrun: self.overrun.read(),
            forwarded: self.forwarded.read(),
            refused: 0,
            waiting_bytes: self.waiting_bytes.read(),
            lag_seconds: Some(self.lag.distribution(MICROSECONDS_PER_SECOND)),
        }
    }
}
