//! The servers of one round: none that the generator started, one, or the nodes of a cluster.

use super::cluster::ClusterProcesses;
use super::process::{ServerError, ServerProcess};
use super::usage::{CpuUsage, ProcessMemory};
use std::time::Duration;

/// The servers of one round.
pub(crate) enum RunningServers {
    /// A server that is not a child.
    Remote,
    One(Box<ServerProcess>),
    Cluster(ClusterProcesses),
}

impl RunningServers {
    /// Returns the child that is measured, or the first home of a cluster.
    pub(crate) fn first(&self) -> Option<&ServerProcess> {
        match self {
            RunningServers::Remote => None,
            RunningServers::One(server) => Some(server),
            RunningServers::Cluster(cluster) => cluster.nodes.first(),
        }
    }

    pub(crate) fn cluster(&self) -> Option<&ClusterProcesses> {
        match self {
            RunningServers::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// Fails if a server has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), ServerError> {
        match self {
            RunningServers::Remote => Ok(()),
            RunningServers::One(server) => server.check_running(),
            RunningServers::Cluster(cluster) => cluster.check_running(),
        }
    }

    /// Waits until the servers whose input has ended end by themselves.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<(), ServerError> {
        match self {
            RunningServers::Remote => Ok(()),
            RunningServers::One(server) => server.wait(timeout),
            RunningServers::Cluster(cluster) => cluster.wait(timeout),
        }
    }

    /// Returns the CPU time of each server. A relay counts without those before it.
    pub(crate) fn cpu_usage(&self) -> Vec<CpuUsage> {
        match self {
            RunningServers::Remote => Vec::new(),
            RunningServers::One(server) => vec![server.cpu_usage()],
            RunningServers::Cluster(cluster) => {
                cluster.nodes.iter().map(ServerProcess::cpu_usage).collect()
            }
        }
    }

    /// Returns the CPU time of the broker, if there is one.
    pub(crate) fn broker_usage(&self) -> Option<CpuUsage> {
        Some(self.cluster()?.broker.as_ref()?.cpu_usage())
    }

    /// Returns the memory of all servers together, or `None` if they are no children.
    pub(crate) fn memory(&self) -> Option<ProcessMemory> {
        let sum = |servers: &[ServerProcess]| {
            let memory = servers.iter().map(ServerProcess::memory);
            memory.fold(ProcessMemory::default(), ProcessMemory::plus)
        };
        match self {
            RunningServers::Remote => None,
            RunningServers::One(server) => Some(server.memory()),
            RunningServers::Cluster(cluster) => Some(sum(&cluster.nodes)),
        }
    }
}
