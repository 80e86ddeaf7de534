//! The engine's promises, over real sockets: order, accounts to the unit, gaps, history, bounds.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod churn;
mod flood;
mod gaps;
mod history;
mod homes;
mod layering;
mod lossless;
mod messages;
mod order;
mod overflow;
mod properties;
mod receiver;
mod settings;
