//! The program `outrace`, as its users run it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "shown with a failed test"
)]

mod access;
mod bad_days;
mod cluster;
mod descriptors;
mod first_minute;
mod load;
mod load_cluster;
mod lossless;
mod mistakes;
mod output;
mod ownership;
mod pipe;
mod procfile;
mod program;
mod proxied;
mod proxies;
mod redis_bridge;
mod relay;
mod resume;
mod run;
mod settings;
mod supervisor;
mod tail;
mod tail_patterns;
mod tail_streams;
mod terminal;
mod terminal_input;
mod watch;
