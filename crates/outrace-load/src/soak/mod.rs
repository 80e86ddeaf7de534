//! `outrace load --soak`: everything at once for as long as told, and nothing may drift.
//!
//! Clients of every kind account for every line, as in `--verify`. Beside them [`disturber`]s do what [`deeds`] has: reset connections, break the
//! protocol, stream over HTTP, publish, look. [`sample`] reads the server every few seconds, [`drift`] has the statistics and [`check`] the
//! verdict.

mod check;
mod deeds;
mod disturber;
mod drift;
mod peer;
mod report;
mod sample;

use crate::args::LoadArgs;
use crate::clock::{self, MILLISECOND, SECOND};
use crate::outcome::{Comparison, Outcome};
use crate::progress::Progress;
use crate::round::{self, Subject};
use crate::system::System;
use crate::tally::empty_histogram;
use crate::watch::{Scene, Watch};
use crate::workload::{Rate, Slow, Workload};
use check::{Check, Findings, Verdict};
use disturber::{Disturbers, Doings, Scenery};
use hdrhistogram::Histogram;
use sample::{Level, Reading, Sample};
use std::sync::Arc;
use std::time::Duration;

/// How often the machine's own lateness is measured.
const STEP: u64 = 5 * MILLISECOND;

/// Samples of any soak that is not short, and how far apart they are at most: memory and latency of a few seconds are noise less.
const SAMPLES: u32 = 120;
const MAX_INTERVAL: Duration = Duration::from_secs(5);
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// What is kept of the longest soak.
const MAX_SAMPLES: u32 = 720;

/// How long receivers may take to give the latencies of an interval. One that does not come by gives them with the next.
const GIVING: u64 = 200 * MILLISECOND;

/// How long all that is over may take to be gone: a close handshake and what hyper keeps of an idle connection.
const SETTLING: u64 = 20 * SECOND;

/// Runs the soak; 0 if nothing drifted and every book closes.
pub(crate) fn run(args: &LoadArgs, time: Duration, progress: &Progress) -> Result<u8, String> {
    let workload = workload(args, time);
    let subject = Subject {
        system: System::Engine,
        remote: None,
        block_bytes: 0,
    };
    progress.round(workload.name.clone());
    let mut soak = Soak::new(&workload, time);
    let mut outcome = round::run(&workload, &subject, progress, &mut soak)?;
    let checks = soak.checks();
    note(&mut outcome, &checks, &soak.doings, soak.trouble.as_slice());
    progress.suspend(|| {
        print!(
            "{}",
            report::text(&workload, &outcome, &soak.samples, &checks, &soak.doings)
        )
    });
    if let Some(file) = &args.json {
        let json = report::json(&workload, &outcome, &soak.samples, &checks, &soak.doings);
        crate::write(file, &format!("{json:#}\n"))?;
    }
    let code = crate::verdict(&[Comparison {
        workload,
        outcomes: vec![outcome],
    }]);
    println!("{}", report::verdict(code, &checks));
    Ok(code)
}

/// What fails is a fault beside those of the clients.
fn note(outcome: &mut Outcome, checks: &[Check], doings: &Doings, trouble: &[String]) {
    let failed = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fails);
    let failed: Vec<String> = failed
        .map(|check| format!("{}: {}", check.name, check.measured))
        .collect();
    outcome.fault_count += failed.len() as u64 + doings.fault_count + trouble.len() as u64;
    // Before what may be many faults of one kind.
    outcome
        .faults
        .splice(0..0, failed.into_iter().chain(trouble.iter().cloned()));
    outcome.faults.extend(doings.faults.iter().cloned());
}

/// Of every kind of client four and more, one for each way to be told: plain, gaps, gaps and batch, batch. 64,000 deliveries a second, so that two
/// cores are busy and not full: a drift shows as what it is.
fn workload(args: &LoadArgs, time: Duration) -> Workload {
    Workload {
        name: format!("soak of {time:?}"),
        subscribers: 24,
        stalled: 4,
        slow: Some(Slow {
            clients: 4,
            bytes_per_second: 100_000,
        }),
        churn: 8,
        churn_stay: Duration::from_millis(700).min(time / 20),
        stall: Some(Duration::from_secs(15).min(time / 6)),
        comes_back: true,
        rate: Rate::Lines(4_000),
        // A burst on one channel is half a queue; those of a client's two channels together are just what fits.
        burst: 256,
        channels: 4,
        per_client: 2,
        queue: Some(128),
        history: Some(1_000),
        seconds: time.as_secs_f64(),
        warmup: 0.0,
        line_bytes: args.line_bytes,
        threads: args.threads,
        mix: true,
        ..Workload::default()
    }
}

struct Soak {
    workload: Workload,
    event_every: Duration,
    disturbers: Disturbers,
    doings: Doings,
    interval: u64,
    began: u64,
    next: u64,
    /// Latencies were asked for, at this time.
    asked: Option<u64>,
    last: Option<Reading>,
    late: Histogram<u64>,
    samples: Vec<Sample>,
    before: Option<Level>,
    after: Option<Level>,
    open: u64,
    overflows: u64,
    time: Duration,
    /// What kept this from measuring.
    trouble: Vec<String>,
}

impl Soak {
    fn new(workload: &Workload, time: Duration) -> Soak {
        let interval = (time / SAMPLES)
            .clamp(MIN_INTERVAL, MAX_INTERVAL)
            .max(time / MAX_SAMPLES);
        Soak {
            workload: workload.clone(),
            event_every: (time / 20).min(Duration::from_secs(10)),
            disturbers: Disturbers::default(),
            doings: Doings::default(),
            interval: interval.as_nanos() as u64,
            began: 0,
            next: 0,
            asked: None,
            last: None,
            late: empty_histogram(),
            samples: Vec::new(),
            before: None,
            after: None,
            open: 0,
            overflows: 0,
            time,
            trouble: Vec::new(),
        }
    }

    fn checks(&self) -> Vec<Check> {
        let mut checks = check::drifts(&self.samples);
        checks.extend(self.at_rest());
        checks
    }

    /// Nothing where the server could not be read, which is among the troubles.
    fn at_rest(&self) -> Vec<Check> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return Vec::new();
        };
        let (open, overflows) = (self.open, self.overflows);
        Findings {
            before,
            after,
            open,
            overflows,
            doings: &self.doings,
        }
        .at_rest()
    }

    fn disturb(&mut self, scene: &Scene<'_>) -> Result<(), String> {
        let scenery = Arc::new(Scenery {
            target: scene.target.clone(),
            workload: self.workload.clone(),
            event_every: self.event_every,
        });
        let deeds: [(&'static str, u64, disturber::Deed); 6] = [
            ("resets", 50, deeds::reset),
            ("violations", 100, deeds::violate),
            ("streams", 100, deeds::stream),
            ("actions", 100, deeds::act),
            (
                "announcements",
                deeds::EVENT_MOMENT.as_millis() as u64,
                deeds::announce,
            ),
            ("looks", 500, deeds::look),
        ];
        deeds.into_iter().try_for_each(|(name, rest, deed)| {
            self.disturbers
                .start(name, &scenery, Duration::from_millis(rest), deed)
        })
    }

    /// Reads the server, and makes a sample of it and the latencies that were given.
    fn sample(&mut self, scene: &Scene<'_>, now: u64) {
        let latency = scene.control.interval.take();
        match Reading::take(scene, now) {
            Ok(reading) => {
                if let Some(last) = &self.last {
                    self.samples
                        .push(reading.since(last, self.began, &latency, &self.late));
                }
                self.last = Some(reading);
                self.late.reset();
            }
            // Once is enough said: what does not answer now may not answer for the rest of the time.
            Err(why) if self.trouble.is_empty() => self
                .trouble
                .push(format!("a sample could not be taken: {why}")),
            Err(_) => {}
        }
    }

    fn show(&self, scene: &Scene<'_>, now: u64) {
        let Some(sample) = self.samples.last() else {
            return;
        };
        let seconds = now.saturating_sub(self.began) / SECOND;
        scene.progress.tell(format!(
            "{seconds} of {:.0} s: {}",
            self.time.as_secs_f64(),
            report::line(sample, scene.control.overflows())
        ));
    }
}

impl Watch for Soak {
    fn step(&self) -> u64 {
        STEP
    }

    fn joined(&mut self, scene: &Scene<'_>) -> Result<(), String> {
        let mut level = Level::read(scene)?;
        for _ in 0..20 {
            // The descriptors of those that asked before go a moment later.
            std::thread::sleep(Duration::from_millis(10));
            level = Level::read(scene).map(|next| {
                if next.descriptors <= level.descriptors {
                    next
                } else {
                    level
                }
            })?;
        }
        self.before = Some(level);
        self.disturb(scene)?;
        self.began = clock::now();
        self.next = self.began;
        Ok(())
    }

    fn running(&mut self, scene: &Scene<'_>, late: u64) {
        self.late.saturating_record(late.div_ceil(1_000).max(1));
        let now = clock::now();
        let interval = &scene.control.interval;
        match self.asked {
            None if now >= self.next => {
                interval.ask();
                self.asked = Some(now);
                self.next = now + self.interval;
            }
            Some(asked)
                if interval.given_by() >= self.workload.threads || now >= asked + GIVING =>
            {
                self.asked = None;
                self.sample(scene, now);
                self.show(scene, now);
            }
            _ => {}
        }
    }

    fn fed(&mut self, _: &Scene<'_>) {
        self.doings = self.disturbers.end();
    }

    fn drained(&mut self, scene: &Scene<'_>) {
        let until = clock::now() + SETTLING;
        loop {
            match Level::read(scene) {
                Ok(level) => self.after = Some(level),
                Err(why) => {
                    self.trouble
                        .push(format!("the server could not be read at the end: {why}"));
                    return;
                }
            }
            (self.open, self.overflows) = (scene.control.open(), scene.control.overflows());
            if clock::now() > until
                || self
                    .at_rest()
                    .iter()
                    .all(|check| check.verdict == Verdict::Holds)
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
