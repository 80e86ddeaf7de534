//! What a node of a cluster counts.

use std::time::Instant;

use crate::backplane::{BackplaneStats, Report};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

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

    pub(super) fn read(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a node. [`BackplaneStats`] says what each of them means.
#[derive(Debug)]
pub(super) struct Counters {
    created: Instant,
    connected: AtomicBool,
    /// When another node or the broker was heard last, in milliseconds after `created`, plus one.
    /// 0 is never. Relaxed: it orders nothing.
    heard: AtomicU64,
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
    pub(super) unacknowledged_bytes: Level,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            created: Instant::now(),
            connected: AtomicBool::default(),
            heard: AtomicU64::default(),
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
            unacknowledged_bytes: Level::default(),
        }
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Notes a sign of life of the broker.
    pub(super) fn hear(&self) {
        self.heard.store(self.milliseconds() + 1, Ordering::Relaxed);
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl Report for Counters {
    fn stats(&self) -> BackplaneStats {
        let heard = self.heard.load(Ordering::Relaxed).checked_sub(1);
        BackplaneStats {
            kind: "cluster",
            links: 1,
            connected: usize::from(self.connected.load(Ordering::Relaxed)),
            stale_channels: self.stale.read(),
            latest_age_ms: heard.map(|heard| self.milliseconds().saturating_sub(heard)),
            reconnects: self.reconnects.read(),
            skipped: self.skipped.read(),
            repaired: self.repaired.read(),
            lost: self.lost.read(),
            damaged: self.damaged.read(),
            lease_changes: self.lease_changes.read(),
            nodes: self.nodes.read(),
            homes: self.homes.read(),
            mirrors: self.mirrors.read(),
            exported: self.exported.read(),
            imported: self.imported.read(),
            forwarded: self.forwarded.read(),
            overrun: self.overrun.read(),
            unacknowledged_bytes: self.unacknowledged_bytes.read(),
        }
    }
}
