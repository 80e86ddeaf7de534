//! One measurement: the server starts, the clients join, lines flow, and everything is accounted
//! for.

mod accounting;
pub(crate) mod broker_stop;
pub(crate) mod comparison;
mod drain;
pub(crate) mod error;
pub(crate) mod feeder;
mod line_buffer;
mod line_sink;
mod node_accounting;
pub(crate) mod observer;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod round;
mod skip_counts;
mod start;
