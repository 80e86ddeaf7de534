//! Joins hubs over a broker that runs already: NATS with JetStream, or Redis.

#[allow(dead_code, reason = "the node of a cluster is built on it")]
pub(crate) mod broker;
