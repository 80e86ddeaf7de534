//! All rounds of one workload.

use super::outcome::Outcome;
use crate::server::system::System;
use crate::workload::Workload;
use serde::Serialize;

/// All rounds of one workload, in the order in which they ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: Workload,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Comparison {
    pub(crate) fn new(workload: Workload) -> Comparison {
        Comparison {
            workload,
            outcomes: Vec::new(),
        }
    }

    /// Returns the systems that ran, each once.
    pub(crate) fn systems(&self) -> Vec<System> {
        let mut systems: Vec<System> = self.outcomes.iter().map(|outcome| outcome.system).collect();
        systems.sort_unstable();
        systems.dedup();
        systems
    }

    pub(crate) fn of(&self, system: System) -> impl Iterator<Item = &Outcome> {
        self.outcomes
            .iter()
            .filter(move |outcome| outcome.system == system)
    }

    /// Returns the median over the rounds of `system`.
    pub(crate) fn median(
        &self,
        system: System,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        median(self.of(system).filter_map(figure).collect())
    }

    /// Returns the median ratio of the engine's figure to that of `other` in the same round.
    pub(crate) fn ratio(
        &self,
        other: System,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        ratio(self.of(System::Engine), self.of(other), figure)
    }

    /// Returns the median ratio of the engine's figure to that of the same round of another
    /// workload.
    pub(crate) fn ratio_to(
        &self,
        other: &Comparison,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        ratio(self.of(System::Engine), other.of(System::Engine), figure)
    }
}

fn ratio<'a>(
    ours: impl Iterator<Item = &'a Outcome>,
    theirs: impl Iterator<Item = &'a Outcome>,
    figure: impl Fn(&Outcome) -> Option<f64>,
) -> Option<f64> {
    let ratios = ours
        .zip(theirs)
        .filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?));
    median(ratios.filter(|ratio| ratio.is_finite()).collect())
}

/// Returns the middle of `values`, or the mean of the two middle ones.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
