//! The counters of a hub.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::backplane::BackplaneStats;
use crate::bridge::BridgeStats;
use crate::histogram::{Distribution, Histogram};
use crate::message::{ChannelName, StatusReport};
use crate::reason::{CloseReason, PauseReason, RefusalReason};
use crate::sync::{AtomicU64, Ordering};

/// The counters of a hub at one moment, from [`Hub::stats`](crate::Hub::stats).
///
/// A message counts once for each subscriber it is meant for. While nothing is on its way, this
/// holds exactly: `offered = written + queued + skipped + discarded`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The number of connected clients.
    pub clients: usize,
    /// The number of channels with at least one subscriber.
    pub channels: usize,
    /// The number of subscriptions of all clients together.
    pub subscribers: usize,
    /// Messages x subscribers that were fanned out.
    pub offered: u64,
    /// Messages that the kernel has taken.
    pub written: u64,
    /// Messages that wait in the clients' queues now.
    pub queued: u64,
    /// Bytes that wait in the clients' queues now, frame headers included. They take less memory
    /// than that, because clients share the blocks they wait for.
    pub queued_bytes: u64,
    /// Messages that wait in the fullest of these queues now.
    pub longest_queue: u64,
    /// Messages that were skipped, for any reason.
    pub skipped: u64,
    /// The skipped messages that their channel could not take, because they were published faster
    /// than they could be sealed into blocks. The other skipped messages found a client's queue
    /// full.
    pub overrun: u64,
    /// Messages that their channel could not take, each counted once: for every subscriber of that
    /// moment it counts as `overrun` too, and no history holds it. The other messages that had a
    /// subscriber or a history were sealed into blocks.
    pub dropped: u64,
    /// Messages that waited for a client, or were being fanned out to it, when its connection
    /// ended.
    pub discarded: u64,
    /// Bytes that the kernel has taken, frame headers included.
    pub written_bytes: u64,
    /// Bytes that the histories of all channels hold now.
    pub history_bytes: usize,
    /// The number of writes to sockets.
    pub writes: u64,
    /// The number of blocks that were fanned out.
    pub blocks: u64,
    /// Connections that were accepted since the hub was created.
    pub connected: u64,
    /// Connections that have ended since the hub was created, by [`CloseReason::name`].
    pub closed: BTreeMap<&'static str, u64>,
    /// Client messages that were ignored: invalid JSON, wrong types and unknown commands.
    pub ignored: u64,
    /// Requests and subscriptions that were refused, by [`RefusalReason::name`].
    pub refused: BTreeMap<&'static str, u64>,
    /// How often accepting connections paused, by [`PauseReason::name`].
    pub paused: BTreeMap<&'static str, u64>,
    /// Seals that ended in a panic, which would be a bug. The messages that such a seal had not
    /// delivered count as skipped.
    pub panicked: u64,
    /// The number of messages of each block.
    pub block_messages: Distribution,
    /// The number of bytes that the kernel took in each write.
    pub write_sizes: Distribution,
    /// The duration of each write, in seconds.
    pub write_seconds: Distribution,
    /// The duration of each flush of a channel, in seconds: from the publication of the first
    /// waiting message until all waiting messages are in the subscribers' queues. That is the
    /// longest time that any of these messages took. A flush that reaches no subscriber is not
    /// counted, and neither is one that a full queue caused.
    pub flush_seconds: Distribution,
    /// The counters of the bridge, if the hub has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeStats>,
    /// The counters of the backplane, if the hub has one that tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backplane: Option<BackplaneStats>,
    /// The counters of the hub's part in a cluster, if its channels can have their home here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<SharingStats>,
}

/// The counters of a hub whose channels have their home here or on other nodes, in
/// [`Stats::sharing`].
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SharingStats {
    /// Whether other nodes can be reached.
    pub connected: bool,
    /// Messages numbered here that other nodes wanted, and that were dropped because they were not
    /// sent as fast as they were published. Other nodes can ask for them again.
    pub skipped: u64,
    /// Messages published here that wait for the home of their channel, or are on their way there.
    pub pending: usize,
    /// The memory that these messages take, in bytes.
    pub pending_bytes: usize,
}

/// The bounds of `block_messages`.
static BLOCK_MESSAGES: [u64; 8] = [1, 4, 16, 64, 256, 1024, 4096, 16384];
/// The bounds of `write_sizes`, in bytes.
static WRITE_SIZES: [u64; 8] = [128, 512, 2048, 8192, 16384, 32768, 65536, 262_144];
/// The bounds of `write_seconds`, in nanoseconds. A write usually takes about 10 us.
static WRITE_TIMES: [u64; 8] = [
    2_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000, 10_000_000,
];
/// The bounds of `flush_seconds`, in nanoseconds. A flush takes up to the flush interval, and
/// longer when the machine is overloaded.
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
const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// The counters of one channel, from [`Hub::channels`](crate::Hub::channels).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ChannelStats {
    /// The channel's name.
    pub channel: ChannelName,
    /// The number of its subscribers.
    pub subscribers: usize,
    /// Messages that were published to it since it was created.
    pub published: u64,
    /// The name of its numbering. A channel that is created anew has a new epoch.
    pub epoch: String,
    /// The number of the last message that was sealed into a block.
    pub seq: u64,
    /// Bytes that its history holds now.
    pub kept_bytes: usize,
    /// Messages x subscribers that were skipped.
    pub skipped: u64,
    /// Messages that it could not take, because they were published faster than they could be
    /// sealed into blocks. Each counts once, whatever the number of subscribers. They have numbers,
    /// but its history does not hold them.
    pub dropped: u64,
    /// The last status that was published to it.
    pub status: Option<StatusReport>,
    /// The node that numbers it, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// The content of the queues of all clients together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queues {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Messages in the fullest queue.
    pub(crate) longest: u64,
}

impl Queues {
    /// Adds the queue of one client.
    pub(crate) fn add(&mut self, messages: usize, bytes: usize) {
        self.messages += messages as u64;
        self.bytes += bytes as u64;
        self.longest = self.longest.max(messages as u64);
    }
}

/// The counters of a hub, while it runs. Every access is Relaxed: each counter is a tally that
/// orders nothing.
#[derive(Debug)]
pub(crate) struct Totals {
    offered: AtomicU64,
    written: AtomicU64,
    skipped: AtomicU64,
    overrun: AtomicU64,
    dropped: AtomicU64,
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
            dropped: AtomicU64::default(),
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
    /// Counts a block of this many messages.
    pub(crate) fn count_block(&self, messages: usize) {
        self.block_messages.count(messages as u64);
    }

    /// Counts a flush that was over this many nanoseconds after its first message was published.
    pub(crate) fn count_flush(&self, nanoseconds: u64) {
        self.flush_times.count(nanoseconds);
    }

    /// Counts messages x subscribers that were skipped because the channel took no more. The caller
    /// counts them as skipped, too.
    pub(crate) fn count_overrun(&self, messages: u64) {
        self.overrun.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages that their channel took no more, whoever was subscribed to it.
    pub(crate) fn count_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages x subscribers that were fanned out, and those among them that were skipped
    /// or discarded. The others were accepted.
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

    /// Counts accepted messages that are discarded with their client.
    pub(crate) fn count_discarded(&self, messages: u64) {
        if messages > 0 {
            self.discarded.fetch_add(messages, Ordering::Relaxed);
        }
    }

    /// Counts a write of this many whole messages and bytes.
    pub(crate) fn count_write(&self, messages: u64, bytes: u64) {
        self.written.fetch_add(messages, Ordering::Relaxed);
        self.write_sizes.count(bytes);
    }

    /// Counts the duration of a write.
    pub(crate) fn count_write_time(&self, nanoseconds: u64) {
        self.write_times.count(nanoseconds);
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

    /// Counts messages that are refused for the same reason.
    pub(crate) fn count_all_refused(&self, reason: RefusalReason, messages: u64) {
        self.refused[reason.index()].fetch_add(messages, Ordering::Relaxed);
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

    /// Returns the counters, together with the figures that only the hub knows.
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
            dropped: read(&self.dropped),
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
            write_seconds: self.write_times.distribution(NANOSECONDS_PER_SECOND),
            flush_seconds: self.flush_times.distribution(NANOSECONDS_PER_SECOND),
            bridge: None,
            backplane: None,
            sharing: None,
        }
    }
}
