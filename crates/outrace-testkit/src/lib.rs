//! The kit that the tests of Outrace share: a server, two clients, and small helpers.
//!
//! There are two clients for a reason. [`Socket`] blocks and has no library between the test and
//! the frames, so it can send and see what a library would hide. [`JsonClient`] is asynchronous and
//! sees messages only, so one test can await clients, child processes and the hub at once.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod account;
mod broker;
mod client;
mod encoding;
pub mod http;
mod proxy;
mod redis;
mod scratch;
mod server;
pub mod socket;
mod terminal;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use signal_hook::consts::signal;

pub use account::{Account, assert_agreement, last_seq, until_sealed};
pub use broker::{BrokerKind, BrokerServer};
pub use client::JsonClient;
pub use encoding::{base64, base64url, jwt, labelled, without_timestamp};
pub use proxy::Proxy;
pub use redis::{RedisPeer, RedisServer};
pub use scratch::Scratch;
pub use server::{Server, serve, serve_in_memory};
pub use socket::Socket;
pub use terminal::Terminal;

/// The longest that anything may take before a test fails. Only a broken test takes this long.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the body of an asynchronous test. Panics if it takes longer than [`TIMEOUT`].
///
/// Children of the test start with the default of all signals, also when the test was started by
/// `nohup` or in the background of a shell.
pub async fn bounded<T>(body: impl Future<Output = T>) -> T {
    stop_ignoring_signals();
    tokio::time::timeout(TIMEOUT, body)
        .await
        .expect("the test hangs")
}

/// Handles the signals that this process was started to ignore. A child inherits what is ignored,
/// but not what is handled.
fn stop_ignoring_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [signal::SIGHUP, signal::SIGINT, signal::SIGQUIT] {
            let never_read = Arc::new(AtomicBool::new(false));
            if is_ignored(signal) {
                signal_hook::flag::register(signal, never_read).unwrap();
            }
        }
    });
}

/// Whether this process ignores a signal, by the mask of Linux. Elsewhere nothing is known.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Blocks until `holds` returns true. For a state that no event announces.
///
/// Panics with `what` if that takes longer than [`TIMEOUT`].
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `holds` returns true, as [`until`] does, without blocking the runtime.
///
/// The bound is the caller's [`bounded`].
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Joins a thread that ends by itself. A deadlock fails the test instead of hanging it.
#[track_caller]
pub fn join<T>(what: &str, thread: JoinHandle<T>) -> T {
    until(what, || thread.is_finished());
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Returns the resident memory of the process `pid` in bytes.
#[cfg(target_os = "linux")]
pub fn resident_bytes(pid: u32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}
