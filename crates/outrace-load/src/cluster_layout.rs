//! The nodes of a cluster under load: how many, what connects them, and who watches where.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What connects the nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokerKind {
    /// `nats-server` with JetStream on files.
    Nats,
    /// `redis-server` with an append-only file.
    Redis,
    /// No broker: every other node is a relay of the first one.
    Relay,
}

impl std::fmt::Display for BrokerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BrokerKind::Nats => "NATS",
            BrokerKind::Redis => "Redis",
            BrokerKind::Relay => "relays",
        })
    }
}

/// The nodes at which the clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// At every node in turn.
    Everywhere,
    /// The first so many clients at the first node, which is home of the first channel. The others
    /// are at the other nodes in turn.
    Home(usize),
}

/// The nodes of [`System::Cluster`](crate::System::Cluster).
///
/// ```
/// use outrace_load::{ClusterLayout, Placement};
///
/// let layout = ClusterLayout { nodes: 3, ..ClusterLayout::default() };
/// assert_eq!(layout.placement, Placement::Home(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterLayout {
    /// The nodes, at least two.
    pub nodes: usize,
    /// What connects them.
    pub broker: BrokerKind,
    /// The nodes at which the clients connect.
    pub placement: Placement,
    /// The nodes at which lines are published. The channels belong to them in turn.
    pub homes: usize,
    /// The broker stores all messages.
    pub durable: bool,
    /// The time for which the broker stands still in the middle of the measured time.
    pub broker_stop: Option<Duration>,
}

impl Default for ClusterLayout {
    fn default() -> ClusterLayout {
        ClusterLayout {
            nodes: 2,
            broker: BrokerKind::Nats,
            placement: Placement::Home(0),
            homes: 1,
            durable: false,
            broker_stop: None,
        }
    }
}

impl ClusterLayout {
    /// Returns the node at which client `number` connects.
    pub(crate) fn node_of(&self, number: usize) -> usize {
        match self.placement {
            Placement::Everywhere => number % self.nodes,
            Placement::Home(clients) if number < clients => 0,
            Placement::Home(clients) => 1 + (number - clients) % (self.nodes - 1),
        }
    }

    /// Returns the name of a node in reports.
    pub(crate) fn name_of(&self, node: usize) -> String {
        match (node < self.homes, self.homes) {
            (true, 1) => "home".to_owned(),
            (true, _) => format!("home {}", node + 1),
            (false, 0) => format!("node {}", node + 1),
            (false, _) => format!("mirror {}", node + 1 - self.homes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_at_the_home_first_and_then_at_the_mirrors_in_turn() {
        let layout = ClusterLayout {
            nodes: 3,
            placement: Placement::Home(2),
            ..ClusterLayout::default()
        };
        let nodes: Vec<usize> = (0..6).map(|number| layout.node_of(number)).collect();
        assert_eq!(nodes, [0, 0, 1, 2, 1, 2]);
    }

    #[test]
    fn clients_are_at_every_node_in_turn() {
        let layout = ClusterLayout {
            nodes: 3,
            placement: Placement::Everywhere,
            ..ClusterLayout::default()
        };
        let nodes: Vec<usize> = (0..4).map(|number| layout.node_of(number)).collect();
        assert_eq!(nodes, [0, 1, 2, 0]);
    }
}
