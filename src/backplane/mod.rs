//! Connects hubs: the channels of one hub on other machines.
//!
//! A hub with a backplane takes its channels from somewhere else. Each channel that has a
//! subscriber is a *mirror*: its messages come with the number and the time that their *home* gave
//! them, and the subscribers of the mirror have the same options, history and gaps as those of the
//! home.
//!
//! `relay::Relay` (feature `relay`) takes the channels from another Outrace server.
//! `cluster::Cluster` (feature `nats` or `redis`) exchanges them with the other nodes of a cluster.
//! A program can bring its own [`Backplane`].

#[cfg(any(feature = "nats", feature = "redis"))]
pub mod cluster;
mod control;
#[cfg(feature = "relay")]
mod counters;
mod home;
mod node;
mod path;
#[cfg(feature = "relay")]
pub mod relay;
mod runs;
mod seam;
mod stats;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::stats::ChannelStats;

#[cfg(any(feature = "server", feature = "relay"))]
pub(crate) use control::ON_BEHALF_OF;
pub(crate) use control::ProcessSlot;
pub use control::{ForwardedOrder, ListedProcess, LocalProcesses, OrderError};
pub use home::{Home, HomeHistory, Numbering, Wanted};
pub use node::{HomeLimit, Mirror, MirrorLimit, Node};
pub(crate) use path::PATH_HEADER;
pub use path::{PathError, RelayPath};
pub use runs::{Broadcast, Exported, LocalRuns, NumberedRun, Part, Runs, SealedBlock};
pub use seam::{Seam, Step};
pub use stats::{BackplaneStats, Report};

#[cfg(feature = "relay")]
pub(crate) use counters::Counters;

pub use crate::stats::SharingStats;

/// Where a hub's channels come from. Given to
/// [`HubBuilder::backplane`](crate::HubBuilder::backplane).
pub trait Backplane: Send + 'static {
    /// Returns the list of the channels that can be had. By default there is none.
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        None
    }

    /// Returns whether the hub's channels can have their home here. Otherwise all of them are
    /// mirrors, and what is published to them locally is refused.
    ///
    /// Where it is true, what is published locally waits until the backplane makes the channel a
    /// [`Home`] or takes the messages to the home elsewhere.
    fn shares(&self) -> bool {
        false
    }

    /// Returns what tells the counters of this backplane, for [`Hub::stats`](crate::Hub::stats),
    /// `/metrics` and `/healthz`. By default there are none.
    fn report(&self) -> Option<Arc<dyn Report>> {
        None
    }

    /// Feeds the hub's mirrors. The future runs in a task of the hub from the hub's start on, and
    /// is dropped when the hub ends.
    ///
    /// It waits for [`Node::changes`], and creates a [`Mirror`] for each channel that has
    /// subscribers.
    fn run(self: Box<Self>, node: Node) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The channels that a hub can take from elsewhere, whether somebody watches them here or not.
pub trait Directory: Send + Sync + 'static {
    /// Returns the channels as their home counts them, with the home's
    /// [`node`](ChannelStats::node).
    fn channels(&self) -> Pin<Box<dyn Future<Output = Vec<ChannelStats>> + Send + '_>>;

    /// Returns the processes that other nodes supervise, with their [`node`](ListedProcess::node).
    /// By default there are none.
    fn processes(&self) -> Pin<Box<dyn Future<Output = Vec<ListedProcess>> + Send + '_>> {
        Box::pin(async { Vec::new() })
    }

    /// Returns whether the servers that this one takes its channels from may be reached by a path of
    /// relays, at whose end this node is. They are asked in turn. By default there are none.
    ///
    /// # Errors
    /// If the path leads back to one of its nodes, or is too long.
    fn check_path(
        &self,
        path: RelayPath,
    ) -> Pin<Box<dyn Future<Output = Result<(), PathError>> + Send + '_>> {
        let _ = path;
        Box::pin(async { Ok(()) })
    }

    /// Gives an order to the node that has the process. Returns whether that node accepted it. The
    /// rights of the one who gives it were checked here.
    ///
    /// By default there is no such process.
    ///
    /// # Errors
    /// See [`OrderError`]. The future has to complete within about 10 s.
    ///
    /// # Cancel safety
    /// The order may have been given if the future is dropped.
    fn order(
        &self,
        order: ForwardedOrder,
    ) -> Pin<Box<dyn Future<Output = Result<bool, OrderError>> + Send + '_>> {
        Box::pin(async { Err(OrderError::NoSuchProcess(order.process_id)) })
    }
}
