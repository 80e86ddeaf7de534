//! Peers beside the clients that account for lines.
//!
//! Each kind is a thread that repeats one action. It counts what it did, and notes a fault if the
//! response is not the required one.

use super::actions::ActionError;
use super::error::SoakError;
use crate::wire::target::Target;
use crate::workload::Workload;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// The number of faults that are kept as text.
const MAX_KEPT_FAULTS: usize = 8;

/// The number of actions by name, and the faults in the responses.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ActionLog {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

impl ActionLog {
    pub(super) fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(super) fn fault(&mut self, text: String) {
        self.fault_count += 1;
        if self.faults.len() < MAX_KEPT_FAULTS {
            self.faults.push(text);
        }
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    fn merge(&mut self, other: ActionLog) {
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.fault_count += other.fault_count;
        self.faults.extend(other.faults);
        self.faults.truncate(MAX_KEPT_FAULTS);
    }
}

/// The data of the run that a disturber needs.
pub(super) struct DisturberContext {
    pub(super) target: Target,
    pub(super) workload: Workload,
    /// The time between two broadcasts. Each disconnects the clients whose queues are full.
    pub(super) broadcast_interval: Duration,
}

/// Performs one action. The number counts the actions of this kind.
pub(super) type Action = fn(&DisturberContext, u64, &mut ActionLog) -> Result<(), ActionError>;

/// The running disturbers. They end when this is dropped.
#[derive(Default)]
pub(super) struct Disturbers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<ActionLog>>,
}

impl Disturbers {
    /// Starts a thread that repeats `action` and pauses in between.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        context: &Arc<DisturberContext>,
        pause: Duration,
        action: Action,
    ) -> Result<(), SoakError> {
        let (stop, context) = (Arc::clone(&self.stop), Arc::clone(context));
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let mut log = ActionLog::default();
            for turn in 0.. {
                // Relaxed: the flag only says when to end. The join of the thread passes the log.
                if stop.load(Relaxed) {
                    break;
                }
                if let Err(why) = action(&context, turn, &mut log) {
                    log.fault(format!("{name}: {why}"));
                }
                std::thread::sleep(pause);
            }
            log
        });
        self.threads
            .push(thread.map_err(|error| SoakError::Start { name, error })?);
        Ok(())
    }

    /// Ends all disturbers. Returns what they did.
    pub(super) fn end(&mut self) -> ActionLog {
        self.stop.store(true, Relaxed);
        let mut log = ActionLog::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(done) => log.merge(done),
                Err(_) => log.fault("a disturber panicked".to_owned()),
            }
        }
        log
    }
}

impl Drop for Disturbers {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_all_are_counted_and_the_first_are_kept() {
        let mut all = ActionLog::default();
        for kind in ["a", "b"] {
            let mut one = ActionLog::default();
            for turn in 0..10 {
                one.count("actions");
                one.fault(format!("{kind} {turn}"));
            }
            all.merge(one);
        }
        assert_eq!(
            (all.of("actions"), all.fault_count, all.faults.len()),
            (20, 20, MAX_KEPT_FAULTS)
        );
        assert_eq!((all.faults[0].as_str(), all.of("nothing")), ("a 0", 0));
    }
}
