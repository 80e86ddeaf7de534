//! What a bridge counts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Why a message did not cross a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BridgeDrop {
    /// A message from the other side is longer than the bridge accepts.
    TooLong,
    /// A message from the other side cannot be read.
    Malformed,
    /// A message from the other side names its source wrongly.
    InvalidSource,
    /// A message from the other side has an invalid channel or process.
    InvalidName,
    /// A message from the other side has a timestamp that is not RFC 3339.
    InvalidTimestamp,
    /// Messages came from the other side faster than the hub took them.
    ImportQueueFull,
    /// A local message is too long for the other side, and cannot be cut.
    ExportTooLong,
    /// Local messages were published faster than the other side took them, or while it was gone.
    ExportQueueFull,
    /// The connection was lost while the message was sent. The other side may have it.
    ConnectionLost,
}

impl BridgeDrop {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::TooLong,
        Self::Malformed,
        Self::InvalidSource,
        Self::InvalidName,
        Self::InvalidTimestamp,
        Self::ImportQueueFull,
        Self::ExportTooLong,
        Self::ExportQueueFull,
        Self::ConnectionLost,
    ];

    /// Returns the reason's name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too long",
            Self::Malformed => "malformed",
            Self::InvalidSource => "invalid source",
            Self::InvalidName => "invalid name",
            Self::InvalidTimestamp => "invalid timestamp",
            Self::ImportQueueFull => "import queue full",
            Self::ExportTooLong => "export too long",
            Self::ExportQueueFull => "export queue full",
            Self::ConnectionLost => "connection lost",
        }
    }
}

impl fmt::Display for BridgeDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The counters of a hub's bridge at one moment, in [`Stats::bridge`](crate::Stats::bridge).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BridgeStats {
    /// Whether the other side is connected.
    pub connected: bool,
    /// How often the connection came back after a loss.
    pub reconnects: u64,
    /// Messages that came from the other side and were published here.
    pub imported: u64,
    /// Messages that were sent to the other side. Each piece of a long line counts as one.
    pub exported: u64,
    /// Messages that did not cross the bridge, by [`BridgeDrop::name`].
    pub dropped: BTreeMap<&'static str, u64>,
}

/// The counters of a bridge. Every access is Relaxed: each is a tally that orders nothing.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connected: AtomicBool,
    reconnects: AtomicU64,
    imported: AtomicU64,
    exported: AtomicU64,
    dropped: [AtomicU64; BridgeDrop::ALL.len()],
}

impl Counters {
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn count_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_imported(&self) {
        self.imported.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_exported(&self, messages: u64) {
        self.exported.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, reason: BridgeDrop, messages: u64) {
        self.dropped[reason as usize].fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> BridgeStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BridgeStats {
            connected: self.is_connected(),
            reconnects: read(&self.reconnects),
            imported: read(&self.imported),
            exported: read(&self.exported),
            dropped: BridgeDrop::ALL
                .into_iter()
                .map(|reason| (reason.name(), read(&self.dropped[reason as usize])))
                .filter(|&(_, count)| count > 0)
                .collect(),
        }
    }
}
