//! The start of the servers of a round.

use super::error::RunError;
use super::round::ServerUnderTest;
use crate::server::cluster::ClusterProcesses;
use crate::server::process::ServerProcess;
use crate::server::running::RunningServers;
use crate::server::system::System;
use crate::wire::target::Target;
use crate::workload::Workload;
use std::sync::Arc;

/// Starts the servers. Returns the addresses at which clients connect: one, or that of each node.
pub(super) fn start(
    workload: &Workload,
    subject: &ServerUnderTest<'_>,
) -> Result<(RunningServers, Vec<Arc<Target>>), RunError> {
    if let Some(target) = &subject.remote {
        return Ok((RunningServers::Remote, vec![Arc::new(target.clone())]));
    }
    if subject.system == System::Cluster {
        let cluster = ClusterProcesses::start(subject.program, workload)?;
        let targets = cluster.targets();
        return Ok((RunningServers::Cluster(cluster), targets));
    }
    let args = subject.system.args(workload, subject.block_bytes);
    let mut server = ServerProcess::start(subject.program, &args, workload.pin)?;
    if subject.system == System::Relay {
        for _ in 0..workload.relay_levels {
            let url = server.target.url();
            let args = System::relay_args(workload, &url);
            server =
                ServerProcess::start(subject.program, &args, workload.pin)?.fed_through(server);
        }
    }
    let target = Arc::new(server.target.clone());
    Ok((RunningServers::One(Box::new(server)), vec![target]))
}
