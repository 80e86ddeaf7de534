//! What a backplane counts.

use serde::Serialize;

use crate::histogram::Distribution;

/// The counters of a hub's backplane at one moment, in
/// [`Stats::backplane`](crate::Stats::backplane).
///
/// Numbers of messages count each message once, whatever the number of its subscribers.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct BackplaneStats {
    /// Whether the broker is connected now.
    pub connected: bool,
    /// How often the connection came back after a loss.
    pub reconnects: u64,
    /// The number of nodes of the cluster that this node knows now, itself included.
    pub nodes: usize,
    /// The number of channels whose home is this node now.
    pub homes: usize,
    /// The number of channels that go on here under an epoch of their own now, because the node
    /// could not renew its lease.
    pub stale: usize,
    /// The number of channels that this node takes from their homes now.
    pub mirrors: usize,
    /// How often this node became the home of a channel, or ceased to be it.
    pub lease_changes: u64,
    /// Messages that were handed to the broker.
    pub exported: u64,
    /// Messages that came from other nodes and were delivered here.
    pub imported: u64,
    /// Messages that were not handed to the broker, because the queue to it was full. Mirrors
    /// fetch them afterwards.
    pub skipped: u64,
    /// Messages that did not come by themselves, and were fetched from their home.
    pub repaired: u64,
    /// Messages that could not be had any more: a gap for every subscriber of their channel here.
    pub lost: u64,
    /// Messages of the broker that could not be read, and were dropped.
    pub damaged: u64,
    /// Messages of the broker that were dropped because they came faster than they were taken.
    pub overrun: u64,
    /// Messages that were published here and accepted by the home of their channel.
    pub forwarded: u64,
    /// Messages that were published here and not accepted, because too many waited for the home
    /// of their channel.
    pub refused: u64,
    /// Bytes that wait here for the home of their channel now.
    pub waiting_bytes: usize,
    /// The time from a block's seal at its home until it is delivered here, in seconds. The clocks
    /// of two machines differ, so values are as exact as the clocks.
    pub lag_seconds: Option<Distribution>,
}

/// Counts what a backplane does.
pub trait BackplaneReport: Send + Sync + 'static {
    /// Returns the counters.
    fn stats(&self) -> BackplaneStats;
}
