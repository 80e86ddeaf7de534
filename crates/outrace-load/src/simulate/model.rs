//! What each level of a tree of nodes uses, computed from the costs.

use super::costs::Costs;
use crate::cluster_layout::BrokerKind;
use serde::Serialize;

/// The flushes of a busy channel in a second. The longest flush interval is 10 ms.
pub(super) const MIN_FLUSHES_PER_SECOND: f64 = 100.0;

/// The part of a core that a server spends on flushing before it flushes less often.
const FLUSH_BUDGET_NS: f64 = 1e8;

/// A tree to compute.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Tree {
    /// The nodes of the last level, which have the viewers.
    pub(crate) nodes: usize,
    /// The levels below the home.
    pub(crate) levels: usize,
    /// Each viewer watches one channel.
    pub(crate) viewers: usize,
    pub(crate) channels: usize,
    /// Lines per second over all channels, all of which have the same home.
    pub(crate) lines_per_second: f64,
    /// The cores of each node.
    pub(crate) cores: usize,
}

/// What one node of a level uses, and the latency at this level.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Level {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) viewers_each: f64,
    /// The nodes below each node.
    pub(crate) links_each: f64,
    pub(crate) cores: f64,
    pub(crate) in_bytes_per_second: f64,
    pub(crate) out_bytes_per_second: f64,
    /// Microseconds at the viewers of this level, if it has any.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

/// Computes all levels from the home on, and the broker after it if there is one.
pub(crate) fn levels(costs: &Costs, tree: &Tree) -> Vec<Level> {
    let depth = tree.levels.max(1);
    let width = |level: usize| match level {
        0 => 1,
        level if level == depth => tree.nodes,
        level => ((tree.nodes as f64).powf(level as f64 / depth as f64).ceil() as usize).max(1),
    };
    let has_broker = costs.broker != BrokerKind::Relay;
    let lines = tree.lines_per_second;
    let link_bytes = lines * link_line_bytes(costs);
    let channels = tree.channels as f64;
    let mut out = Vec::new();
    for level in 0..=depth {
        let nodes = width(level);
        let below = if level == depth { 0 } else { width(level + 1) };
        let links = below as f64 / nodes as f64;
        let viewers = match level == depth {
            true => tree.viewers as f64 / nodes as f64,
            false => 0.0,
        };
        // A node has those channels that its viewers or the nodes below it watch.
        let share = match level == depth {
            true => (viewers / channels).min(1.0),
            false => 1.0,
        };
        let flow = Flow::new(costs, lines * share, channels * share, viewers);
        // The broker copies a block for each mirror. Without one, the home or the relay does.
        let own_links = if has_broker && level == 0 { 1.0 } else { links };
        let own_ns = costs.home_block_ns + costs.link_block_ns * own_links;
        let flushes = match has_broker && level == 0 {
            true => MIN_FLUSHES_PER_SECOND,
            false => flushes_per_second(own_ns * channels),
        };
        // The blocks of all channels to the nodes below.
        let sent_blocks = (channels * flushes).min(lines);
        let link_ns = costs.link_block_ns * sent_blocks;
        let carrying = match level {
            0 => {
                costs.home_line_ns * lines + costs.home_block_ns * sent_blocks + link_ns * own_links
            }
            _ => {
                costs.hop_line_ns * flow.lines + costs.hop_block_ns * flow.blocks + link_ns * links
            }
        };
        let spread_us = flow.spread_us(costs, tree.cores);
        let has_viewers = viewers > 0.0;
        let hops = level as f64;
        out.push(Level {
            name: match level {
                0 => "home".to_owned(),
                level => format!("level {level}"),
            },
            nodes,
            viewers_each: viewers,
            links_each: links,
            cores: (carrying + flow.viewing_ns(costs)) / 1e9,
            in_bytes_per_second: match level {
                0 => lines * costs.line_bytes as f64,
                _ => link_bytes * share,
            },
            out_bytes_per_second: link_bytes * own_links
                + flow.viewer_lines * costs.viewer_line_bytes,
            p50_us: has_viewers.then_some(costs.p50_us + hops * costs.hop_p50_us + spread_us / 2.0),
            p99_us: has_viewers.then_some(costs.p99_us + hops * costs.hop_p99_us + spread_us),
        });
        if level == 0 && has_broker {
            out.push(broker(costs, lines, sent_blocks, links));
        }
    }
    out
}

fn broker(costs: &Costs, lines: f64, blocks: f64, mirrors: f64) -> Level {
    let link_bytes = lines * link_line_bytes(costs);
    Level {
        name: "broker".to_owned(),
        nodes: 1,
        viewers_each: 0.0,
        links_each: mirrors,
        cores: (costs.broker_line_ns * lines * (1.0 + mirrors)
            + blocks * (costs.broker_block_ns + costs.broker_link_block_ns * mirrors))
            / 1e9,
        in_bytes_per_second: link_bytes,
        out_bytes_per_second: link_bytes * mirrors,
        p50_us: None,
        p99_us: None,
    }
}

/// Returns the most bytes of a line between two nodes: the text and its span in the block. Blocks
/// that can be compressed take less.
fn link_line_bytes(costs: &Costs) -> f64 {
    costs.line_bytes as f64 + 8.0
}

/// Returns the flushes of a server whose flush of all channels takes `flush_ns`: as many as a tenth
/// of a core allows, and at least one every 10 ms.
fn flushes_per_second(flush_ns: f64) -> f64 {
    (FLUSH_BUDGET_NS / flush_ns.max(1.0)).max(MIN_FLUSHES_PER_SECOND)
}

/// The lines and blocks that pass one node in a second.
struct Flow {
    lines: f64,
    blocks: f64,
    viewers: f64,
    /// Lines x viewers, of which each watches one channel.
    viewer_lines: f64,
    /// Blocks x viewers.
    viewer_blocks: f64,
}

impl Flow {
    fn new(costs: &Costs, lines: f64, channels: f64, viewers: f64) -> Flow {
        let per_channel = lines / channels.max(1.0);
        let watching = viewers / channels.max(1.0);
        let flush_ns = (costs.block_ns + costs.viewer_block_ns * watching) * channels.max(1.0);
        let flushes = flushes_per_second(flush_ns);
        let blocks = flushes.min(per_channel);
        Flow {
            lines,
            blocks: blocks * channels.max(1.0),
            viewers,
            viewer_lines: viewers * per_channel,
            viewer_blocks: viewers * blocks,
        }
    }

    fn viewing_ns(&self, costs: &Costs) -> f64 {
        costs.viewer_block_ns * self.viewer_blocks + costs.viewer_line_ns * self.viewer_lines
    }

    /// Returns the time in microseconds until the last viewer has a block, beyond that of the run
    /// in which the latency was measured.
    fn spread_us(&self, costs: &Costs, cores: usize) -> f64 {
        if self.viewers == 0.0 {
            return 0.0;
        }
        let block_ns = self.viewing_ns(costs) / (self.viewer_blocks / self.viewers).max(1.0);
        let more = (self.viewers - costs.latency_viewers as f64).max(0.0) / self.viewers;
        block_ns * more / cores as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(broker: BrokerKind) -> Costs {
        Costs {
            broker,
            line_bytes: 100,
            line_ns: 300.0,
            block_ns: 5_000.0,
            viewer_block_ns: 3_000.0,
            viewer_line_ns: 20.0,
            hop_line_ns: 400.0,
            hop_block_ns: 8_000.0,
            home_line_ns: 350.0,
            home_block_ns: 5_000.0,
            link_block_ns: 4_000.0,
            broker_line_ns: 10.0,
            broker_block_ns: 5_000.0,
            broker_link_block_ns: 5_000.0,
            viewer_line_bytes: 220.0,
            p50_us: 2_000.0,
            p99_us: 9_000.0,
            hop_p50_us: 700.0,
            hop_p99_us: 1_500.0,
            latency_viewers: 10,
        }
    }

    const TREE: Tree = Tree {
        nodes: 100,
        levels: 2,
        viewers: 1_000_000,
        channels: 1,
        lines_per_second: 1_000.0,
        cores: 4,
    };

    #[test]
    fn every_link_of_a_tree_of_relays_carries_the_channel_once() {
        let levels = levels(&costs(BrokerKind::Relay), &TREE);
        let nodes: Vec<usize> = levels.iter().map(|level| level.nodes).collect();
        assert_eq!(nodes, [1, 10, 100]);
        let [home, middle, last] = &levels[..] else {
            panic!("three levels")
        };
        assert_eq!(home.out_bytes_per_second, 10.0 * middle.in_bytes_per_second);
        assert_eq!(middle.in_bytes_per_second, last.in_bytes_per_second);
        assert_eq!(last.viewers_each, 10_000.0);
        assert!(home.p50_us.is_none() && last.p50_us > Some(2_000.0 + 2.0 * 700.0));
    }

    #[test]
    fn the_broker_copies_for_the_mirrors_instead_of_the_home() {
        let tree = Tree { levels: 1, ..TREE };
        let few = levels(&costs(BrokerKind::Nats), &Tree { nodes: 2, ..tree });
        let many = levels(&costs(BrokerKind::Nats), &Tree { nodes: 50, ..tree });
        assert_eq!(few[0].cores, many[0].cores);
        assert_eq!(many[1].name, "broker");
        assert_eq!(
            many[1].out_bytes_per_second,
            25.0 * few[1].out_bytes_per_second
        );
    }

    #[test]
    fn a_node_with_fewer_viewers_than_channels_carries_only_their_channels() {
        let tree = Tree {
            levels: 1,
            nodes: 10,
            viewers: 100,
            channels: 1_000,
            ..TREE
        };
        let levels = levels(&costs(BrokerKind::Nats), &tree);
        let (home, last) = (&levels[0], &levels[2]);
        assert!((last.in_bytes_per_second * 100.0 - home.out_bytes_per_second).abs() < 1.0);
    }
}
