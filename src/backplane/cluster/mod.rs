//! Joins hubs over a broker that runs already: NATS with JetStream, or Redis.

#[allow(dead_code, reason = "the node of a cluster is built on it")]
pub(crate) mod broker;
#[allow(dead_code, reason = "the node of a cluster is built on it")]
mod inbox;
#[allow(dead_code, reason = "the node of a cluster is built on it")]
pub(crate) mod names;
#[cfg(feature = "nats")]
#[allow(dead_code, reason = "the node of a cluster is built on it")]
pub(crate) mod nats;
