//! Computes what a cluster or a tree of relays uses that is too large for this machine.
//!
//! The costs of lines, blocks, viewers and hops are measured first, with few nodes and viewers, or
//! come from a file. A small case that none of these runs contains is measured too, and shown
//! beside what the same formulas compute for it.

mod costs;
mod fit;
mod model;

use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::report::format::{count, milliseconds, or_dash};
use crate::report::machine;
use crate::report::markdown::markdown;
use crate::run::error::RunError;
use crate::run::outcome::{NodeOutcome, Outcome};
use crate::server::system::System;
use crate::workload::Rate;
pub(crate) use costs::Costs;
use model::{Level, Tree};

/// The case that is measured and computed: its rate, its mirrors and the viewers of each.
const SMALL_RATE: u64 = 5_000;
const SMALL_MIRRORS: usize = 2;
const SMALL_VIEWERS: usize = 50;

/// The result of a simulation.
pub(crate) struct Simulation {
    costs: Costs,
    tree: Tree,
    levels: Vec<Level>,
    small: Vec<Level>,
    measured: Outcome,
}

/// Computes `nodes` nodes at the end of so many levels as the workload has relays in a row.
///
/// The costs are measured unless they are given.
pub(crate) fn run(
    options: &LoadOptions,
    nodes: usize,
    node_cores: usize,
    costs: Option<Costs>,
    progress: &Progress,
) -> Result<Simulation, RunError> {
    let workload = &options.workload;
    let costs = match costs {
        Some(costs) => costs,
        None => {
            let mut single = options.clone();
            // The costs are those of one channel that everyone watches.
            single.workload.channels = 1;
            single.workload.channels_per_client = 1;
            costs::measure(&single, progress)?
        }
    };
    let mut settings = workload.clone();
    settings.channels = 1;
    settings.channels_per_client = 1;
    settings.cluster.broker = costs.broker;
    settings.line_bytes = costs.line_bytes;
    let small = costs::with_mirrors(&settings, SMALL_RATE, SMALL_MIRRORS, SMALL_VIEWERS);
    let measured = costs::run(options, System::Cluster, small, progress)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tree = Tree {
        nodes,
        levels: workload.relay_levels,
        viewers: workload.subscribers,
        channels: workload.channels,
        lines_per_second: match workload.rate {
            Rate::Lines(rate) => rate as f64,
            Rate::Max | Rate::Window(_) => SMALL_RATE as f64,
        },
        cores: node_cores,
    };
    let small_tree = Tree {
        nodes: SMALL_MIRRORS,
        levels: 1,
        viewers: SMALL_MIRRORS * SMALL_VIEWERS,
        channels: 1,
        lines_per_second: SMALL_RATE as f64,
        cores,
    };
    Ok(Simulation {
        levels: model::levels(&costs, &tree),
        small: model::levels(&costs, &small_tree),
        costs,
        tree,
        measured,
    })
}

impl Simulation {
    /// Returns the tables.
    pub(crate) fn text(&self) -> String {
        let Simulation { costs, tree, .. } = self;
        format!(
            "outrace {} · {}\n\n\
             Costs of {} bytes a line, connected by {}, in ns of CPU:\n\
             \x20 home: {:.0} a line, {:.0} a block, {:.0} a block and mirror\n\
             \x20 mirror: {:.0} a line, {:.0} a block; {:.0} a block and viewer, {:.0} a line and \
             viewer\n\
             \x20 broker: {:.0} a line in or out, {:.0} a block, {:.0} a block and mirror\n\n\
             Computed: {} lines/s on {} channels to {} viewers at {} nodes of {} cores, {} below \
             the home\n\n{}\n{}\
             Measured and computed: {} lines/s to {} mirrors with {} viewers each\n\n{}",
            env!("CARGO_PKG_VERSION"),
            machine::description(),
            costs.line_bytes,
            costs.broker,
            costs.home_line_ns,
            costs.home_block_ns,
            costs.link_block_ns,
            costs.hop_line_ns,
            costs.hop_block_ns,
            costs.viewer_block_ns,
            costs.viewer_line_ns,
            costs.broker_line_ns,
            costs.broker_block_ns,
            costs.broker_link_block_ns,
            count(tree.lines_per_second),
            count(tree.channels as f64),
            count(tree.viewers as f64),
            count(tree.nodes as f64),
            tree.cores,
            match tree.levels {
                1 => "1 level".to_owned(),
                levels => format!("{levels} levels"),
            },
            level_table(&self.levels),
            self.overloaded(),
            count(SMALL_RATE as f64),
            SMALL_MIRRORS,
            SMALL_VIEWERS,
            self.small_table(),
        )
    }

    /// Returns all figures as JSON. Its `costs` can be given to the next simulation.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "machine": machine::description(),
            "costs": self.costs,
            "tree": self.tree,
            "levels": self.levels,
            "small": { "computed": self.small, "measured": self.measured },
        })
    }

    /// Returns the measured case.
    pub(crate) fn into_measured(self) -> Outcome {
        self.measured
    }

    /// Returns a sentence for each level that needs more cores than its nodes have.
    fn overloaded(&self) -> String {
        let cores = self.tree.cores as f64;
        self.levels
            .iter()
            .filter(|level| level.cores > cores)
            .map(|level| {
                format!(
                    "{}: {:.1} cores are more than the {} of a node, so the latency here is too \
                     low\n\n",
                    level.name, level.cores, self.tree.cores
                )
            })
            .collect()
    }

    fn small_table(&self) -> String {
        let head = [
            "",
            "CPU measured",
            "computed",
            "p50 measured",
            "computed",
            "p99 measured",
            "computed",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for level in &self.small {
            let of_level = |node: &&NodeOutcome| match level.name.as_str() {
                "level 1" => node.name.starts_with("mirror"),
                name => node.name == name,
            };
            let nodes: Vec<&NodeOutcome> = self.measured.nodes.iter().filter(of_level).collect();
            let mean = |figure: fn(&NodeOutcome) -> Option<f64>| {
                let values: Vec<f64> = nodes.iter().filter_map(|node| figure(node)).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            let cores = |cores: f64| format!("{cores:.3}");
            rows.push(vec![
                level.name.clone(),
                or_dash(mean(|node| Some(node.cores)), cores),
                cores(level.cores),
                or_dash(mean(|node| Some(node.latency_us?.p50 as f64)), milliseconds),
                or_dash(level.p50_us, milliseconds),
                or_dash(mean(|node| Some(node.latency_us?.p99 as f64)), milliseconds),
                or_dash(level.p99_us, milliseconds),
            ]);
        }
        markdown(&rows)
    }
}

/// Returns the table of all levels, with the figures of one node of each.
fn level_table(levels: &[Level]) -> String {
    let head = [
        "one node of",
        "nodes",
        "viewers",
        "links",
        "cores",
        "MB/s in",
        "MB/s out",
        "p50",
        "p99",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let megabytes = |bytes: f64| format!("{:.2}", bytes / 1e6);
    for level in levels {
        rows.push(vec![
            level.name.clone(),
            count(level.nodes as f64),
            count(level.viewers_each),
            format!("{:.1}", level.links_each),
            format!("{:.3}", level.cores),
            megabytes(level.in_bytes_per_second),
            megabytes(level.out_bytes_per_second),
            or_dash(level.p50_us, milliseconds),
            or_dash(level.p99_us, milliseconds),
        ]);
    }
    markdown(&rows)
}
