//! The same workload on several systems, in turns, so that what the machine does otherwise meets all of them alike.

use crate::args::{Against, LoadArgs};
use crate::floor;
use crate::outcome::Comparison;
use crate::progress::Progress;
use crate::round::{self, Subject};
use crate::server_process::Pinned;
use crate::system::System;
use crate::target::Target;
use crate::watch::Bystander;
use crate::workload::{Rate, Workload};

/// The engine's longest flush interval unless told, for guessing a floor's block when no engine runs beside it.
const FLUSH_MS: f64 = 10.0;

/// Runs what the arguments ask for, one workload after the other.
pub(crate) fn run(
    args: &LoadArgs,
    workloads: Vec<Workload>,
    progress: &Progress,
) -> Result<Vec<Comparison>, String> {
    let remote = args
        .url
        .as_deref()
        .map(|url| Target::parse(url, &args.headers))
        .transpose()?;
    let systems = systems(args, remote.is_some());
    let plan = Plan {
        systems,
        rounds: args.rounds.max(1),
        remote,
        floor_block: args.floor_block,
    };
    workloads
        .into_iter()
        .map(|workload| plan.run(workload, progress))
        .collect()
}

fn systems(args: &LoadArgs, remote: bool) -> Vec<System> {
    if remote {
        return vec![System::Remote];
    }
    let mut systems = if args.without_engine {
        vec![]
    } else {
        vec![System::Engine]
    };
    if matches!(args.against, Some(Against::Baseline | Against::Both)) {
        systems.push(System::Baseline);
    }
    if matches!(args.against, Some(Against::Floor | Against::Both)) {
        systems.push(System::Floor);
    }
    systems
}

pub(crate) struct Plan {
    pub(crate) systems: Vec<System>,
    pub(crate) rounds: usize,
    pub(crate) remote: Option<Target>,
    pub(crate) floor_block: Option<usize>,
}

impl Plan {
    pub(crate) fn run(
        &self,
        workload: Workload,
        progress: &Progress,
    ) -> Result<Comparison, String> {
        let mut comparison = Comparison {
            workload,
            outcomes: Vec::new(),
        };
        for number in 0..self.rounds {
            self.round(number, &mut comparison, progress)?;
        }
        Ok(comparison)
    }

    /// Several workloads in turns, each once a round: what is to be compared must not be measured at different times.
    pub(crate) fn run_in_turns(
        &self,
        workloads: Vec<Workload>,
        progress: &Progress,
    ) -> Result<Vec<Comparison>, String> {
        let mut comparisons: Vec<Comparison> = workloads
            .into_iter()
            .map(|workload| Comparison {
                workload,
                outcomes: Vec::new(),
            })
            .collect();
        for number in 0..self.rounds {
            for comparison in &mut comparisons {
                self.round(number, comparison, progress)?;
            }
        }
        Ok(comparisons)
    }

    fn round(
        &self,
        number: usize,
        comparison: &mut Comparison,
        progress: &Progress,
    ) -> Result<(), String> {
        for system in &self.systems {
            system.check(&comparison.workload)?;
        }
        let _pinned = if comparison.workload.pin {
            Some(Pinned::to(1)?)
        } else {
            None
        };
        for system in &self.systems {
            let workload = &comparison.workload;
            progress.round(format!(
                "{}: {system}, round {} of {}",
                workload.name,
                number + 1,
                self.rounds
            ));
            let block_bytes = self.block_bytes(comparison);
            let subject = Subject {
                system: *system,
                remote: self.remote.clone(),
                block_bytes,
            };
            let outcome = round::run(workload, &subject, progress, &mut Bystander)
                .map_err(|why| format!("the {system} could not be measured: {why}"))?;
            comparison.outcomes.push(outcome);
        }
        Ok(())
    }

    /// What the engine wrote at once in its last round.
    fn block_bytes(&self, comparison: &Comparison) -> usize {
        let workload = &comparison.workload;
        let frame = floor::frame_bytes(workload.line_bytes) as f64;
        let measured = comparison
            .of(System::Engine)
            .last()
            .and_then(|outcome| outcome.bytes_per_write);
        let guess = || match workload.rate {
            Rate::Lines(rate) => (frame * rate as f64 * FLUSH_MS / 1e3).min(65_536.0),
            _ => 65_536.0,
        };
        self.floor_block
            .unwrap_or_else(|| measured.unwrap_or_else(guess).max(frame) as usize)
    }
}
