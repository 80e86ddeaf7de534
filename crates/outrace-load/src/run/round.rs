//! One round: the server starts, the clients join, lines flow, the queues drain, and everything is
//! accounted for.

use super::accounting::{FeedResult, RoundMeasurements, UsageReading};
use super::error::{FeederError, RunError};
use super::feeder::{Feeder, FeederResult};
use super::line_sink::{LineSink, SpreadSink};
use super::observer::{RoundObserver, RoundView};
use super::outcome::{MemoryUse, Outcome};
use super::skip_counts::{SkipCounts, fetch_stats};
use super::start::start;
use crate::client::receiver::{self, ReceiverError, ReceiverResult};
use crate::clock::{self, NS_PER_MS, NS_PER_SECOND};
use crate::measure::control::{Phase, RoundControl};
use crate::measure::histogram::empty_histogram;
use crate::progress::Progress;
use crate::server::program::Program;
use crate::server::running::RunningServers;
use crate::server::stats::ServerStats;
use crate::server::system::System;
use crate::server::usage::CpuUsage;
use crate::wire::target::Target;
use crate::workload::Workload;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest time until all clients have joined.
const JOINS_TIMEOUT_NS: u64 = 120 * NS_PER_SECOND;

/// The time from the start of the feeder to the first line. Every thread is ready by then.
const RUN_UP_NS: u64 = 20 * NS_PER_MS;

/// The time from the last join to the first line of a cluster.
const CLUSTER_RUN_UP: Duration = Duration::from_secs(1);

/// The longest time for which the feeder may continue after the measured time.
const FEEDER_TIMEOUT_NS: u64 = 20 * NS_PER_SECOND;

/// The server that a round measures.
#[derive(Clone, Debug)]
pub(crate) struct ServerUnderTest<'a> {
    pub(crate) program: &'a Program,
    pub(crate) system: System,
    /// The address of a server that is not started.
    pub(crate) remote: Option<Target>,
    /// The bytes that the floor writes at once.
    pub(crate) block_bytes: usize,
}

/// Runs one round.
pub(crate) fn run(
    workload: &Workload,
    subject: &ServerUnderTest<'_>,
    progress: &Progress,
    observer: &mut dyn RoundObserver,
) -> Result<Outcome, RunError> {
    subject.system.check(workload)?;
    let (mut server, targets) = start(workload, subject)?;
    let mut round = Round {
        control: Arc::new(RoundControl::new(workload.subscribers, workload.clients())),
        targets,
        system: subject.system,
        progress,
        receivers: Vec::new(),
        workload: Arc::new(workload.clone()),
    };
    if let Some(cluster) = server.cluster() {
        cluster.wait_until_known(&round.workload)?;
    }
    let before_clients = resident_bytes(&server);
    let began_ns = clock::now_ns();
    round.start_receivers()?;
    let measured = round.measure(&mut server, before_clients, began_ns, observer);
    round.control.enter(Phase::Stop);
    let received: Result<Vec<ReceiverResult>, ReceiverError> = round
        .receivers
        .drain(..)
        .map(|thread| thread.join().unwrap_or(Err(ReceiverError::Panicked)))
        .collect();
    // The error of a receiver explains more than the errors that it causes elsewhere.
    let received = received?;
    Ok(measured?.into_outcome(
        &round.workload,
        subject.system,
        received,
        began_ns,
        round.control.visits(),
    ))
}

pub(super) struct Round<'a> {
    pub(super) workload: Arc<Workload>,
    pub(super) control: Arc<RoundControl>,
    /// The address of the server, or of each node.
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) system: System,
    progress: &'a Progress,
    receivers: Vec<JoinHandle<Result<ReceiverResult, ReceiverError>>>,
}

impl Round<'_> {
    /// Starts the threads that hold the clients: as many as the workload says, or one for each
    /// node, so that the figures of each node are apart.
    fn start_receivers(&mut self) -> Result<(), RunError> {
        let layout = self.workload.cluster;
        let clients = self.workload.clients();
        let threads = match self.system {
            System::Cluster => self.targets.len(),
            _ => self.workload.threads,
        };
        for index in 0..threads {
            let is_cluster = self.system == System::Cluster;
            let target = if is_cluster { index } else { 0 };
            let numbers = (0..clients).filter(|number| match is_cluster {
                true => layout.node_of(*number) == index,
                false => number % threads == index,
            });
            self.receivers.push(receiver::start(
                Arc::clone(&self.targets[target]),
                Arc::clone(&self.workload),
                Arc::clone(&self.control),
                index,
                numbers,
            )?);
        }
        Ok(())
    }

    fn measure(
        &self,
        server: &mut RunningServers,
        before_clients: u64,
        began_ns: u64,
        observer: &mut dyn RoundObserver,
    ) -> Result<RoundMeasurements, RunError> {
        self.wait_for_joins(server, began_ns)?;
        if server.cluster().is_some() {
            // The homes learn of their mirrors' interest a moment after the clients have joined.
            std::thread::sleep(CLUSTER_RUN_UP);
        }
        observer
            .joined(&self.view(server))
            .map_err(RunError::Observer)?;
        let with_clients = resident_bytes(server);
        // A server that is not a child may have skipped lines of earlier runs.
        let skips_before = SkipCounts::fetch(self.system, &self.targets);
        let mut feed = self.feed(server, observer)?;
        observer.fed(&self.view(server));
        let mut faults = Vec::new();
        self.control.enter(Phase::Drain);
        if let Err(fault) = self.drain(feed.lines, skips_before.total) {
            faults.push(fault.to_string());
        }
        observer.drained(&self.view(server));
        let skips = SkipCounts::fetch(self.system, &self.targets).since(skips_before);
        let peak = server.memory().map(|memory| memory.peak);
        self.control.enter(Phase::Ending);
        if !matches!(server, RunningServers::Remote) {
            feed.input = None;
            if let Err(fault) = self.wait_for_end(server) {
                faults.push(fault.to_string());
            }
        }
        let broker_fault = observer.broker_fault();
        let memory = peak.map(|peak| MemoryUse {
            before_clients,
            with_clients,
            at_start: feed.first.memory,
            at_end: feed.last.memory,
            peak,
        });
        Ok(RoundMeasurements {
            feed,
            memory,
            skips,
            broker_fault,
            faults,
        })
    }

    fn wait_for_joins(&self, server: &mut RunningServers, began_ns: u64) -> Result<(), RunError> {
        let clients = self.workload.clients() as u64;
        while self.control.joined() < clients {
            std::thread::sleep(Duration::from_millis(1));
            self.check_running(server)?;
            let joined = self.control.joined();
            self.progress.show_joined(joined);
            if clock::now_ns() - began_ns > JOINS_TIMEOUT_NS {
                return Err(RunError::JoinsTimedOut {
                    joined,
                    clients,
                    seconds: JOINS_TIMEOUT_NS / NS_PER_SECOND,
                });
            }
        }
        Ok(())
    }

    fn view<'s>(&'s self, server: &'s RunningServers) -> RoundView<'s> {
        RoundView {
            server: server.first(),
            cluster: server.cluster(),
            target: &self.targets[0],
            workload: &self.workload,
            control: &self.control,
            progress: self.progress,
        }
    }

    /// Fails if a receiver has given up or the server has ended.
    fn check_running(&self, server: &mut RunningServers) -> Result<(), RunError> {
        if self.control.failed() {
            return Err(RunError::ReceiverGaveUp);
        }
        server.check_running()?;
        Ok(())
    }

    fn feed(
        &self,
        server: &mut RunningServers,
        observer: &mut dyn RoundObserver,
    ) -> Result<FeedResult, RunError> {
        let ns = |seconds: f64| (seconds * NS_PER_SECOND as f64) as u64;
        let origin_ns = clock::now_ns() + RUN_UP_NS;
        let from_ns = origin_ns + ns(self.workload.warmup_seconds);
        let until_ns = from_ns + ns(self.workload.seconds);
        self.control.set_window(origin_ns, from_ns..until_ns);
        let (mut input, mut feeder) = (None, None);
        let sink = match (server as &mut RunningServers, self.system) {
            (RunningServers::One(floor), System::Floor) => {
                let mut order = floor.take_stdin();
                writeln!(order, "start {origin_ns} {until_ns}").map_err(RunError::StartFloor)?;
                input = Some(LineSink::Lines(order));
                None
            }
            (RunningServers::One(server), _) => {
                let pipe = server.take_stdin();
                Some(match self.workload.channels {
                    1 => LineSink::Lines(pipe),
                    _ => LineSink::Framed(pipe),
                })
            }
            (RunningServers::Cluster(cluster), _) => {
                let mut pipes = cluster.take_inputs();
                Some(
                    match (pipes.pop(), pipes.is_empty(), self.workload.channels) {
                        (Some(pipe), true, 1) => LineSink::Lines(pipe),
                        (Some(pipe), true, _) => LineSink::Framed(pipe),
                        (last, ..) => {
                            pipes.extend(last);
                            LineSink::Spread(SpreadSink::new(pipes))
                        }
                    },
                )
            }
            (RunningServers::Remote, _) => Some(LineSink::connect(&self.targets[0])?),
        };
        if let Some(sink) = sink {
            let workload = Arc::clone(&self.workload);
            let control = Arc::clone(&self.control);
            feeder = Some(Feeder::new(workload, control, origin_ns, until_ns).start(sink)?);
        }
        self.wait_until(from_ns, server, observer)?;
        let mut first = self.read_usage(server);
        self.wait_until(until_ns, server, observer)?;
        let mut last = self.read_usage(server);
        if let Some(thread) = feeder {
            let fed = self.join_feeder(thread, server)?;
            return Ok(FeedResult {
                input: Some(fed.sink),
                lines: fed.lines,
                unsent: fed.unsent,
                late_us: fed.late_us,
                first,
                last,
            });
        }
        let stdout = match server {
            RunningServers::One(floor) => floor.stdout.as_mut(),
            _ => None,
        };
        let (lines, stats) =
            read_floor_figures(stdout.expect("only the floor, which is a child, feeds itself"))?;
        first.stats = ServerStats {
            skipped: None,
            writes: Some(0),
            written_bytes: Some(0),
        };
        last.stats = stats;
        Ok(FeedResult {
            input,
            lines,
            unsent: 0,
            late_us: empty_histogram(),
            first,
            last,
        })
    }

    fn join_feeder(
        &self,
        thread: JoinHandle<Result<FeederResult, FeederError>>,
        server: &mut RunningServers,
    ) -> Result<FeederResult, RunError> {
        let deadline_ns = clock::now_ns() + FEEDER_TIMEOUT_NS;
        while !thread.is_finished() {
            self.check_running(server)?;
            if clock::now_ns() > deadline_ns {
                return Err(FeederError::Stuck(FEEDER_TIMEOUT_NS / NS_PER_SECOND).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let result = thread.join().unwrap_or(Err(FeederError::Panicked));
        Ok(result?)
    }

    /// Waits until `deadline_ns`, and calls the observer at each step.
    fn wait_until(
        &self,
        deadline_ns: u64,
        server: &mut RunningServers,
        observer: &mut dyn RoundObserver,
    ) -> Result<(), RunError> {
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= deadline_ns {
                return Ok(());
            }
            let wake_ns = deadline_ns.min(now_ns + observer.step_ns());
            clock::sleep_until_ns(wake_ns);
            let late_ns = clock::now_ns().saturating_sub(wake_ns);
            self.check_running(server)?;
            observer.running(&self.view(server), late_ns);
        }
    }

    fn read_usage(&self, server: &RunningServers) -> UsageReading {
        // The CPU time comes first, since fetching the stats costs the server some.
        UsageReading {
            servers: server.cpu_usage(),
            broker: server.broker_usage(),
            node_stats: match self.system {
                System::Cluster => self.targets.iter().map(|t| ServerStats::fetch(t)).collect(),
                _ => Vec::new(),
            },
            memory: resident_bytes(server),
            generator: CpuUsage::of_this_process(),
            published: self.control.published(),
            stats: fetch_stats(self.system, &self.targets[0]),
        }
    }
}

/// Returns the resident memory of all children together, and 0 for another server.
fn resident_bytes(server: &RunningServers) -> u64 {
    server.memory().map_or(0, |memory| memory.resident)
}

/// Reads the lines, writes and bytes of the floor's whole run.
fn read_floor_figures(stdout: &mut impl BufRead) -> Result<(u64, ServerStats), RunError> {
    let mut line = String::new();
    stdout.read_line(&mut line).map_err(RunError::ReadFloor)?;
    let figures: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    match figures[..] {
        [lines, writes, bytes] => Ok((
            lines,
            ServerStats {
                skipped: None,
                writes: Some(writes),
                written_bytes: Some(bytes),
            },
        )),
        _ => Err(RunError::FloorFigures(line)),
    }
}
