//! The actions of the disturbers by name, and the faults in the responses.

use serde::Serialize;
use std::collections::BTreeMap;

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

    pub(super) fn merge(&mut self, other: ActionLog) {
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.fault_count += other.fault_count;
        self.faults.extend(other.faults);
        self.faults.truncate(MAX_KEPT_FAULTS);
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
