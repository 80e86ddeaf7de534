//! Measures a workload on several systems in turns.
//!
//! Whatever else the machine does then affects all of them alike.

use super::broker_stop::BrokerStop;
use super::comparison::Comparison;
use super::error::RunError;
use super::observer::{ProgressObserver, RoundObserver};
use super::round::{self, ServerUnderTest};
use crate::progress::Progress;
use crate::server::affinity::PinnedThread;
use crate::server::floor;
use crate::server::program::Program;
use crate::server::system::System;
use crate::wire::target::Target;
use crate::workload::{Rate, Workload};

/// The engine's default for the longest flush interval in milliseconds.
///
/// It serves to guess the floor's block if no engine runs beside it.
const DEFAULT_FLUSH_MS: f64 = 10.0;

/// The largest guess of the floor's block.
const MAX_GUESSED_BLOCK_BYTES: f64 = 65_536.0;

/// The systems to measure, and how.
pub(crate) struct Plan<'a> {
    pub(crate) program: &'a Program,
    pub(crate) systems: Vec<System>,
    pub(crate) rounds: usize,
    pub(crate) remote: Option<Target>,
    pub(crate) floor_block_bytes: Option<usize>,
}

impl Plan<'_> {
    /// Measures one workload.
    pub(crate) fn run(
        &self,
        workload: Workload,
        progress: &Progress,
    ) -> Result<Comparison, RunError> {
        let mut comparison = Comparison::new(workload);
        for number in 0..self.rounds {
            self.round(number, &mut comparison, progress)?;
        }
        Ok(comparison)
    }

    /// Measures several workloads in turns, each once a round.
    ///
    /// Figures that are compared must not be measured at different times.
    pub(crate) fn run_in_turns(
        &self,
        workloads: Vec<Workload>,
        progress: &Progress,
    ) -> Result<Vec<Comparison>, RunError> {
        let mut comparisons: Vec<Comparison> = workloads.into_iter().map(Comparison::new).collect();
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
    ) -> Result<(), RunError> {
        for system in &self.systems {
            system.check(&comparison.workload)?;
        }
        let _pinned = if comparison.workload.pin {
            Some(PinnedThread::to_core(1)?)
        } else {
            None
        };
        for system in &self.systems {
            let workload = &comparison.workload;
            progress.begin_round(format!(
                "{}: {system}, round {} of {}",
                workload.name,
                number + 1,
                self.rounds
            ));
            let server = ServerUnderTest {
                program: self.program,
                system: *system,
                remote: self.remote.clone(),
                block_bytes: self.block_bytes(comparison),
            };
            let stop = workload.cluster.broker_stop;
            let stop = stop.filter(|_| *system == System::Cluster);
            let mut observer: Box<dyn RoundObserver> = match stop {
                Some(lasts) => Box::new(BrokerStop::new(lasts)),
                None => Box::new(ProgressObserver),
            };
            let outcome =
                round::run(workload, &server, progress, &mut *observer).map_err(|why| {
                    RunError::System {
                        system: *system,
                        why: Box::new(why),
                    }
                })?;
            comparison.outcomes.push(outcome);
        }
        Ok(())
    }

    /// Returns the bytes that the floor writes at once: what the engine wrote in its last round.
    fn block_bytes(&self, comparison: &Comparison) -> usize {
        let workload = &comparison.workload;
        let frame_bytes = floor::frame_bytes(workload.line_bytes) as f64;
        let measured = comparison
            .of(System::Engine)
            .last()
            .and_then(|outcome| outcome.bytes_per_write);
        let guess = || match workload.rate {
            Rate::Lines(rate) => {
                (frame_bytes * rate as f64 * DEFAULT_FLUSH_MS / 1e3).min(MAX_GUESSED_BLOCK_BYTES)
            }
            Rate::Max | Rate::Window(_) => MAX_GUESSED_BLOCK_BYTES,
        };
        self.floor_block_bytes
            .unwrap_or_else(|| measured.unwrap_or_else(guess).max(frame_bytes) as usize)
    }
}
