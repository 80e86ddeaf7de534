//! The table of workloads that the documentation shows.
//!
//! Each row states what is to be reached, what was measured, and whether that is enough.

mod cluster_rows;
mod condition;
mod entry;
mod pipe_speed;

use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::report::format::count;
use crate::run::comparison::Comparison;
use crate::run::error::RunError;
use crate::run::outcome::Outcome;
use crate::run::plan::Plan;
use crate::server::system::System::Engine;
use crate::workload::{Rate, SubscribeOptions, Workload};
use condition::Condition;
use entry::{base, entries};
use pipe_speed::PipeSpeed;
use serde::Serialize;

/// Differences of a few percent drown in the noise of fewer rounds than these.
const MIN_ROUNDS_OF_OPTIONS: usize = 3;

/// The bytes that measure `outrace pipe`, in gigabytes.
const PIPE_GIGABYTES: f64 = 2.0;
const PIPE_LINE_BYTES: usize = 100;

/// The results of the suite. Other modes fill only the comparisons.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Suite {
    pub(crate) rows: Vec<SuiteRow>,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) pipe: Option<PipeSpeed>,
}

/// A measured row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SuiteRow {
    pub(crate) letter: String,
    pub(crate) workload: String,
    pub(crate) reach: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// Runs the rows whose letters are in `only`, or all rows if it is empty.
pub(crate) fn run(
    options: &LoadOptions,
    only: &[char],
    progress: &Progress,
) -> Result<Suite, RunError> {
    let wanted = |letter: char| only.is_empty() || only.contains(&letter);
    let mut suite = Suite::default();
    for entry in entries(&options.workload) {
        if !wanted(entry.letter) {
            continue;
        }
        let plan = Plan {
            program: &options.program,
            systems: entry.systems.to_vec(),
            rounds: options.rounds.max(1),
            remote: None,
            floor_block_bytes: options.floor_block_bytes,
        };
        let comparison = plan
            .run(entry.workload, progress)
            .map_err(|why| why.in_workload(format!("workload {}", entry.letter)))?;
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
        suite.compare_options(options, progress, wanted)?;
    }
    if wanted('c') {
        suite.compare_pinned();
    }
    if wanted('h') {
        suite.compare_joins();
    }
    if wanted('j') {
        suite.measure_pipe(options, progress)?;
    }
    suite.measure_cluster(options, progress, wanted)?;
    Ok(suite)
}

impl Suite {
    fn push(&mut self, letter: char, workload: &str, reach: &str, conditions: Vec<Condition>) {
        let met = conditions.iter().all(|condition| condition.met);
        let measured: Vec<String> = conditions
            .into_iter()
            .map(|condition| condition.measured)
            .collect();
        self.rows.push(SuiteRow {
            letter: letter.to_string(),
            workload: workload.to_owned(),
            reach: reach.to_owned(),
            met,
            measured: measured.join("; "),
        });
    }

    /// Measures what history costs and what batches save.
    ///
    /// Workload (a) runs with neither, with history, and with batches, in turns.
    fn compare_options(
        &mut self,
        options: &LoadOptions,
        progress: &Progress,
        wanted: impl Fn(char) -> bool,
    ) -> Result<(), RunError> {
        let named = |what: &str| Workload {
            name: format!("10,000 lines/s x 100 subscribers x 100 bytes, {what}"),
            ..base(&options.workload)
        };
        let mut workloads = vec![
            Workload {
                history_messages: Some(0),
                ..named("no history")
            },
            named("history as it is by default"),
        ];
        if wanted('l') {
            workloads.push(Workload {
                subscribe_options: SubscribeOptions {
                    gaps: false,
                    batch: true,
                },
                ..named("the same, batches")
            });
        }
        let plan = Plan {
            program: &options.program,
            systems: vec![Engine],
            rounds: options.rounds.max(MIN_ROUNDS_OF_OPTIONS),
            remote: None,
            floor_block_bytes: options.floor_block_bytes,
        };
        let comparisons = plan
            .run_in_turns(workloads, progress)
            .map_err(|why| why.in_workload("workloads k and l"))?;
        let cpu = |c: &Comparison, to: &Comparison, max: f64| {
            let ns = c
                .median(Engine, |o| o.server_cpu_ns_per_delivered)
                .unwrap_or(f64::NAN);
            let ratio = c
                .ratio_to(to, |o| o.server_cpu_ns_per_delivered)
                .unwrap_or(f64::NAN);
            Condition::new(format!("CPU {ns:.0} ns, {ratio:.3} x"), ratio <= max)
        };
        let [without, with, batches @ ..] = &comparisons[..] else {
            return Ok(());
        };
        if wanted('k') {
            self.push(
                'k',
                &with.workload.name,
                "CPU <= 1.05 x that without history",
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
            let bytes = Condition::new(format!("{bytes:.0} bytes, {ratio:.3} x"), ratio <= 0.5);
            self.push(
                'l',
                &batch.workload.name,
                "bytes and CPU <= 0.5 x those of single frames",
                vec![bytes, cpu(batch, with, 0.5)],
            );
        }
        self.comparisons.extend(comparisons);
        Ok(())
    }

    /// Adds to row (c) how the engine does without pinned cores.
    fn compare_pinned(&mut self) {
        let rate = |pin| {
            self.engine_median(
                |w| w.rate == Rate::Max && w.pin == pin,
                |o| o.delivered_per_second,
            )
        };
        if let (Some(pinned), Some(free)) = (rate(true), rate(false)) {
            let measured = format!("{} lines/s, {:.2} x pinned", count(free), free / pinned);
            self.amend("c", &measured, free > pinned);
        }
    }

    /// Adds to row (h) how the time of joining grows with the number of clients.
    fn compare_joins(&mut self) {
        let joins = |clients| self.engine_median(|w| w.subscribers == clients, |o| o.join_ms);
        if let (Some(half), Some(all)) = (joins(5_000), joins(10_000)) {
            let measured = format!("{:.2} x the time of 5,000", all / half);
            self.amend("h", &measured, all <= 2.5 * half);
        }
    }

    /// Adds row (j).
    fn measure_pipe(&mut self, options: &LoadOptions, progress: &Progress) -> Result<(), RunError> {
        progress.begin_round("outrace pipe without subscribers, beside wc -l and cat".to_owned());
        let speed = pipe_speed::measure(&options.program, PIPE_GIGABYTES, PIPE_LINE_BYTES)?;
        let shown =
            |speed: Option<f64>| speed.map_or_else(|| "–".to_owned(), |s| format!("{s:.2} GB/s"));
        let enough = speed.outrace >= 1.0 || speed.wc.is_some_and(|wc| speed.outrace * 2.0 >= wc);
        let measured = format!(
            "{:.2} GB/s; wc -l {}, cat {}",
            speed.outrace,
            shown(speed.wc),
            shown(speed.cat)
        );
        self.push(
            'j',
            "outrace pipe, nobody watching, 100-byte lines",
            "1 GB/s, or half of wc -l",
            vec![Condition::new(measured, enough)],
        );
        self.pipe = Some(speed);
        Ok(())
    }

    fn engine_median(
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

    /// Adds a figure to the last row of a letter.
    fn amend(&mut self, letter: &str, measured: &str, met: bool) {
        if let Some(row) = self.rows.iter_mut().rfind(|row| row.letter == letter) {
            let semicolon = if row.measured.is_empty() { "" } else { "; " };
            row.measured = format!("{}{semicolon}{measured}", row.measured);
            row.met &= met;
        }
    }

    /// Returns the rows as a table with its head.
    pub(crate) fn table(&self) -> Vec<Vec<String>> {
        let head = ["#", "workload", "to reach", "measured", ""];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
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
