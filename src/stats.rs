//! What a hub has counted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::message::ChannelName;
use crate::reason::{CloseReason, PauseReason, RefusalReason};
use crate::sync::{AtomicU64, Ordering};

/// A hub's counters at one moment. Made by [`Hub::stats`](crate::Hub::stats).
///
/// Messages count once for each subscriber they were meant for. At rest, to the unit:
/// `offered = written + queued + skipped + discarded`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Connected clients.
    pub clients: usize,
    /// Channels with at least one subscriber.
    pub channels: usize,
    /// Subscriptions of all clients together.
    pub subscribers: usize,
    /// Messages x subscribers that were fanned out.
    pub offered: u64,
    /// Messages handed to the kernel, in all.
    pub written: u64,
    /// Messages that wait in clients' queues now.
    pub queued: u64,
    /// Messages skipped because a client's queue was full.
    pub skipped: u64,
    /// Messages that had been accepted for a client, or were being fanned out to it, when it went.
    pub discarded: u64,
    /// Bytes handed to the kernel, frame headers included.
    pub written_bytes: u64,
    /// Bytes that the histories of all channels hold.
    pub history_bytes: usize,
    /// Writes to sockets.
    pub writes: u64,
    /// Blocks fanned out.
    pub blocks: u64,
    /// Connections accepted since the hub began.
    pub connected: u64,
    /// Connections ended since the hub began, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Client messages that were ignored: bad JSON, wrong types, unknown commands.
    pub ignored: u64,
    /// Requests and subscriptions that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Times that accepting connections paused, by reason.
    pub paused: BTreeMap<&'static str, u64>,
    /// Seals that ended in a panic, which would be a bug: what they had not delivered counts as skipped.
    pub panicked: u64,
}

/// One channel's counters. Made by [`Hub::channels`](crate::Hub::channels).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ChannelStats {
    /// The channel's name.
    pub channel: ChannelName,
    /// Its subscribers.
    pub subscribers: usize,
    /// Messages published to it since it exists.
    pub published: u64,
    /// Names its numbering.
    pub epoch: String,
    /// The number of the last message that was sealed.
    pub seq: u64,
    /// Bytes its history holds.
    pub kept_bytes: usize,
    /// Messages x subscribers that were skipped.
    pub skipped: u64,
}

/// The counters themselves. Relaxed throughout: each is a tally that orders nothing.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    offered: AtomicU64,
    written: AtomicU64,
    skipped: AtomicU64,
    discarded: AtomicU64,
    written_bytes: AtomicU64,
    writes: AtomicU64,
    blocks: AtomicU64,
    connected: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    ignored: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    paused: [AtomicU64; PauseReason::ALL.len()],
    panicked: AtomicU64,
}

impl Totals {
    pub(crate) fn count_block(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_fan_out(&self, offered: u64, skipped: u64, discarded: u64) {
        if offered == 0 {
            return;
        }
        self.offered.fetch_add(offered, Ordering::Relaxed);
        if skipped > 0 {
            self.skipped.fetch_add(skipped, Ordering::Relaxed);
        }
        self.count_discarded(discarded);
    }

    pub(crate) fn count_discarded(&self, messages: u64) {
        if messages > 0 {
            self.discarded.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// A message for one client alone (a refusal, a pong).
    pub(crate) fn count_single(&self, accepted: bool) {
        self.offered.fetch_add(1, Ordering::Relaxed);
        if !accepted {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_write(&self, messages: u64, bytes: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.written.fetch_add(messages, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self, reason: CloseReason) {
        self.closed[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_ignored(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, reason: RefusalReason) {
        self.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(feature = "server")]
    pub(crate) fn count_paused(&self, reason: PauseReason) {
        self.paused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_panicked(&self) {
        self.panicked.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters, with what only the hub can tell beside them.
    pub(crate) fn stats(
        &self,
        clients: usize,
        channels: usize,
        subscribers: usize,
        queued: u64,
        history_bytes: usize,
    ) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            clients,
            channels,
            subscribers,
            offered: read(&self.offered),
            written: read(&self.written),
            queued,
            skipped: read(&self.skipped),
            discarded: read(&self.discarded),
            written_bytes: read(&self.written_bytes),
            history_bytes,
            writes: read(&self.writes),
            blocks: read(&self.blocks),
            connected: read(&self.connected),
            closed: CloseReason::ALL
                .into_iter()
                .map(|reason| (reason.name(), read(&self.closed[reason.index()])))
                .filter(|&(_, count)| count > 0)
                .collect(),
            ignored: read(&self.ignored),
            refused: RefusalReason::ALL
                .into_iter()
                .map(|reason| (reason.name(), read(&self.refused[reason.index()])))
                .filter(|&(_, count)| count > 0)
                .collect(),
            paused: PauseReason::ALL
                .into_iter()
                .map(|reason| (reason.name(), read(&self.paused[reason.index()])))
                .filter(|&(_, count)| count > 0)
                .collect(),
            panicked: read(&self.panicked),
        }
    }
}
