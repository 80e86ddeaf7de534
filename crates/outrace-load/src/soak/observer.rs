//! Observes the round of a soak: starts the disturbers, takes samples, and reads the final state.

use super::action_log::ActionLog;
use super::actions;
use super::actions::DisturberContext;
use super::check::{Check, CheckVerdict};
use super::disturber::{Action, Disturbers};
use super::drift_checks::drift_checks;
use super::error::SoakError;
use super::final_checks::FinalState;
use super::report;
use super::sample::{Sample, ServerLevel, ServerReading};
use crate::clock::{self, NS_PER_MS, NS_PER_SECOND};
use crate::measure::histogram::empty_histogram;
use crate::run::error::ObserverError;
use crate::run::observer::{RoundObserver, RoundView};
use crate::workload::Workload;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::time::Duration;

/// The interval at which the machine's own lateness is measured.
const STEP_NS: u64 = 5 * NS_PER_MS;

/// The number of samples, unless their interval would be out of its bounds.
const SAMPLES: u32 = 120;
/// The memory and the latency of fewer seconds are noisier.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// The number of samples of the longest soak. Its interval exceeds [`MAX_INTERVAL`].
const MAX_SAMPLES: u32 = 720;

/// The longest time until receivers have added the latencies of an interval. A receiver that is
/// later adds them to the next interval.
const COLLECT_TIMEOUT_NS: u64 = 200 * NS_PER_MS;

/// The longest time until everything that is over has disappeared: a close handshake, and what
/// hyper keeps of an idle connection.
const SETTLE_TIMEOUT_NS: u64 = 20 * NS_PER_SECOND;

pub(super) struct SoakObserver {
    workload: Workload,
    duration: Duration,
    disturbers: Disturbers,
    pub(super) actions: ActionLog,
    interval_ns: u64,
    began_ns: u64,
    next_sample_ns: u64,
    /// The time at which the latencies of an interval were requested.
    requested_ns: Option<u64>,
    last: Option<ServerReading>,
    late_us: Histogram<u64>,
    pub(super) samples: Vec<Sample>,
    before: Option<ServerLevel>,
    after: Option<ServerLevel>,
    open: u64,
    overflows: u64,
    /// The measurements that failed.
    pub(super) trouble: Vec<String>,
}

impl SoakObserver {
    pub(super) fn new(workload: &Workload, duration: Duration) -> SoakObserver {
        let interval = (duration / SAMPLES)
            .clamp(MIN_INTERVAL, MAX_INTERVAL)
            .max(duration / MAX_SAMPLES);
        SoakObserver {
            workload: workload.clone(),
            duration,
            disturbers: Disturbers::default(),
            actions: ActionLog::default(),
            interval_ns: interval.as_nanos() as u64,
            began_ns: 0,
            next_sample_ns: 0,
            requested_ns: None,
            last: None,
            late_us: empty_histogram(),
            samples: Vec::new(),
            before: None,
            after: None,
            open: 0,
            overflows: 0,
            trouble: Vec::new(),
        }
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = drift_checks(&self.samples);
        checks.extend(self.final_checks());
        checks
    }

    /// Returns no checks if the server could not be read, which is noted as trouble.
    fn final_checks(&self) -> Vec<Check> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return Vec::new();
        };
        FinalState {
            before,
            after,
            open: self.open,
            overflows: self.overflows,
            actions: &self.actions,
        }
        .checks()
    }

    fn start_disturbers(&mut self, view: &RoundView<'_>) -> Result<(), SoakError> {
        let context = Arc::new(DisturberContext {
            target: view.target.clone(),
            workload: self.workload.clone(),
            broadcast_interval: (self.duration / 20).min(Duration::from_secs(10)),
        });
        let ms = Duration::from_millis;
        let kinds: [(&'static str, Duration, Action); 6] = [
            ("resets", ms(50), actions::reset),
            ("violations", ms(100), actions::violate),
            ("streams", ms(100), actions::stream),
            ("actions", ms(100), actions::act),
            ("broadcasts", actions::BROADCAST_TICK, actions::broadcast),
            ("looks", ms(500), actions::monitor),
        ];
        kinds.into_iter().try_for_each(|(name, pause, action)| {
            self.disturbers.start(name, &context, pause, action)
        })
    }

    /// Reads the server, and makes a sample of it and of the collected latencies.
    fn take_sample(&mut self, view: &RoundView<'_>, now_ns: u64) {
        let latency_us = view.control.interval.take();
        match ServerReading::take(view, now_ns) {
            Ok(reading) => {
                if let Some(last) = &self.last {
                    let sample = reading.since(last, self.began_ns, &latency_us, &self.late_us);
                    self.samples.push(sample);
                }
                self.last = Some(reading);
                self.late_us.reset();
            }
            // Only the first failure is noted. A server that fails once may fail until the end.
            Err(why) if self.trouble.is_empty() => self
                .trouble
                .push(format!("a sample could not be taken: {why}")),
            Err(_) => {}
        }
    }

    fn show(&self, view: &RoundView<'_>, now_ns: u64) {
        let Some(sample) = self.samples.last() else {
            return;
        };
        let seconds = now_ns.saturating_sub(self.began_ns) / NS_PER_SECOND;
        view.progress.show_text(format!(
            "{seconds} of {:.0} s: {}",
            self.duration.as_secs_f64(),
            report::line(sample, view.control.overflows())
        ));
    }
}

impl RoundObserver for SoakObserver {
    fn step_ns(&self) -> u64 {
        STEP_NS
    }

    fn joined(&mut self, view: &RoundView<'_>) -> Result<(), ObserverError> {
        let mut level = ServerLevel::read(view)?;
        for _ in 0..20 {
            // The descriptors of earlier requests are closed a moment later.
            std::thread::sleep(Duration::from_millis(10));
            let next = ServerLevel::read(view)?;
            if next.descriptors <= level.descriptors {
                level = next;
            }
        }
        self.before = Some(level);
        self.start_disturbers(view)?;
        self.began_ns = clock::now_ns();
        self.next_sample_ns = self.began_ns;
        Ok(())
    }

    fn running(&mut self, view: &RoundView<'_>, late_ns: u64) {
        self.late_us
            .saturating_record(late_ns.div_ceil(1_000).max(1));
        let now_ns = clock::now_ns();
        let interval = &view.control.interval;
        match self.requested_ns {
            None if now_ns >= self.next_sample_ns => {
                interval.request();
                self.requested_ns = Some(now_ns);
                self.next_sample_ns = now_ns + self.interval_ns;
            }
            Some(requested_ns)
                if interval.contributions() >= self.workload.threads
                    || now_ns >= requested_ns + COLLECT_TIMEOUT_NS =>
            {
                self.requested_ns = None;
                self.take_sample(view, now_ns);
                self.show(view, now_ns);
            }
            _ => {}
        }
    }

    fn fed(&mut self, _: &RoundView<'_>) {
        self.actions = self.disturbers.end();
    }

    fn drained(&mut self, view: &RoundView<'_>) {
        let deadline_ns = clock::now_ns() + SETTLE_TIMEOUT_NS;
        loop {
            match ServerLevel::read(view) {
                Ok(level) => self.after = Some(level),
                Err(why) => {
                    self.trouble
                        .push(format!("the server could not be read at the end: {why}"));
                    return;
                }
            }
            (self.open, self.overflows) = (view.control.open(), view.control.overflows());
            let settled = self
                .final_checks()
                .iter()
                .all(|check| check.verdict == CheckVerdict::Holds);
            if settled || clock::now_ns() > deadline_ns {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
