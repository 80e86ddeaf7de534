//! The common list of channels: what it costs each node, and how soon a new node has it.

use crate::cluster_layout::{BrokerKind, ClusterLayout};
use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::report::format::{count, mebibytes, percent};
use crate::report::markdown::markdown;
use crate::run::error::RunError;
use crate::server::cluster::{ClusterError, ClusterProcesses};
use crate::server::process::ServerProcess;
use crate::wire::http::{HttpConnection, HttpError};
use crate::wire::target::Target;
use crate::workload::Workload;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The statuses of one request.
const BATCH: usize = 500;

/// The interval between requests while statuses change.
const STEP: Duration = Duration::from_millis(100);

/// The longest time until a node knows all channels and their statuses.
const TIMEOUT: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The time after all nodes know all channels, before anything is measured.
const SETTLE: Duration = Duration::from_secs(2);

/// The reason why the list of channels could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("node {node} listed {known} of {channels} channels after {seconds} s")]
    Incomplete {
        node: usize,
        known: usize,
        channels: usize,
        seconds: u64,
    },
    #[error("the list of a node is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The figures of the list.
#[derive(Debug, Serialize)]
pub(crate) struct DirectoryFigures {
    pub(crate) broker: BrokerKind,
    pub(crate) channels: usize,
    pub(crate) changes_per_second: f64,
    /// The cores that each node used while statuses changed, and the memory in bytes that it had.
    pub(crate) nodes: Vec<(f64, u64)>,
    pub(crate) broker_cores: Option<f64>,
    /// The time until the last node knew all channels, from the first request that made one.
    pub(crate) spread_seconds: f64,
    /// The time until all nodes knew the last change.
    pub(crate) last_change_seconds: f64,
    /// The time until a new node knew all channels, from the moment at which it listened.
    pub(crate) join_seconds: f64,
    /// Statuses that a node listed wrong at the end.
    pub(crate) wrong: usize,
}

/// Measures a list of so many channels while statuses change at a rate.
pub(crate) fn run(
    options: &LoadOptions,
    channels: usize,
    changes_per_second: u64,
    progress: &Progress,
) -> Result<DirectoryFigures, RunError> {
    measure(options, channels, changes_per_second, progress).map_err(RunError::Directory)
}

fn measure(
    options: &LoadOptions,
    channels: usize,
    changes_per_second: u64,
    progress: &Progress,
) -> Result<DirectoryFigures, DirectoryError> {
    let workload = Workload {
        // Without a home, every node only serves.
        cluster: ClusterLayout {
            homes: 0,
            ..options.workload.cluster
        },
        pin: false,
        ..options.workload.clone()
    };
    progress.begin_round(format!(
        "{} channels on {} nodes",
        count(channels as f64),
        workload.cluster.nodes
    ));
    let mut cluster = ClusterProcesses::start(&options.program, &workload)?;
    let mut publishers = cluster
        .nodes
        .iter()
        .map(|node| HttpConnection::connect(&node.target))
        .collect::<Result<Vec<_>, _>>()?;
    let mut statuses = Statuses::new(channels, publishers.len());
    let began = Instant::now();
    for (node, publisher) in publishers.iter_mut().enumerate() {
        let own: Vec<usize> = (node..channels).step_by(statuses.nodes).collect();
        for batch in own.chunks(BATCH) {
            publisher.expect("POST", "/api/actions", &statuses.body(batch), 200)?;
        }
    }
    for (node, process) in cluster.nodes.iter().enumerate() {
        wait_for_all(node, process, channels, TIMEOUT)?;
    }
    let spread_seconds = began.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);

    progress.show_text("statuses change".to_owned());
    let usage = |cluster: &ClusterProcesses| -> Vec<_> {
        cluster.nodes.iter().map(ServerProcess::cpu_usage).collect()
    };
    let broker = |cluster: &ClusterProcesses| {
        let broker = cluster.broker.as_ref();
        broker.map(|broker| broker.cpu_usage())
    };
    let (first, first_broker) = (usage(&cluster), broker(&cluster));
    let started = Instant::now();
    let seconds = Duration::from_secs_f64(workload.seconds);
    let mut changed = 0;
    for step in 1.. {
        let at = started + STEP * step;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let due = (started.elapsed().as_secs_f64() * changes_per_second as f64) as usize;
        let batch: Vec<usize> = (changed..due).map(|i| i % channels).collect();
        changed = due.max(changed);
        for (node, publisher) in publishers.iter_mut().enumerate() {
            let own: Vec<usize> = batch
                .iter()
                .copied()
                .filter(|channel| channel % statuses.nodes == node)
                .collect();
            for own in own.chunks(BATCH) {
                statuses.change(own);
                publisher.expect("POST", "/api/actions", &statuses.body(own), 200)?;
            }
        }
        if started.elapsed() >= seconds {
            break;
        }
    }
    let took = started.elapsed().as_secs_f64();
    let (last, last_broker) = (usage(&cluster), broker(&cluster));
    let cores = |ns: u64| ns as f64 / took / 1e9;
    let nodes = last
        .iter()
        .zip(&first)
        .zip(&cluster.nodes)
        .map(|((last, first), node)| (cores(last.used_ns_since(first)), node.memory().resident))
        .collect();
    let broker_cores = last_broker
        .zip(first_broker)
        .map(|(last, first)| cores(last.used_ns_since(&first)));

    let changed_at = Instant::now();
    let mut wrong = statuses.wrong_on_any(&cluster)?;
    while wrong > 0 && changed_at.elapsed() < TIMEOUT {
        std::thread::sleep(POLL_INTERVAL);
        wrong = statuses.wrong_on_any(&cluster)?;
    }
    let last_change_seconds = changed_at.elapsed().as_secs_f64();

    progress.show_text("a node joins".to_owned());
    cluster.add_node(&options.program, &workload)?;
    let joined = Instant::now();
    if let Some(newest) = cluster.nodes.last() {
        wait_for_all(cluster.nodes.len() - 1, newest, channels, TIMEOUT)?;
    }
    let join_seconds = joined.elapsed().as_secs_f64();
    wrong += statuses.wrong_on_any(&cluster)?;
    Ok(DirectoryFigures {
        broker: workload.cluster.broker,
        channels,
        changes_per_second: changed as f64 / took,
        nodes,
        broker_cores,
        spread_seconds,
        last_change_seconds,
        join_seconds,
        wrong,
    })
}

/// The status that each channel has by now.
struct Statuses {
    nodes: usize,
    codes: Vec<u8>,
}

impl Statuses {
    fn new(channels: usize, nodes: usize) -> Statuses {
        Statuses {
            nodes,
            codes: vec![0; channels],
        }
    }

    /// Changes the exit code of each of these channels.
    fn change(&mut self, channels: &[usize]) {
        for channel in channels {
            self.codes[*channel] = self.codes[*channel].wrapping_add(1);
        }
    }

    /// Returns the actions that publish the statuses of these channels.
    fn body(&self, channels: &[usize]) -> Vec<u8> {
        let actions: Vec<String> = channels
            .iter()
            .map(|channel| {
                format!(
                    "{{\"action\":\"ws.send_process_status\",\"process_id\":\"load-{channel}\",\
                     \"status\":\"exited\",\"exit_code\":{}}}",
                    self.codes[*channel]
                )
            })
            .collect();
        format!("[{}]", actions.join(",")).into_bytes()
    }

    /// Returns the number of statuses that nodes list wrong, over all nodes.
    fn wrong_on_any(&self, cluster: &ClusterProcesses) -> Result<usize, DirectoryError> {
        let mut wrong = 0;
        for node in &cluster.nodes {
            let listed = list(&node.target)?;
            wrong += (0..self.codes.len())
                .filter(|channel| {
                    let code = listed.get(&format!("process:load-{channel}"));
                    code != Some(&Some(i64::from(self.codes[*channel])))
                })
                .count();
        }
        Ok(wrong)
    }
}

/// Waits until a node lists all channels.
fn wait_for_all(
    node: usize,
    process: &ServerProcess,
    channels: usize,
    timeout: Duration,
) -> Result<(), DirectoryError> {
    let deadline = Instant::now() + timeout;
    loop {
        let known = list(&process.target)?.len();
        if known >= channels {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(DirectoryError::Incomplete {
                node: node + 1,
                known,
                channels,
                seconds: timeout.as_secs(),
            });
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the channels that a node lists, and the exit code of each.
fn list(target: &Target) -> Result<HashMap<String, Option<i64>>, DirectoryError> {
    #[derive(Deserialize)]
    struct Listed {
        channel: String,
        status: Option<ListedStatus>,
    }
    #[derive(Deserialize)]
    struct ListedStatus {
        #[serde(alias = "exit_code", alias = "exitCode")]
        code: Option<i64>,
    }
    let mut http = HttpConnection::connect(target)?;
    let body = http.expect("GET", "/api/channels", b"", 200)?;
    let listed: Vec<Listed> = serde_json::from_slice(&body)?;
    Ok(listed
        .into_iter()
        .map(|listed| (listed.channel, listed.status.and_then(|status| status.code)))
        .collect())
}

impl DirectoryFigures {
    /// Returns the figures as text.
    pub(crate) fn text(&self) -> String {
        let mut rows = vec![["", "CPU", "memory"].map(str::to_owned).to_vec()];
        for (node, (cores, memory)) in self.nodes.iter().enumerate() {
            rows.push(vec![
                format!("node {}", node + 1),
                percent(*cores),
                mebibytes(*memory as f64),
            ]);
        }
        if let Some(cores) = self.broker_cores {
            rows.push(vec!["broker".to_owned(), percent(cores), "–".to_owned()]);
        }
        format!(
            "{} channels in the list of {} nodes ({}), {:.0} status changes/s\n\n{}\n\
             all channels known everywhere {:.2} s after the first was made; \
             the last change {:.2} s after it\n\
             a node that joins knows all after {:.2} s\n",
            count(self.channels as f64),
            self.nodes.len(),
            self.broker,
            self.changes_per_second,
            markdown(&rows),
            self.spread_seconds,
            self.last_change_seconds,
            self.join_seconds,
        )
    }

    /// Returns the most cores that a node used.
    pub(crate) fn most_cores(&self) -> f64 {
        self.nodes.iter().map(|node| node.0).fold(0.0, f64::max)
    }

    /// Returns what is wrong with the list, if anything is.
    pub(crate) fn faults(&self) -> Vec<String> {
        match self.wrong {
            0 => Vec::new(),
            wrong => vec![format!(
                "{wrong} statuses were wrong in the lists of all nodes together"
            )],
        }
    }
}
