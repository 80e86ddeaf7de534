//! The flags of a server that is one of several machines with a broker between them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outrace::HubBuilder;
use outrace::backplane::cluster::{Cluster, ClusterError};
use tokio::time::timeout;

use super::values::duration;
use crate::failure::Failure;

/// How long the start of the program waits for the broker.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster options")]
pub(crate) struct ClusterOptions {
    /// Be a node of the cluster at this broker: nats://HOST:PORT or redis://HOST:PORT, and tls://
    /// or rediss:// for TLS. All nodes show the channels of all nodes. A user and a password go
    /// before the host, as in nats://user:password@host. Other users of this machine can see a
    /// command line: prefer the environment for a password
    #[arg(
        long,
        value_name = "URL",
        env = "OUTRACE_CLUSTER",
        hide_env_values = true
    )]
    cluster: Option<String>,

    /// The prefix of all subjects and keys at the broker, the same on all nodes of a cluster
    #[arg(long, value_name = "PREFIX", default_value = "outrace")]
    cluster_prefix: String,

    /// Authenticate at NATS with this file of credentials (.creds)
    #[arg(long, value_name = "FILE", requires = "cluster")]
    cluster_credentials: Option<PathBuf>,

    /// The name of this node, which no other node of the cluster may have: 1 to 64 of A-Z a-z 0-9
    /// _ . - [default: the host's name and a random part]
    #[arg(long, value_name = "NAME", requires = "cluster")]
    node: Option<String>,

    /// Have the broker store all messages for so long, such as 30m or 24h. A channel then keeps its
    /// numbers and its past when its node ends, as far as the broker kept them. The same on all
    /// nodes. Needs NATS with JetStream on files, or Redis with appendonly yes
    #[arg(
        long,
        value_name = "AGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "24h",
        value_parser = duration,
        requires = "cluster"
    )]
    durable: Option<Duration>,
}

impl ClusterOptions {
    /// Returns whether this server is a node of a cluster.
    pub(super) fn is_given(&self) -> bool {
        self.cluster.is_some()
    }

    /// Makes the hub a node of the cluster, if one is given.
    ///
    /// A broker that does not answer is told in the log. The node connects when it comes.
    pub(super) async fn apply(&self, hub: HubBuilder) -> Result<HubBuilder, Failure> {
        let Some(url) = &self.cluster else {
            return Ok(hub);
        };
        let mut cluster = Cluster::builder(url).prefix(&self.cluster_prefix);
        if let Some(path) = &self.cluster_credentials {
            cluster = cluster.credentials_file(path);
        }
        if let Some(node) = &self.node {
            cluster = cluster.node(node);
        }
        if let Some(age) = self.durable {
            cluster = cluster.durable(age);
        }
        let cluster = cluster.build().map_err(|error| unusable(&error))?;
        match timeout(CHECK_TIMEOUT, cluster.check()).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ ClusterError::NotDurable(_))) => return Err(unusable(&error)),
            Ok(Err(error)) => {
                tracing::warn!("{error}; this node starts without it and tries again");
            }
            Err(_) => tracing::warn!(
                "the broker did not answer within 1 s; this node starts without it and tries again"
            ),
        }
        Ok(hub.backplane(cluster))
    }
}

/// Names the option with the value that cannot be used.
fn unusable(error: &ClusterError) -> Failure {
    let option = match error {
        ClusterError::Prefix => "--cluster-prefix",
        ClusterError::Node => "--node",
        ClusterError::Durable | ClusterError::NotDurable(_) => "--durable",
        ClusterError::Credentials(_) => "--cluster-credentials",
        _ => "--cluster",
    };
    Failure::usage(format!("{option}: {error}"))
}
