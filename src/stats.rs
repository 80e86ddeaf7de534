//! What a hub has counted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::histogram::{Distribution, Histogram};
use crate::message::{ChannelName, StatusReport};
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
    /// Bytes that wait in clients' queues now, frame headers included. Clients share what they wait for: it is less in memory.
    pub queued_bytes: u64,
    /// Messages that wait in the fullest of these queues.
    pub longest_queue: u64,
    /// Messages skipped, for whatever reason.
    pub skipped: u64,
    /// Of these, the ones that a channel could not even take: it was published to faster than its blocks could be made. The others found a client's
    /// queue full.
    pub overrun: u64,
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
    /// Messages in each block.
    pub block_messages: Distribution,
    /// Bytes that the kernel took with each write.
    pub write_sizes: Distribution,
    /// Seconds that each write took.
    pub write_seconds: Distribution,
    /// Seconds from the first message that a flush of a channel waited for until everything that waited was in its subscribers' queues: the longest
    /// that any of these messages took to get there. A flush that reached nobody is not counted, nor one that a full queue brought about.
    pub flush_seconds: Distribution,
}

/// Where the histograms tell values apart: messages of a block.
static BLOCK_MESSAGES: [u64; 8] = [1, 4, 16, 64, 256, 1024, 4096, 16384];
/// Bytes of a write.
static WRITE_SIZES: [u64; 8] = [128, 512, 2048, 8192, 16384, 32768, 65536, 262_144];
/// Nanoseconds of a write: about 10 us as a rule.
static WRITE_TIMES: [u64; 8] = [
    2_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000, 10_000_000,
];
/// Nanoseconds of a flush: up to the flush interval, and beyond it when the machine is overloaded.
static FLUSH_TIMES: [u64; 10] = [
    10_000,
    100_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    200_000_000,
    1_000_000_000,
];
const NANOSECONDS: f64 = 1e9;

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
    /// The last status published to it.
    pub status: Option<StatusReport>,
}

/// What waits in the queues of all clients together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queues {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Messages in the fullest of them.
    pub(crate) longest: u64,
}

impl Queues {
    /// Adds one client's.
    pub(crate) fn add(&mut self, messages: usize, bytes: usize) {
        self.messages += messages as u64;
        self.bytes += bytes as u64;
        self.longest = self.longest.max(messages as u64);
    }
}

/// The counters themselves. Relaxed throughout: each is a tally that orders nothing.
#[derive(Debug)]
pub(crate) struct Totals {
    offered: AtomicU64,
    written: AtomicU64,
    skipped: AtomicU64,
    overrun: AtomicU64,
    discarded: AtomicU64,
    connected: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    ignored: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    paused: [AtomicU64; PauseReason::ALL.len()],
    panicked: AtomicU64,
    block_messages: Histogram<8>,
    write_sizes: Histogram<8>,
    write_times: Histogram<8>,
    flush_times: Histogram<10>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            offered: AtomicU64::default(),
            written: AtomicU64::default(),
            skipped: AtomicU64::default(),
            overrun: AtomicU64::default(),
            discarded: AtomicU64::default(),
            connected: AtomicU64::default(),
            closed: Default::default(),
            ignored: AtomicU64::default(),
            refused: Default::default(),
            paused: Default::default(),
            panicked: AtomicU64::default(),
            block_messages: Histogram::new(&BLOCK_MESSAGES),
            write_sizes: Histogram::new(&WRITE_SIZES),
            write_times: Histogram::new(&WRITE_TIMES),
            flush_times: Histogram::new(&FLUSH_TIMES),
        }
    }
}

impl Totals {
    pub(crate) fn count_block(&self, messages: usize) {
        self.block_messages.count(messages as u64);
    }

    /// A flush that was over so many nanoseconds after it was asked for.
    pub(crate) fn count_flush(&self, took: u64) {
        self.flush_times.count(took);
    }

    /// Messages x subscribers that were skipped because the channel took no more; they are counted as skipped beside this.
    pub(crate) fn count_overrun(&self, messages: u64) {
        self.overrun.fetch_add(messages, Ordering::Relaxed);
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

    pub(crate) fn count_write(&self, messages: u64, bytes: u64) {
        self.written.fetch_add(messages, Ordering::Relaxed);
        self.write_sizes.count(bytes);
    }

    /// How long the kernel took to take a write, in nanoseconds.
    pub(crate) fn count_write_time(&self, took: u64) {
        self.write_times.count(took);
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
        queues: Queues,
        history_bytes: usize,
    ) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let block_messages = self.block_messages.distribution(1.0);
        let write_sizes = self.write_sizes.distribution(1.0);
        Stats {
            clients,
            channels,
            subscribers,
            offered: read(&self.offered),
            written: read(&self.written),
            queued: queues.messages,
            queued_bytes: queues.bytes,
            longest_queue: queues.longest,
            skipped: read(&self.skipped),
            overrun: read(&self.overrun),
            discarded: read(&self.discarded),
            written_bytes: write_sizes.sum as u64,
            history_bytes,
            writes: write_sizes.count,
            blocks: block_messages.count,
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
            block_messages,
            write_sizes,
            write_seconds: self.write_times.distribution(NANOSECONDS),
            flush_seconds: self.flush_times.distribution(NANOSECONDS),
        }
    }
}
