//! What a line costs its home: alone, in a cluster without viewers elsewhere, and with mirrors.

use crate::cluster_layout::Placement;
use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::report::format::or_dash;
use crate::report::markdown::markdown;
use crate::run::comparison::{Comparison, median};
use crate::run::error::RunError;
use crate::run::outcome::Outcome;
use crate::run::plan::Plan;
use crate::server::system::System;
use crate::workload::Workload;

/// The mirrors with a viewer, for which the home's cost is measured.
const MIRRORS: [usize; 3] = [0, 1, 3];

/// The home's cost with a number of mirrors.
pub(crate) struct HomeCost {
    /// The server alone, and then the cluster for each of [`MIRRORS`].
    pub(crate) comparisons: Vec<Comparison>,
}

/// Measures all cases in turns. The nodes are one more than the most mirrors.
pub(crate) fn run(options: &LoadOptions, progress: &Progress) -> Result<HomeCost, RunError> {
    let workload = &options.workload;
    let viewers = workload.subscribers;
    let mut cases = vec![(
        System::Engine,
        Workload {
            name: "one server alone".to_owned(),
            ..workload.clone()
        },
    )];
    for mirrors in MIRRORS {
        let mut case = Workload {
            name: match mirrors {
                0 => "a node that nobody elsewhere watches".to_owned(),
                1 => "a home with 1 mirror".to_owned(),
                n => format!("a home with {n} mirrors"),
            },
            subscribers: viewers + mirrors,
            ..workload.clone()
        };
        case.cluster.nodes = MIRRORS[MIRRORS.len() - 1] + 1;
        case.cluster.homes = 1;
        case.cluster.placement = Placement::Home(viewers);
        cases.push((System::Cluster, case));
    }
    let mut comparisons: Vec<Comparison> = cases
        .iter()
        .map(|(_, case)| Comparison::new(case.clone()))
        .collect();
    for _ in 0..options.rounds.max(1) {
        for ((system, case), comparison) in cases.iter().zip(&mut comparisons) {
            let plan = Plan {
                program: &options.program,
                systems: vec![*system],
                rounds: 1,
                remote: None,
                floor_block_bytes: None,
            };
            let measured = plan
                .run(case.clone(), progress)
                .map_err(|why| why.in_workload(case.name.as_str()))?;
            comparison.outcomes.extend(measured.outcomes);
        }
    }
    Ok(HomeCost { comparisons })
}

impl HomeCost {
    /// Returns the median of the home's CPU nanoseconds per published line in one case.
    fn cost(&self, case: usize) -> Option<f64> {
        median(
            self.comparisons[case]
                .outcomes
                .iter()
                .filter_map(home_ns)
                .collect(),
        )
    }

    /// Returns the median over the rounds of the cost in one case, beside the server alone in the
    /// same round.
    pub(crate) fn ratio(&self, case: usize) -> Option<f64> {
        let alone = &self.comparisons[0].outcomes;
        let ratios = self.comparisons[case].outcomes.iter().zip(alone);
        median(
            ratios
                .filter_map(|(case, alone)| Some(home_ns(case)? / home_ns(alone)?))
                .collect(),
        )
    }

    /// Returns the table of all cases.
    pub(crate) fn text(&self) -> String {
        let mut rows = vec![
            ["", "home CPU ns/line", "x alone", "broker CPU ns/line"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for (case, comparison) in self.comparisons.iter().enumerate() {
            let broker = comparison.outcomes.iter().filter_map(broker_ns).collect();
            rows.push(vec![
                comparison.workload.name.clone(),
                or_dash(self.cost(case), |ns| format!("{ns:.0}")),
                or_dash(self.ratio(case), |ratio| format!("{ratio:.3}")),
                or_dash(median(broker), |ns| format!("{ns:.0}")),
            ]);
        }
        markdown(&rows)
    }
}

/// Returns the CPU time of the home per published line.
fn home_ns(outcome: &Outcome) -> Option<f64> {
    match outcome.nodes.first() {
        Some(home) => home.cpu_ns_per_published,
        None => {
            let lines = outcome.published_measured;
            (lines > 0).then(|| outcome.server_cpu_ns.map(|ns| ns as f64 / lines as f64))?
        }
    }
}

fn broker_ns(outcome: &Outcome) -> Option<f64> {
    let broker = outcome.nodes.iter().find(|node| node.name == "broker")?;
    broker.cpu_ns_per_published
}
