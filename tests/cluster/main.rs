//! Several hubs in one process, joined over a real broker.
//!
//! Each test runs with NATS and with Redis. One whose broker is not installed is skipped.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod broker_faults;
mod directory;
mod durable;
mod failover;
mod forwarding;
mod kit;
mod mirrors;
