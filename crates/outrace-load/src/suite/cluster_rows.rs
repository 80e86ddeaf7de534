//! The rows of a cluster, with its broker on this machine.

use super::condition::Condition;
use super::entry::base;
use super::{Suite, SuiteRow};
use crate::cluster::{directory, home_cost};
use crate::cluster_layout::{BrokerKind, ClusterLayout, Placement};
use crate::options::LoadOptions;
use crate::progress::Progress;
use crate::report::format::{count, milliseconds, percent};
use crate::report::nodes::times_alone;
use crate::run::comparison::{Comparison, median};
use crate::run::error::RunError;
use crate::run::outcome::{NodeOutcome, Outcome};
use crate::run::plan::Plan;
use crate::server::broker::is_installed;
use crate::server::system::System::{self, Cluster, Engine};
use crate::workload::{Rate, SubscribeOptions, Workload};
use std::time::Duration;

/// The letters of these rows.
pub(super) const LETTERS: [char; 5] = ['m', 'n', 'o', 'p', 'q'];

/// The viewers at the home whose cost is measured.
const HOME_VIEWERS: usize = 10;

/// The lines under way, and the room for them, in the row about speed.
const WINDOW: u64 = 100_000;
const QUEUE: usize = 200_000;
const QUEUE_BYTES: usize = 64 << 20;

/// The time for which the broker stands still, and the time in which that is measured.
const BROKER_STOP: Duration = Duration::from_secs(5);
const BROKER_STOP_SECONDS: f64 = 15.0;

const DIRECTORY_CHANNELS: usize = 10_000;
const STATUS_CHANGES: u64 = 100;

impl Suite {
    /// Measures the rows of a cluster that are wanted. Without the broker's program, each of them
    /// says so.
    pub(super) fn measure_cluster(
        &mut self,
        options: &LoadOptions,
        progress: &Progress,
        wanted: impl Fn(char) -> bool,
    ) -> Result<(), RunError> {
        let broker = options.workload.cluster.broker;
        // Relays have neither a broker that stands still or stores, nor a list that all share.
        let wanted =
            |letter| wanted(letter) && (broker != BrokerKind::Relay || matches!(letter, 'm' | 'o'));
        if !is_installed(broker) {
            for letter in LETTERS.into_iter().filter(|letter| wanted(*letter)) {
                self.rows.push(SuiteRow {
                    letter: letter.to_string(),
                    workload: "a cluster".to_owned(),
                    reach: String::new(),
                    measured: format!("not measured: the server of {broker} is not installed"),
                    met: false,
                });
            }
            return Ok(());
        }
        let rows = ClusterRows {
            options,
            progress,
            broker,
        };
        if wanted('m') {
            rows.mirror(self)?;
        }
        if wanted('n') {
            rows.speed(self)?;
        }
        if wanted('o') {
            rows.home(self)?;
        }
        if wanted('p') {
            rows.broker_stop(self)?;
        }
        if wanted('q') {
            rows.directory(self)?;
        }
        Ok(())
    }
}

struct ClusterRows<'a> {
    options: &'a LoadOptions,
    progress: &'a Progress,
    broker: BrokerKind,
}

impl ClusterRows<'_> {
    fn workload(&self, name: &str) -> Workload {
        Workload {
            name: format!("{name}, {}", self.broker),
            pin: false,
            cluster: ClusterLayout {
                broker: self.broker,
                ..ClusterLayout::default()
            },
            ..base(&self.options.workload)
        }
    }

    fn measure(&self, systems: &[System], workload: Workload) -> Result<Comparison, RunError> {
        let plan = Plan {
            program: &self.options.program,
            systems: systems.to_vec(),
            rounds: self.options.rounds.max(1),
            remote: None,
            floor_block_bytes: None,
        };
        let name = workload.name.clone();
        plan.run(workload, self.progress)
            .map_err(|why| why.in_workload(name))
    }

    /// The clients of a mirror, beside those of a server alone.
    fn mirror(&self, suite: &mut Suite) -> Result<(), RunError> {
        let workload = self.workload("10,000 lines/s x 100 subscribers at a mirror");
        let c = self.measure(&[Engine, Cluster], workload)?;
        let skipped = of_node(&c, 1, |node| Some(node.skipped as f64)).unwrap_or(f64::NAN);
        let ratio = times_alone(&c, 1).unwrap_or(f64::NAN);
        let ours = of_node(&c, 1, |node| Some(node.latency_us?.p50 as f64)).unwrap_or(f64::NAN);
        let alone = alone(&c, |o| Some(o.latency_us?.p50 as f64));
        let conditions = vec![
            Condition::new(format!("{} skipped", count(skipped)), skipped == 0.0),
            Condition::new(
                format!("CPU of the mirror {ratio:.2} x alone"),
                ratio <= 1.1,
            ),
            Condition::new(
                format!("p50 {} (alone {})", milliseconds(ours), milliseconds(alone)),
                ours <= alone + 3_000.0,
            ),
        ];
        let reach = "nothing skipped, CPU of the mirror <= 1.1 x alone, p50 <= alone + 3 ms";
        suite.push('m', &c.workload.name, reach, conditions);
        suite.comparisons.push(c);
        Ok(())
    }

    /// One channel as fast as one client at a mirror reads it.
    fn speed(&self, suite: &mut Suite) -> Result<(), RunError> {
        for (durable, min) in [(false, 800_000.0), (true, 400_000.0)] {
            let name = match durable {
                false => "one channel as fast as it goes to 1 client at a mirror",
                true => "the same, durable",
            };
            let mut workload = Workload {
                subscribers: 1,
                rate: Rate::Window(WINDOW),
                queue_messages: Some(QUEUE),
                queue_bytes: Some(QUEUE_BYTES),
                subscribe_options: SubscribeOptions {
                    gaps: false,
                    batch: true,
                },
                ..self.workload(name)
            };
            workload.cluster.durable = durable;
            let c = self.measure(&[Cluster], workload)?;
            let rate = c
                .median(Cluster, |o| Some(o.delivered_per_second))
                .unwrap_or(0.0);
            let met = Condition::new(format!("{} lines/s", count(rate)), rate >= min);
            let reach = format!("{} lines/s", count(min));
            suite.push('n', &c.workload.name, &reach, vec![met]);
            suite.comparisons.push(c);
        }
        Ok(())
    }

    /// The cost of a line at its home.
    fn home(&self, suite: &mut Suite) -> Result<(), RunError> {
        let options = LoadOptions {
            workload: Workload {
                subscribers: HOME_VIEWERS,
                ..self.workload("the home")
            },
            ..self.options.clone()
        };
        let cost = home_cost::run(&options, self.progress)?;
        let ratio = |case| cost.ratio(case).unwrap_or(f64::NAN);
        let measured = format!(
            "CPU of the home {:.3} x alone; {:.3} x with 1 mirror, {:.3} x with 3",
            ratio(1),
            ratio(2),
            ratio(3)
        );
        suite.push(
            'o',
            &format!(
                "10,000 lines/s x {HOME_VIEWERS} subscribers at the home, {}",
                self.broker
            ),
            "CPU <= 1.02 x alone while nobody elsewhere watches",
            vec![Condition::new(measured, ratio(1) <= 1.02)],
        );
        suite.comparisons.extend(cost.comparisons);
        Ok(())
    }

    /// A broker that stands still while lines flow.
    fn broker_stop(&self, suite: &mut Suite) -> Result<(), RunError> {
        let mut workload = Workload {
            subscribers: 20,
            seconds: BROKER_STOP_SECONDS,
            queue_messages: Some(QUEUE),
            queue_bytes: Some(QUEUE_BYTES),
            ..self.workload("10,000 lines/s while the broker stands still for 5 s")
        };
        workload.cluster.placement = Placement::Everywhere;
        workload.cluster.broker_stop = Some(BROKER_STOP);
        let c = self.measure(&[Engine, Cluster], workload)?;
        let skipped = of_node(&c, 0, |node| Some(node.skipped as f64)).unwrap_or(f64::NAN);
        let p99 = of_node(&c, 0, |node| Some(node.latency_us?.p99 as f64)).unwrap_or(f64::NAN);
        let alone = alone(&c, |o| Some(o.latency_us?.p99 as f64));
        let caught_up = c
            .median(Cluster, |o| o.broker_fault?.caught_up_seconds)
            .unwrap_or(f64::NAN);
        let conditions = vec![
            Condition::new(
                format!("{} skipped at the home", count(skipped)),
                skipped == 0.0,
            ),
            Condition::new(
                format!("p99 {} (alone {})", milliseconds(p99), milliseconds(alone)),
                p99 <= 1.5 * alone,
            ),
            Condition::new(
                format!("mirrors complete {caught_up:.2} s after"),
                caught_up <= 3.0,
            ),
        ];
        let reach = "the home: nothing skipped, p99 <= 1.5 x alone; mirrors complete in 3 s";
        suite.push('p', &c.workload.name, reach, conditions);
        suite.comparisons.push(c);
        Ok(())
    }

    /// The common list of channels.
    fn directory(&self, suite: &mut Suite) -> Result<(), RunError> {
        let mut workload = self.workload("the list");
        workload.cluster.nodes = 3;
        let options = LoadOptions {
            workload,
            ..self.options.clone()
        };
        let figures = directory::run(&options, DIRECTORY_CHANNELS, STATUS_CHANGES, self.progress)?;
        let cores = figures.most_cores();
        let conditions = vec![
            Condition::new(
                format!("{} of a core at most", percent(cores)),
                cores <= 0.05,
            ),
            Condition::new(
                format!(
                    "a node that joins knows all in {:.2} s",
                    figures.join_seconds
                ),
                figures.join_seconds <= 2.0,
            ),
            Condition::new(format!("{} wrong", figures.wrong), figures.wrong == 0),
        ];
        suite.push(
            'q',
            &format!(
                "{} channels in the list of 3 nodes, {STATUS_CHANGES} status changes/s, {}",
                count(DIRECTORY_CHANNELS as f64),
                self.broker
            ),
            "5 % of a core a node; a node that joins knows all in 2 s",
            conditions,
        );
        Ok(())
    }
}

/// Returns the median over the rounds of a figure of one node.
fn of_node(c: &Comparison, node: usize, figure: fn(&NodeOutcome) -> Option<f64>) -> Option<f64> {
    median(
        c.of(Cluster)
            .filter_map(|outcome| figure(outcome.nodes.get(node)?))
            .collect(),
    )
}

/// Returns the median of a figure of the server alone.
fn alone(c: &Comparison, figure: fn(&Outcome) -> Option<f64>) -> f64 {
    c.median(Engine, figure).unwrap_or(f64::NAN)
}
