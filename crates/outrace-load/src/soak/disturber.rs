//! Peers beside the clients that count: each kind is a thread that does what it does over and over, says what it did, and what it was not
//! answered as it has to be.

use crate::target::Target;
use crate::workload::Workload;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Faults that are kept in words.
const FAULTS_KEPT: usize = 8;

/// What disturbers did, by name, and what was wrong with the answers.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Doings {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
}

impl Doings {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn fault(&mut self, what: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(what);
        }
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    fn merge(&mut self, other: Doings) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.fault_count += other.fault_count;
        self.faults.extend(other.faults);
        self.faults.truncate(FAULTS_KEPT);
    }
}

/// What a disturber knows of the run.
pub(super) struct Scenery {
    pub(super) target: Target,
    pub(super) workload: Workload,
    /// How often there is a message for everybody: each disconnects those whose queues are full.
    pub(super) event_every: Duration,
}

/// One kind of disturber: does its thing once, the how-manieth time it is.
pub(super) type Deed = fn(&Scenery, u64, &mut Doings) -> Result<(), String>;

/// Those that run.
#[derive(Default)]
pub(super) struct Disturbers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Doings>>,
}

impl Disturbers {
    /// Starts a thread that does `deed`, and rests so long in between.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        scenery: &Arc<Scenery>,
        rest: Duration,
        deed: Deed,
    ) -> Result<(), String> {
        let (stop, scenery) = (Arc::clone(&self.stop), Arc::clone(scenery));
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let mut doings = Doings::default();
            for turn in 0.. {
                // Relaxed: it says only when to end, and what was done comes with the thread's end.
                if stop.load(Relaxed) {
                    break;
                }
                if let Err(why) = deed(&scenery, turn, &mut doings) {
                    doings.fault(format!("{name}: {why}"));
                }
                std::thread::sleep(rest);
            }
            doings
        });
        self.threads
            .push(thread.map_err(|e| format!("could not start {name}: {e}"))?);
        Ok(())
    }

    /// Ends them all; what they did.
    pub(super) fn end(&mut self) -> Doings {
        self.stop.store(true, Relaxed);
        let mut doings = Doings::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(done) => doings.merge(done),
                Err(_) => doings.fault("a disturber panicked".to_owned()),
            }
        }
        doings
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
        let mut all = Doings::default();
        for kind in ["a", "b"] {
            let mut one = Doings::default();
            for turn in 0..10 {
                one.count("deeds");
                one.fault(format!("{kind} {turn}"));
            }
            all.merge(one);
        }
        assert_eq!(
            (all.of("deeds"), all.fault_count, all.faults.len()),
            (20, 20, FAULTS_KEPT)
        );
        assert_eq!((all.faults[0].as_str(), all.of("nothing")), ("a 0", 0));
    }
}
