//! Connects hubs through a broker that runs already, so that they answer as one server.
//!
//! The modules here are pure: no I/O, no clock, no runtime. But for the brokers: `broker` says what
//! the cluster asks of one, and `nats` and `redis` connect to it.

// Until the backplane that drives these modules uses all of them.
#![allow(dead_code, unused_imports)]

pub(crate) mod block;
pub(crate) mod broker;
#[cfg(test)]
mod broker_tests;
pub(crate) mod envelope;
pub(crate) mod fields;
mod inbox;
pub(crate) mod message;
pub(crate) mod names;
#[cfg(feature = "nats")]
pub(crate) mod nats;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod runs;
#[cfg(test)]
mod samples;
