//! The options of a load, for programs that start one.

use crate::server::program::Program;
use crate::server::system::System;
use crate::workload::{Rate, Workload};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that [`run`](crate::run) needs to know.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The program that runs the servers.
    pub program: Program,
    /// The kind of measurement.
    pub mode: LoadMode,
    /// The clients, the lines and the settings of the server.
    ///
    /// The modes other than [`LoadMode::Compare`] have workloads of their own and take only a few
    /// settings from here. Each mode names them.
    pub workload: Workload,
    /// The system that [`LoadMode::Verify`] floods: the engine or a cluster.
    pub verified: System,
    /// The number of times that each system is measured. Reports show medians. 0 counts as 1.
    pub rounds: usize,
    /// The bytes that the floor writes at once. The default is what the engine wrote in the same
    /// run.
    pub floor_block_bytes: Option<usize>,
    /// The file to which every figure is written as JSON.
    pub json: Option<PathBuf>,
    /// The file to which an HTML page with plots is written. [`LoadMode::Verify`] and
    /// [`LoadMode::Soak`] write none.
    pub report: Option<PathBuf>,
    /// Shows the progress on standard error if that is a terminal.
    pub show_progress: bool,
}

/// The kind of measurement.
#[derive(Clone, Debug)]
pub enum LoadMode {
    /// The workload, on one or several systems that this program starts.
    Compare {
        /// The systems, which run in turns.
        systems: Vec<System>,
        /// The rates that replace that of the workload, one after the other. If there are none, the
        /// workload runs at its own rate.
        rates: Vec<Rate>,
    },
    /// The workload, on a server that runs already and is fed by `POST /api/actions`.
    Remote {
        /// `ws://HOST:PORT/PATH`.
        url: String,
        /// The headers of every request, each as `Name: value`.
        headers: Vec<String>,
        /// The rates that replace that of the workload, one after the other.
        rates: Vec<Rate>,
    },
    /// The table of workloads that the documentation shows.
    ///
    /// It takes the times, the burst, the flush interval and the threads from the workload.
    Suite {
        /// The letters of the rows to run. All rows run if there are none.
        only: Vec<char>,
    },
    /// What a line costs the home of a channel: alone, in a cluster without viewers elsewhere, and
    /// with one and three mirrors.
    HomeCost,
    /// The common list of channels of a cluster, without any lines.
    ///
    /// It takes the measured time, the nodes and the broker from the workload.
    Directory {
        /// The channels, which belong to the nodes in turn.
        channels: usize,
        /// The statuses that change.
        changes_per_second: u64,
    },
    /// What a cluster or a tree of relays uses that is too large for this machine, computed from
    /// costs that are measured first.
    ///
    /// It takes the viewers, the channels, the rate and the levels from the workload.
    Simulate {
        /// The nodes that have the viewers.
        nodes: usize,
        /// The cores of each node.
        node_cores: usize,
        /// A file with the costs: the JSON of an earlier simulation. Without it they are measured.
        costs: Option<PathBuf>,
    },
    /// Floods with clients of all kinds, which have to account for every line.
    ///
    /// It takes the measured time, the line length and the threads from the workload.
    Verify,
    /// One engine under all kinds of load at once, whose figures must not drift.
    ///
    /// It takes the line length and the threads from the workload.
    Soak {
        /// The time for which lines flow.
        duration: Duration,
    },
}

impl LoadOptions {
    /// Measures the engine once, with the default workload.
    pub fn new(program: Program) -> LoadOptions {
        LoadOptions {
            program,
            mode: LoadMode::Compare {
                systems: vec![System::Engine],
                rates: Vec::new(),
            },
            workload: Workload::default(),
            verified: System::Engine,
            rounds: 1,
            floor_block_bytes: None,
            json: None,
            report: None,
            show_progress: false,
        }
    }

    /// Returns the workload at each of `rates`, or at its own rate if there are none.
    pub(crate) fn workloads(&self, rates: &[Rate]) -> Vec<Workload> {
        let own = [self.workload.rate];
        let rates = if rates.is_empty() { &own[..] } else { rates };
        rates
            .iter()
            .map(|rate| {
                let mut workload = Workload {
                    rate: *rate,
                    ..self.workload.clone()
                };
                if workload.name.is_empty() {
                    workload.name = format!(
                        "{rate} x {} x {} bytes",
                        workload.subscribers, workload.line_bytes
                    );
                }
                workload
            })
            .collect()
    }
}
