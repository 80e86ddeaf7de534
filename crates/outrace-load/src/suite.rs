//! The table of workloads that the documentation shows: each with what it is to reach, what was measured, and
//! whether that is enough.

use crate::args::LoadArgs;
use crate::compare::Plan;
use crate::outcome::{Comparison, MemoryUse, Outcome};
use crate::pipe_speed::{self, PipeSpeed};
use crate::progress::Progress;
use crate::system::System::{self, Baseline, Engine, Floor};
use crate::table::{count, milliseconds, percent};
use crate::workload::{Rate, SubscribeOptions, Workload};
use serde::Serialize;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Suite {
    pub(crate) rows: Vec<Row>,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) pipe: Option<PipeSpeed>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) letter: String,
    pub(crate) workload: String,
    pub(crate) reach: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// One condition: what was measured, in words, and whether it is within its limit.
struct Condition(String, bool);

struct Entry {
    letter: char,
    workload: Workload,
    systems: &'static [System],
    reach: &'static str,
    judge: fn(&Comparison) -> Vec<Condition>,
}

pub(crate) fn run(args: &LoadArgs, progress: &Progress) -> Result<Suite, String> {
    let wanted = |letter: char| args.only.is_empty() || args.only.contains(&letter);
    let mut suite = Suite::default();
    for entry in entries(args)
        .into_iter()
        .filter(|entry| wanted(entry.letter))
    {
        let systems = entry.systems.to_vec();
        let plan = Plan {
            systems,
            rounds: args.rounds.max(1),
            remote: None,
            floor_block: args.floor_block,
        };
        let comparison = plan
            .run(entry.workload, progress)
            .map_err(|why| format!("workload {}: {why}", entry.letter))?;
        let conditions = (entry.judge)(&comparison);
        suite.push(
            entry.letter,
            &comparison.workload.name,
            entry.reach,
            conditions,
        );
        suite.comparisons.push(comparison);
    }
    if wanted('k') || wanted('l') {
        suite.compare_options(args, progress, wanted)?;
    }
    if wanted('c') {
        suite.compare_pinned();
    }
    if wanted('h') {
        suite.compare_joins();
    }
    if wanted('j') {
        progress.round("outrace pipe with nobody watching, beside wc -l and cat".to_owned());
        let speed = pipe_speed::measure(2.0, 100)?;
        let shown =
            |speed: Option<f64>| speed.map_or_else(|| "–".to_owned(), |s| format!("{s:.2} GB/s"));
        let enough = speed.outrace >= 1.0 || speed.wc.is_some_and(|wc| speed.outrace * 2.0 >= wc);
        let words = format!(
            "{:.2} GB/s; wc -l {}, cat {}",
            speed.outrace,
            shown(speed.wc),
            shown(speed.cat)
        );
        let reach = "1 GB/s, or half of wc -l";
        suite.push(
            'j',
            "outrace pipe, nobody watching, 100-byte lines",
            reach,
            vec![Condition(words, enough)],
        );
        suite.pipe = Some(speed);
    }
    Ok(suite)
}

fn base(args: &LoadArgs) -> Workload {
    Workload {
        seconds: args.seconds,
        warmup: args.warmup,
        burst: args.burst,
        pin: std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2),
        max_flush_interval: args.max_flush_interval,
        threads: args.threads,
        ..Workload::default()
    }
}

fn entries(args: &LoadArgs) -> Vec<Entry> {
    let named = |name: &str| Workload {
        name: name.to_owned(),
        ..base(args)
    };
    let idle = |clients| Workload {
        subscribers: clients,
        rate: Rate::Lines(10),
        seconds: 1.0,
        warmup: 0.0,
        ..named(&format!("{} idle clients", count(clients as f64)))
    };
    vec![
        Entry {
            letter: 'a',
            workload: named("10,000 lines/s x 100 subscribers x 100 bytes"),
            systems: &[Engine, Baseline, Floor],
            reach: "nothing skipped, p99 <= 20 ms, CPU <= 0.30 x baseline",
            judge: |c| vec![no_skips(c), p99(c, 20.0), cpu(c, Baseline, 0.30)],
        },
        Entry {
            letter: 'b',
            workload: Workload {
                rate: Rate::Lines(40_000),
                queue: Some(256),
                ..named("40,000 lines/s x 100 subscribers, queue 256")
            },
            systems: &[Engine, Baseline, Floor],
            reach: "<= 0.5 % skipped, CPU <= 0.28 x baseline and <= 1.3 x floor",
            judge: |c| vec![skips(c, 0.005), cpu(c, Baseline, 0.28), cpu(c, Floor, 1.3)],
        },
        Entry {
            letter: 'c',
            workload: Workload {
                rate: Rate::Max,
                queue: Some(8_192),
                ..named("as fast as it goes x 100 subscribers, queue 8,192")
            },
            systems: &[Engine, Baseline, Floor],
            reach: "delivered/s >= 6 x baseline and >= 0.65 x floor",
            judge: |c| vec![delivered(c, Baseline, 6.0), delivered(c, Floor, 0.65)],
        },
        Entry {
            letter: 'c',
            workload: Workload {
                rate: Rate::Max,
                queue: Some(8_192),
                pin: false,
                ..named("the same, not pinned")
            },
            systems: &[Engine],
            reach: "more than pinned",
            judge: |_| Vec::new(),
        },
        Entry {
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
        Entry {
            letter: 'e',
            workload: Workload {
                channels: 1_000,
                per_client: 100,
                ..named("1,000 channels of 10 lines/s; 100 clients, each in 100 of them")
            },
            systems: &[Engine, Baseline],
            reach: "nothing skipped, p99 <= 20 ms, CPU <= 0.5 x baseline",
            judge: |c| vec![no_skips(c), p99(c, 20.0), cpu(c, Baseline, 0.5)],
        },
        Entry {
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
        Entry {
            letter: 'g',
            workload: Workload {
                stalled: 20,
                ..named("100 subscribers of which 20 are stalled")
            },
            systems: &[Engine, Baseline],
            reach: "the 80: nothing skipped, p99 <= 20 ms; memory flat",
            judge: |c| vec![no_skips(c), p99(c, 20.0), flat_memory(c)],
        },
        Entry {
            letter: 'h',
            workload: idle(5_000),
            systems: &[Engine, Baseline],
            reach: "4 KiB of memory each",
            judge: |c| vec![memory_each(c)],
        },
        Entry {
            letter: 'h',
            workload: idle(10_000),
            systems: &[Engine, Baseline],
            reach: "4 KiB of memory each, joins <= 2 s and <= 2.5 x those of 5,000",
            judge: |c| vec![memory_each(c), joins(c)],
        },
    ]
}

fn no_skips(comparison: &Comparison) -> Condition {
    let skipped = comparison
        .of(Engine)
        .map(|outcome| outcome.skipped_by_readers)
        .max()
        .unwrap_or(0);
    Condition(format!("{} skipped", count(skipped as f64)), skipped == 0)
}

fn skips(comparison: &Comparison, most: f64) -> Condition {
    let shares = |system| {
        comparison
            .median(system, |o| Some(o.skipped_share()))
            .unwrap_or(0.0)
    };
    let share = shares(Engine);
    Condition(
        format!(
            "{} skipped (baseline {})",
            percent(share),
            percent(shares(Baseline))
        ),
        share <= most,
    )
}

fn latency(
    c: &Comparison,
    name: &str,
    figure: fn(&Outcome) -> Option<u64>,
    most_ms: f64,
) -> Condition {
    match c.median(Engine, |outcome| figure(outcome).map(|us| us as f64)) {
        Some(us) => Condition(format!("{name} {}", milliseconds(us)), us <= most_ms * 1e3),
        None => Condition(format!("no {name}: nothing was delivered"), false),
    }
}

fn p99(comparison: &Comparison, most_ms: f64) -> Condition {
    latency(
        comparison,
        "p99",
        |outcome| Some(outcome.latency_us?.p99),
        most_ms,
    )
}

fn cpu(comparison: &Comparison, other: System, most: f64) -> Condition {
    let ns = comparison
        .median(Engine, |o| o.server_cpu_ns_per_delivered)
        .unwrap_or(f64::NAN);
    let ratio = comparison
        .ratio(other, |o| o.server_cpu_ns_per_delivered)
        .unwrap_or(f64::NAN);
    Condition(
        format!("CPU {ns:.0} ns, {ratio:.2} x {other}"),
        ratio <= most,
    )
}

fn delivered(comparison: &Comparison, other: System, least: f64) -> Condition {
    let rate = comparison
        .median(Engine, |o| Some(o.delivered_per_second))
        .unwrap_or(0.0);
    let ratio = comparison
        .ratio(other, |o| Some(o.delivered_per_second))
        .unwrap_or(f64::NAN);
    Condition(
        format!("{}/s, {ratio:.2} x {other}", count(rate)),
        ratio >= least,
    )
}

/// What the memory grew by while lines flowed: less than a mebibyte is flat.
fn flat_memory(comparison: &Comparison) -> Condition {
    let growth = |memory: MemoryUse| memory.at_end as f64 - memory.at_start as f64;
    let grown = comparison
        .median(Engine, |outcome| outcome.memory.map(growth))
        .unwrap_or(f64::NAN);
    Condition(
        format!("memory {:+.0} KiB while measured", grown / 1024.0),
        grown <= 1024.0 * 1024.0,
    )
}

fn memory_each(comparison: &Comparison) -> Condition {
    let each = |system| {
        let figure = |outcome: &Outcome| {
            let memory = outcome.memory?;
            let grown = memory.with_clients.saturating_sub(memory.before_clients);
            Some(grown as f64 / comparison.workload.subscribers as f64)
        };
        comparison.median(system, figure).unwrap_or(f64::NAN)
    };
    let words = format!(
        "{:.1} KiB each (baseline {:.1})",
        each(Engine) / 1024.0,
        each(Baseline) / 1024.0
    );
    Condition(words, each(Engine) <= 4096.0)
}

fn joins(comparison: &Comparison) -> Condition {
    let join = |system| {
        comparison
            .median(system, |outcome| Some(outcome.join_ms))
            .unwrap_or(f64::NAN)
    };
    let words = format!(
        "joined in {:.0} ms (baseline {:.0})",
        join(Engine),
        join(Baseline)
    );
    Condition(words, join(Engine) <= 2_000.0)
}

impl Suite {
    fn push(&mut self, letter: char, workload: &str, reach: &str, conditions: Vec<Condition>) {
        self.rows.push(Row {
            letter: letter.to_string(),
            workload: workload.to_owned(),
            reach: reach.to_owned(),
            met: conditions.iter().all(|condition| condition.1),
            measured: conditions
                .into_iter()
                .map(|condition| condition.0)
                .collect::<Vec<_>>()
                .join("; "),
        });
    }

    /// What history costs, and what batches save: workload (a) with neither, with the one and with the other, in turns.
    fn compare_options(
        &mut self,
        args: &LoadArgs,
        progress: &Progress,
        wanted: impl Fn(char) -> bool,
    ) -> Result<(), String> {
        let named = |what: &str| Workload {
            name: format!("10,000 lines/s x 100 subscribers x 100 bytes, {what}"),
            ..base(args)
        };
        let mut workloads = vec![
            Workload {
                history: Some(0),
                ..named("no history")
            },
            named("history as it is by default"),
        ];
        if wanted('l') {
            workloads.push(Workload {
                wish: SubscribeOptions {
                    gaps: false,
                    batch: true,
                },
                ..named("the same, batches")
            });
        }
        // Differences of a few percent drown in one round's noise.
        let plan = Plan {
            systems: vec![Engine],
            rounds: args.rounds.max(3),
            remote: None,
            floor_block: args.floor_block,
        };
        let comparisons = plan
            .run_in_turns(workloads, progress)
            .map_err(|why| format!("workloads k and l: {why}"))?;
        let cpu = |c: &Comparison, to: &Comparison, most: f64| {
            let ns = c
                .median(Engine, |o| o.server_cpu_ns_per_delivered)
                .unwrap_or(f64::NAN);
            let ratio = c
                .ratio_to(to, |o| o.server_cpu_ns_per_delivered)
                .unwrap_or(f64::NAN);
            Condition(format!("CPU {ns:.0} ns, {ratio:.3} x"), ratio <= most)
        };
        let [without, with, batches @ ..] = &comparisons[..] else {
            return Ok(());
        };
        if wanted('k') {
            let reach = "CPU <= 1.05 x that without history";
            self.push(
                'k',
                &with.workload.name,
                reach,
                vec![cpu(with, without, 1.05)],
            );
        }
        for batch in batches {
            let bytes = batch
                .median(Engine, |o| o.bytes_per_delivered)
                .unwrap_or(f64::NAN);
            let ratio = batch
                .ratio_to(with, |o| o.bytes_per_delivered)
                .unwrap_or(f64::NAN);
            let bytes = Condition(format!("{bytes:.0} bytes, {ratio:.3} x"), ratio <= 0.5);
            let reach = "bytes and CPU <= 0.5 x those of single frames";
            self.push(
                'l',
                &batch.workload.name,
                reach,
                vec![bytes, cpu(batch, with, 0.5)],
            );
        }
        self.comparisons.extend(comparisons);
        Ok(())
    }

    fn engine(
        &self,
        workload: impl Fn(&Workload) -> bool,
        figure: fn(&Outcome) -> f64,
    ) -> Option<f64> {
        let comparison = self
            .comparisons
            .iter()
            .find(|comparison| workload(&comparison.workload))?;
        comparison.median(Engine, |outcome| Some(figure(outcome)))
    }

    fn amend(&mut self, letter: &str, words: &str, met: bool) {
        if let Some(row) = self.rows.iter_mut().rfind(|row| row.letter == letter) {
            let semicolon = if row.measured.is_empty() { "" } else { "; " };
            row.measured = format!("{}{semicolon}{words}", row.measured);
            row.met &= met;
        }
    }

    fn compare_pinned(&mut self) {
        let rate = |pin| {
            self.engine(
                |w| w.rate == Rate::Max && w.pin == pin,
                |o| o.delivered_per_second,
            )
        };
        if let (Some(pinned), Some(free)) = (rate(true), rate(false)) {
            let words = format!("{}/s, {:.2} x pinned", count(free), free / pinned);
            self.amend("c", &words, free > pinned);
        }
    }

    fn compare_joins(&mut self) {
        let joins = |clients| self.engine(|w| w.subscribers == clients, |o| o.join_ms);
        if let (Some(half), Some(all)) = (joins(5_000), joins(10_000)) {
            let words = format!("{:.2} x the time of 5,000", all / half);
            self.amend("h", &words, all <= 2.5 * half);
        }
    }

    /// The table with its head.
    pub(crate) fn table(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ["#", "workload", "to reach", "measured", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(self.rows.iter().map(|row| {
            let met = if row.met { "reached" } else { "missed" };
            vec![
                row.letter.clone(),
                row.workload.clone(),
                row.reach.clone(),
                row.measured.clone(),
                met.to_owned(),
            ]
        }));
        rows
    }
}
