//! A fixed, drained workload for counting instructions: the cost of one delivered line.
//!
//! The same program run twice executes the same work on one thread, so that two versions of the
//! engine can be compared to a fraction of a percent, which wall time does not allow:
//!
//! ```text
//! cargo bench --bench instructions --no-run
//! valgrind --tool=callgrind target/release/deps/instructions-HASH plain
//! ```
//!
//! Divide the instructions ("Collected") by the number of delivered lines that the program prints.
//! Where the machine has the counter, `perf stat -e instructions:u` serves as well. The workloads
//! are `plain` (blocks of one line), `runs` (blocks of 64 lines), `gaps` (subscriptions that are
//! told of gaps), `history` (blocks are kept) and `replay` (subscriptions that begin with the
//! history). Without an argument, all of them run.

#![allow(clippy::print_stdout, reason = "the figures of a bench are its output")]

use std::time::Duration;

use outrace::internals::{Audience, SubscribeOptions};
use outrace::{Hub, Lines};

const CHANNEL: &str = "process:web";
const LINE: &str = "2026-11-22 12:00:00.000 INFO  request completed method=GET path=/api/users status=200 duration=12ms 0001";
const SUBSCRIBERS: usize = 100;
const RUN: usize = 64;
const ROUNDS: usize = 200;

/// One workload, by the name that selects it.
struct Workload {
    name: &'static str,
    /// Messages that the hub keeps for each channel.
    history: usize,
    options: Option<SubscribeOptions>,
    /// Publishes 64 lines as one run instead of one by one.
    runs: bool,
    /// Replaces the subscribers after each round, so that each replays the history.
    rejoins: bool,
}

fn workloads() -> [Workload; 5] {
    let plain = || Workload {
        name: "plain",
        history: 0,
        options: None,
        runs: false,
        rejoins: false,
    };
    let gaps = || SubscribeOptions {
        gaps: true,
        ..SubscribeOptions::default()
    };
    [
        plain(),
        Workload {
            name: "runs",
            runs: true,
            ..plain()
        },
        Workload {
            name: "gaps",
            options: Some(gaps()),
            ..plain()
        },
        Workload {
            name: "history",
            history: 1000,
            ..plain()
        },
        Workload {
            name: "replay",
            history: 1000,
            options: Some(SubscribeOptions {
                tail: Some(RUN as u64),
                ..gaps()
            }),
            rejoins: true,
            ..plain()
        },
    ]
}

/// Runs a workload and returns how many messages were delivered.
fn run(workload: &Workload) -> u64 {
    let hub = Hub::builder()
        .queue(8192)
        .queue_bytes(64 << 20)
        .history(workload.history)
        .history_bytes(4 << 20)
        // Each publish is sealed at once, so that the clock has no part in how the work is cut.
        .max_flush_interval(Duration::ZERO)
        .build()
        .expect("valid settings");
    let publisher = hub.publisher(CHANNEL).expect("a valid name");
    let run: Lines = std::iter::repeat_n(LINE, RUN).collect();
    let join = || Audience::join_with(&hub, &[CHANNEL], SUBSCRIBERS, workload.options.clone());
    let mut audience = join();
    let mut delivered = 0;
    for _ in 0..ROUNDS {
        if workload.runs {
            publisher.send_lines(run.clone());
        } else {
            for _ in 0..RUN {
                publisher.send_line(LINE);
            }
        }
        if workload.rejoins {
            delivered += audience.drain().0;
            audience = join();
        }
        delivered += audience.drain().0;
        assert_eq!(audience.skipped(), 0, "a skipped line would be too cheap");
    }
    assert!(delivered >= (ROUNDS * RUN * SUBSCRIBERS) as u64);
    delivered
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _guard = runtime.enter();
    let wanted = std::env::args()
        .nth(1)
        .filter(|name| !name.starts_with("--"));
    for workload in workloads() {
        if wanted.as_ref().is_none_or(|name| name == workload.name) {
            println!("{}: {} delivered", workload.name, run(&workload));
        }
    }
}
