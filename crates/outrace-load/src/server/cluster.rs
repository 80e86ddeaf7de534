//! The nodes of a cluster as child processes, and their broker.

use super::broker::{BrokerError, BrokerProcess};
use super::process::{ServerError, ServerProcess};
use super::program::Program;
use super::stats::fetch_skipped_by_channel;
use super::system::System;
use crate::wire::target::Target;
use crate::workload::Workload;
use std::process::ChildStdin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest time until every node knows the channels of the others.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The reason why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{node} did not know all channels within 60 s")]
    NotKnown { node: String },
    #[error("{node}: {error}")]
    Node { node: String, error: ServerError },
}

/// Running nodes. They are killed when this is dropped, and their broker after them.
pub(crate) struct ClusterProcesses {
    /// The homes come first.
    pub(crate) nodes: Vec<ServerProcess>,
    pub(crate) broker: Option<BrokerProcess>,
    homes: usize,
}

impl ClusterProcesses {
    /// Starts the broker and all nodes.
    pub(crate) fn start(
        program: &Program,
        workload: &Workload,
    ) -> Result<ClusterProcesses, ClusterError> {
        let layout = &workload.cluster;
        let broker = BrokerProcess::start(layout.broker)?;
        let mut cluster = ClusterProcesses {
            nodes: Vec::with_capacity(layout.nodes),
            broker,
            homes: layout.homes,
        };
        for _ in 0..layout.nodes {
            cluster.add_node(program, workload)?;
        }
        Ok(cluster)
    }

    /// Starts one more node.
    pub(crate) fn add_node(
        &mut self,
        program: &Program,
        workload: &Workload,
    ) -> Result<(), ClusterError> {
        let node = self.nodes.len();
        let upstream = match &self.broker {
            Some(broker) => Some(broker.url.clone()),
            None => self.nodes.first().map(|home| home.target.url()),
        };
        let args = System::node_args(workload, node, upstream.as_deref());
        let process = ServerProcess::start(program, &args, workload.pin);
        self.nodes.push(process.map_err(|error| ClusterError::Node {
            node: workload.cluster.name_of(node),
            error,
        })?);
        Ok(())
    }

    /// Waits until every node lists all channels of the workload.
    pub(crate) fn wait_until_known(&self, workload: &Workload) -> Result<(), ClusterError> {
        let deadline = Instant::now() + KNOWN_TIMEOUT;
        let is_complete = |process: &ServerProcess| {
            let known = fetch_skipped_by_channel(&process.target);
            (0..workload.channels)
                .all(|channel| known.contains_key(&workload.channel_name(channel)))
        };
        for (node, process) in self.nodes.iter().enumerate() {
            while !is_complete(process) {
                if Instant::now() > deadline {
                    return Err(ClusterError::NotKnown {
                        node: workload.cluster.name_of(node),
                    });
                }
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        self.nodes
            .iter()
            .map(|node| Arc::new(node.target.clone()))
            .collect()
    }

    /// Returns the standard input of each home.
    ///
    /// # Panics
    ///
    /// Panics if they were taken before.
    pub(crate) fn take_inputs(&mut self) -> Vec<ChildStdin> {
        self.nodes[..self.homes]
            .iter_mut()
            .map(ServerProcess::take_stdin)
            .collect()
    }

    /// Fails if a node has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), ServerError> {
        self.nodes
            .iter_mut()
            .try_for_each(ServerProcess::check_running)
    }

    /// Waits until the homes end by themselves. The mirrors are ended when this is dropped.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<(), ServerError> {
        let deadline = Instant::now() + timeout;
        self.nodes[..self.homes]
            .iter_mut()
            .try_for_each(|home| home.wait(deadline.saturating_duration_since(Instant::now())))
    }
}
