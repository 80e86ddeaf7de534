//! The rows of the suite, except those that compare variants of one workload.

use super::condition::{
    Condition, cpu, delivered, flat_memory, joins, latency, memory_each, no_skips, p99, skips,
};
use crate::report::format::count;
use crate::run::comparison::Comparison;
use crate::server::system::System::{self, Baseline, Engine, Floor};
use crate::workload::{Rate, Workload};

/// A row before it was measured.
pub(super) struct SuiteEntry {
    pub(super) letter: char,
    pub(super) workload: Workload,
    pub(super) systems: &'static [System],
    /// The conditions in words.
    pub(super) reach: &'static str,
    pub(super) judge: fn(&Comparison) -> Vec<Condition>,
}

/// Returns the workload from which every row starts.
pub(super) fn base(settings: &Workload) -> Workload {
    Workload {
        seconds: settings.seconds,
        warmup_seconds: settings.warmup_seconds,
        burst_lines: settings.burst_lines,
        pin: std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2),
        max_flush_interval: settings.max_flush_interval,
        threads: settings.threads,
        ..Workload::default()
    }
}

pub(super) fn entries(settings: &Workload) -> Vec<SuiteEntry> {
    let named = |name: &str| Workload {
        name: name.to_owned(),
        ..base(settings)
    };
    let idle = |clients| Workload {
        subscribers: clients,
        rate: Rate::Lines(10),
        seconds: 1.0,
        warmup_seconds: 0.0,
        ..named(&format!("{} idle clients", count(clients as f64)))
    };
    vec![
        SuiteEntry {
            letter: 'a',
            workload: named("10,000 lines/s x 100 subscribers x 100 bytes"),
            systems: &[Engine, Baseline, Floor],
            reach: "nothing skipped, p99 <= 20 ms, CPU <= 0.30 x baseline",
            judge: |c| vec![no_skips(c), p99(c, 20.0), cpu(c, Baseline, 0.30)],
        },
        SuiteEntry {
            letter: 'b',
            workload: Workload {
                rate: Rate::Lines(40_000),
                queue_messages: Some(256),
                ..named("40,000 lines/s x 100 subscribers, queue 256")
            },
            systems: &[Engine, Baseline, Floor],
            reach: "<= 0.5 % skipped, CPU <= 0.28 x baseline and <= 1.3 x floor",
            judge: |c| vec![skips(c, 0.005), cpu(c, Baseline, 0.28), cpu(c, Floor, 1.3)],
        },
        SuiteEntry {
            letter: 'c',
            workload: Workload {
                rate: Rate::Max,
                queue_messages: Some(8_192),
                ..named("as fast as it goes x 100 subscribers, queue 8,192")
            },
            systems: &[Engine, Baseline, Floor],
            reach: "delivered/s >= 6 x baseline and >= 0.65 x floor",
            judge: |c| vec![delivered(c, Baseline, 6.0), delivered(c, Floor, 0.65)],
        },
        SuiteEntry {
            letter: 'c',
            workload: Workload {
                rate: Rate::Max,
                queue_messages: Some(8_192),
                pin: false,
                ..named("the same, not pinned")
            },
            systems: &[Engine],
            reach: "more than pinned",
            judge: |_| Vec::new(),
        },
        SuiteEntry {
            letter: 'd',
            workload: Workload {
                rate: Rate::Lines(1_000),
                subscribers: 1_000,
                ..named("1,000 lines/s x 1,000 subscribers")
            },
            systems: &[Engine, Baseline, Floor],
            reach: "nothing skipped, p99 <= 30 ms, CPU <= baseline",
            judge: |c| vec![no_skips(c), p99(c, 30.0), cpu(c, Baseline, 1.0)],
        },
        SuiteEntry {
            letter: 'e',
            workload: Workload {
                channels: 1_000,
                channels_per_client: 100,
                ..named("1,000 channels of 10 lines/s; 100 clients, each in 100 of them")
            },
            systems: &[Engine, Baseline],
            reach: "nothing skipped, p99 <= 20 ms, CPU <= 0.5 x baseline",
            judge: |c| vec![no_skips(c), p99(c, 20.0), cpu(c, Baseline, 0.5)],
        },
        SuiteEntry {
            letter: 'f',
            workload: Workload {
                rate: Rate::Lines(10),
                ..named("a lone line every 100 ms x 100 subscribers")
            },
            systems: &[Engine, Baseline, Floor],
            reach: "p50 <= 0.3 ms, p99 <= 2 ms",
            judge: |c| {
                vec![
                    latency(c, "p50", |o| Some(o.latency_us?.p50), 0.3),
                    p99(c, 2.0),
                ]
            },
        },
        SuiteEntry {
            letter: 'g',
            workload: Workload {
                stalled: 20,
                ..named("100 subscribers of which 20 are stalled")
            },
            systems: &[Engine, Baseline],
            reach: "the 80: nothing skipped, p99 <= 20 ms; memory flat",
            judge: |c| vec![no_skips(c), p99(c, 20.0), flat_memory(c)],
        },
        SuiteEntry {
            letter: 'h',
            workload: idle(5_000),
            systems: &[Engine, Baseline],
            reach: "4 KiB of memory each",
            judge: |c| vec![memory_each(c)],
        },
        SuiteEntry {
            letter: 'h',
            workload: idle(10_000),
            systems: &[Engine, Baseline],
            reach: "4 KiB of memory each, joins <= 2 s and <= 2.5 x those of 5,000",
            judge: |c| vec![memory_each(c), joins(c)],
        },
    ]
}
