//! A cluster: hubs on several machines that answer as if they were one.
//!
//! The hubs, its *nodes*, exchange messages through a broker: NATS or Redis. Each channel has one
//! *home*, the node that numbers it: the one that publishes to it first. On every other node the
//! channel is a mirror, with the epoch, numbers and timestamps of its home.
//!
//! ```no_run
//! use outrace::Hub;
//! use outrace::backplane::cluster::Cluster;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::builder("nats://127.0.0.1:4222").node("web-1").build()?;
//! let hub = Hub::builder().history(10_000).backplane(cluster).build()?;
//! hub.start();
//! hub.send_process_output("web", "every node of the cluster can show this line")?;
//! # Ok(())
//! # }
//! ```
//!
//! # What costs what
//! A channel that no other node watches is not sent anywhere. A channel that is watched crosses
//! the broker once as blocks of up to 256 KiB, whatever the number of its viewers.
//!
//! # What can go wrong
//! Publishers, local viewers and the home never wait for the broker. What the broker loses,
//! repeats or reorders is repaired by number from the home's history. What that does not keep any
//! more is a gap, exact to the unit. While the broker is gone, mirrors keep what they have.
//!
//! What is published at a node that is not the home is published once, unless the home dies before
//! it acknowledges: the next home then publishes it again if the first one had published it
//! already.
//!
//! A home that cannot renew its lease goes on for its own viewers under a new epoch. Another node
//! that publishes to the channel becomes its home then.

pub(crate) mod block;
pub(crate) mod broker;
#[cfg(test)]
mod broker_tests;
mod builder;
mod clock;
mod counters;
#[cfg(any(test, fuzzing, feature = "internals"))]
mod described;
mod directory;
mod durable;
mod durable_duties;
pub(crate) mod envelope;
#[cfg(all(test, feature = "server", feature = "nats", feature = "redis"))]
mod fault_tests;
pub(crate) mod fields;
mod followed;
mod forwarding;
mod home_duties;
mod inbound;
mod inbox;
mod interest;
mod lease;
mod leaving;
pub(crate) mod message;
mod mirrors;
pub(crate) mod names;
#[cfg(feature = "nats")]
pub(crate) mod nats;
mod node_task;
mod numbered;
mod operations;
mod orders;
mod outgoing;
mod owned_task;
mod peers;
#[cfg(any(fuzzing, feature = "internals"))]
pub(crate) mod recoded;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod runs;
#[cfg(test)]
mod samples;
mod wire;

pub use builder::{Cluster, ClusterBuilder, ClusterError};
