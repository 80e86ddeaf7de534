//! The counters of a backplane.

use std::fmt;

use serde::Serialize;

/// The counters of a hub's backplane at one moment, in [`Stats::backplane`].
///
/// A backplane that a program brings itself creates one with [`Default`] and sets the fields that
/// it knows.
///
/// [`Stats::backplane`]: crate::Stats::backplane
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BackplaneStats {
    /// The kind of the backplane in lower case, such as `relay`.
    pub kind: &'static str,
    /// The number of connections that there should be: one to a broker, or one for each upstream
    /// server.
    pub links: usize,
    /// The number of these connections that are open now.
    pub connected: usize,
    /// The number of channels whose messages may be late: their home is not heard, or this node
    /// numbers them on its own because it lost the right to number them for the others.
    pub stale_channels: usize,
    /// The age in milliseconds of the latest sign of life. With several connections it is that of
    /// the most silent one. `None` if there never was one.
    pub latest_age_ms: Option<u64>,
    /// How often a connection came back after a loss.
    pub reconnects: u64,
    /// Blocks of this node that were not sent, because the backplane was slower than they came.
    /// Mirrors fetch them afterwards.
    pub skipped: u64,
    /// Messages that mirrors here fetched afterwards, because they were missing.
    pub repaired: u64,
    /// Messages that mirrors here could not fetch, and reported as a gap.
    pub lost: u64,
    /// Blocks and messages from the backplane that could not be read.
    pub damaged: u64,
    /// How often this node became or ceased to be the home of a channel.
    pub lease_changes: u64,
    /// The number of nodes of the cluster that are heard now, this one included.
    pub nodes: usize,
    /// The number of channels whose home is this node now.
    pub homes: usize,
    /// The number of channels that this node takes from other nodes now.
    pub mirrors: usize,
    /// Messages that were handed to the broker.
    pub exported: u64,
    /// Messages that came from other nodes, and were delivered here.
    pub imported: u64,
    /// Messages that were published here, and accepted by the home of their channel elsewhere.
    pub forwarded: u64,
    /// Messages of the broker that were dropped because they came faster than they were taken.
    /// What they brought is fetched afterwards.
    pub overrun: u64,
    /// Bytes that were sent to the homes of their channels, and are not acknowledged.
    pub unacknowledged_bytes: usize,
}

impl BackplaneStats {
    /// Returns whether viewers of this hub may be behind: a connection is lost, or a channel is
    /// stale.
    pub fn is_stale(&self) -> bool {
        self.connected < self.links || self.stale_channels > 0
    }
}

/// One line for a person: the state of the connections and of the channels.
impl fmt::Display for BackplaneStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            links,
            connected,
            stale_channels,
            ..
        } = self;
        write!(f, "{kind}: {connected} of {links} connections")?;
        match stale_channels {
            0 => Ok(()),
            1 => f.write_str(", 1 stale channel"),
            many => write!(f, ", {many} stale channels"),
        }
    }
}

/// Tells the counters of a backplane. Returned by [`Backplane::report`].
///
/// [`Backplane::report`]: super::Backplane::report
pub trait Report: Send + Sync + 'static {
    /// Returns the counters of this moment. It is called for each request of the server's counters
    /// and must not wait.
    fn stats(&self) -> BackplaneStats;
}
