//! The flags of `outrace load` for clusters.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use outrace_load::{BrokerKind, ClusterLayout, LoadMode, Placement};

use crate::flags::values::duration;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Start a cluster of so many nodes and its broker, and load it beside one server that runs
    /// alone
    #[arg(long, value_name = "NODES", group = "beside", conflicts_with_all = ["url", "against", "soak", "suite"])]
    cluster: Option<usize>,

    /// What connects the nodes. The program of the broker has to be on the PATH; a relay needs none
    #[arg(long, value_enum, value_name = "WHAT", default_value = "nats")]
    broker: BrokerArg,

    /// The nodes at which the clients connect
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        default_value = "mirrors",
        requires = "cluster"
    )]
    clients_at: ClientsAt,

    /// The nodes at which lines are published. The channels belong to them in turn
    #[arg(long, value_name = "N", default_value_t = 1, requires = "cluster")]
    homes: usize,

    /// Have the broker store all messages
    #[arg(long, requires = "cluster")]
    durable: bool,

    /// Stop the broker for so long in the middle of the measured time, such as 5s, and measure how
    /// soon the mirrors have caught up
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "cluster")]
    broker_stop: Option<Duration>,

    /// Measure what a line costs its home: alone, in a cluster without viewers elsewhere, and with
    /// 1 and 3 mirrors. The clients are at the home, and each mirror has one more
    #[arg(long, requires = "cluster", conflicts_with_all = ["verify", "report", "broker_stop"])]
    home_cost: bool,

    /// Measure the common list of so many channels, without lines: the CPU of each node while
    /// statuses change, and how soon a node that joins knows all
    #[arg(
        long,
        value_name = "CHANNELS",
        requires = "cluster",
        conflicts_with_all = ["home_cost", "verify", "report", "broker_stop"]
    )]
    directory: Option<usize>,

    /// Compute what so many nodes use, which share the viewers (-n) at the end of --relay-levels
    /// levels. The costs are measured first, and a small case beside what is computed for it
    #[arg(
        long,
        value_name = "NODES",
        conflicts_with_all = [
            "url", "against", "soak", "suite", "verify", "report", "cluster", "window",
        ]
    )]
    simulate: Option<usize>,

    /// With --simulate, the cores of each node
    #[arg(long, value_name = "CORES", default_value_t = 4, requires = "simulate")]
    node_cores: usize,

    /// With --simulate, take the costs from the --json of an earlier simulation
    #[arg(long, value_name = "FILE", requires = "simulate")]
    costs: Option<PathBuf>,

    /// With --directory, the statuses that change in a second
    #[arg(long, value_name = "N", default_value_t = 100, requires = "directory")]
    status_changes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BrokerArg {
    /// A nats-server with JetStream on files
    Nats,
    /// A redis-server with an append-only file
    Redis,
    /// No broker: the other nodes are relays of the first
    Relay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClientsAt {
    /// All nodes but the one that publishes
    Mirrors,
    /// All nodes in turn
    Everywhere,
}

impl ClusterArgs {
    /// Returns whether a cluster is to be loaded.
    pub(super) fn is_given(&self) -> bool {
        self.cluster.is_some()
    }

    /// Returns the mode that these flags ask for, if they ask for one of their own.
    pub(super) fn mode(&self) -> Option<LoadMode> {
        if let Some(nodes) = self.simulate {
            return Some(LoadMode::Simulate {
                nodes,
                node_cores: self.node_cores,
                costs: self.costs.clone(),
            });
        }
        match self.directory {
            Some(channels) => Some(LoadMode::Directory {
                channels,
                changes_per_second: self.status_changes,
            }),
            None => self.home_cost.then_some(LoadMode::HomeCost),
        }
    }

    pub(super) fn layout(&self) -> ClusterLayout {
        ClusterLayout {
            nodes: self.cluster.unwrap_or(ClusterLayout::default().nodes),
            broker: match self.broker {
                BrokerArg::Nats => BrokerKind::Nats,
                BrokerArg::Redis => BrokerKind::Redis,
                BrokerArg::Relay => BrokerKind::Relay,
            },
            placement: match self.clients_at {
                ClientsAt::Mirrors => Placement::Home(0),
                ClientsAt::Everywhere => Placement::Everywhere,
            },
            homes: self.homes,
            durable: self.durable,
            broker_stop: self.broker_stop,
        }
    }
}
