//! Connects hubs through a broker, so that they answer as one server.
//!
//! The modules here are pure: no I/O, no clock, no runtime.

// Until the backplane that drives these modules uses all of them.
#![allow(dead_code, unused_imports)]

pub(crate) mod block;
pub(crate) mod directory;
pub(crate) mod envelope;
pub(crate) mod fields;
pub(crate) mod interest;
pub(crate) mod lease;
pub(crate) mod message;
pub(crate) mod names;
pub(crate) mod runs;
#[cfg(test)]
mod samples;
