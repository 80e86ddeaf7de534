//! The server, almost always over real sockets: the wire format, access, limits, hostile peers, and
//! the Rust client.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod access;
mod actions;
mod any_server;
mod client;
mod detail;
mod discovery;
mod heartbeat;
mod hostile;
mod jwt;
mod lifecycle;
mod limits;
mod log_channel;
mod message_size;
mod metrics;
mod mounted;
mod own_log;
mod partial;
mod proxy_protocol;
mod publisher;
mod redis_bridge;
mod relay;
mod relay_control;
mod relay_loops;
mod relay_upstreams;
mod routes;
mod stalled;
mod watcher_requests;
mod wire;
