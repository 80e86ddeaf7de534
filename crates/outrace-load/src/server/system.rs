//! The kinds of servers that can be measured.

use crate::cluster_layout::BrokerKind;
use crate::workload::{Rate, Workload};
use serde::Serialize;

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// The engine of Outrace.
    Engine,
    /// A server written by hand with tokio-tungstenite and one bounded channel per client.
    Baseline,
    /// Bare writes of prepared frames. It shows the cost of the kernel alone.
    Floor,
    /// A relay of the engine, or the last one of a chain: the clients are at the relay, the lines
    /// are fed to the engine.
    Relay,
    /// Several nodes that share their channels. Lines are fed to the homes, and the clients are
    /// where the layout of the workload places them.
    Cluster,
    /// A server that the generator does not start.
    Remote,
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            System::Engine => "engine",
            System::Baseline => "baseline",
            System::Floor => "floor",
            System::Relay => "relay",
            System::Cluster => "cluster",
            System::Remote => "server",
        })
    }
}

/// The reason why a system can't run a workload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnsupportedWorkload {
    #[error(
        "the floor writes the same block to every client, so it has one channel and no stalled, \
         slow or churning clients: leave out the floor or those"
    )]
    Floor,
    #[error(
        "the {0} has no gaps and no batches: leave out the {0}, or ask for neither gaps nor batches"
    )]
    SubscribeOptions(System),
}

impl System {
    /// Returns the arguments that start this system as a child.
    pub(crate) fn args(self, workload: &Workload, block_bytes: usize) -> Vec<String> {
        let mut args = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                args.push(name.to_owned());
                args.push(value);
            }
        };
        let text = |n: Option<usize>| n.map(|n| n.to_string());
        let name = match (self, workload.channels) {
            (System::Engine | System::Relay | System::Cluster | System::Remote, 1) => {
                option("--id", Some("load".to_owned()));
                "pipe"
            }
            (System::Engine | System::Relay | System::Cluster | System::Remote, _) => "load-server",
            (System::Baseline, _) => "load-baseline",
            (System::Floor, _) => "load-floor",
        };
        match self {
            System::Engine | System::Relay | System::Cluster | System::Remote => {
                option("--listen", Some("127.0.0.1:0".to_owned()));
                option("--queue", text(workload.queue_messages));
                option("--queue-bytes", text(workload.queue_bytes));
                option("--history", text(workload.history_messages));
                option(
                    "--max-flush-interval",
                    workload
                        .max_flush_interval
                        .map(|time| format!("{}us", time.as_micros())),
                );
            }
            System::Baseline => {
                option("--queue", text(workload.queue_messages));
                if workload.channels > 1 {
                    args.push("--framed".to_owned());
                }
            }
            System::Floor => {
                option("--clients", Some(workload.subscribers.to_string()));
                option("--line-bytes", Some(workload.line_bytes.to_string()));
                option("--block-bytes", Some(block_bytes.to_string()));
                if let Rate::Lines(rate) = workload.rate {
                    option("--rate", Some(rate.to_string()));
                }
            }
        }
        args.insert(0, name.to_owned());
        args
    }

    /// Returns the arguments that start a relay of the server at `url`, with the settings of the
    /// engine.
    pub(crate) fn relay_args(workload: &Workload, url: &str) -> Vec<String> {
        ["serve", "--join", url]
            .map(str::to_owned)
            .into_iter()
            .chain(System::settings(workload))
            .collect()
    }

    /// Returns the arguments that start a node of a cluster at `upstream`: the URL of the broker,
    /// or that of the home if the other nodes are its relays.
    pub(crate) fn node_args(
        workload: &Workload,
        node: usize,
        upstream: Option<&str>,
    ) -> Vec<String> {
        let layout = &workload.cluster;
        let is_home = node < layout.homes;
        let mut args = match (is_home, upstream) {
            (true, _) => System::Cluster.args(workload, 0),
            (false, Some(url)) if layout.broker == BrokerKind::Relay => {
                return System::relay_args(workload, url);
            }
            (false, _) => std::iter::once("serve".to_owned())
                .chain(System::settings(workload))
                .collect(),
        };
        if is_home && workload.channels > 1 {
            // Clients that join before a channel has a home would see its numbering change.
            let own = format!("{node}:{}:{}", layout.homes, workload.channels);
            args.extend(["--own-channels".to_owned(), own]);
        }
        if layout.broker == BrokerKind::Relay {
            return args;
        }
        if let Some(url) = upstream {
            args.extend(["--cluster", url].map(str::to_owned));
            args.extend(["--node".to_owned(), format!("node-{}", node + 1)]);
            if layout.durable {
                args.push("--durable".to_owned());
            }
        }
        args
    }

    /// Returns the settings of the engine's servers.
    fn settings(workload: &Workload) -> Vec<String> {
        let mut args = System::Engine.args(workload, 0);
        let settings = args.iter().position(|arg| arg == "--listen");
        args.split_off(settings.expect("a server listens"))
    }

    /// Checks that this system can run `workload`.
    pub(crate) fn check(self, workload: &Workload) -> Result<(), UnsupportedWorkload> {
        let needs_more_than_one_block = workload.channels > 1
            || workload.stalled > 0
            || workload.slow.is_some()
            || workload.churn > 0;
        if self == System::Floor && needs_more_than_one_block {
            return Err(UnsupportedWorkload::Floor);
        }
        let has_options = workload.mixed_subscriptions || workload.subscribe_options.any();
        if matches!(self, System::Baseline | System::Floor) && has_options {
            return Err(UnsupportedWorkload::SubscribeOptions(self));
        }
        Ok(())
    }
}
