//! `outrace load`: many clients against one server, every line accounted for.
//!
//! [`feeder`] stamps lines and sends them on time; [`receiver`] threads hold the clients, whose bytes [`frame`] cuts,
//! [`client`] judges and [`account`] counts and [`ledger`] holds against what the server says; [`round`] starts the server ([`server_process`]), lets it all happen and
//! compares the books; [`outcome`] has the figures, which [`table`] and [`html`] show. [`baseline`] and [`floor`] are
//! other servers, started and measured in the same way. [`verify`] floods and [`soak`] goes on for long, both with clients of every kind.

mod account;
mod args;
mod baseline;
mod batch;
mod client;
mod clock;
mod compare;
mod control;
mod duration;
mod feeder;
mod floor;
mod frame;
mod html;
mod http;
mod interval;
mod ledger;
mod machine;
mod outcome;
mod pipe_speed;
mod plot;
mod progress;
mod receiver;
mod round;
mod seat;
mod server_process;
mod soak;
mod stamp;
mod suite;
mod system;
mod table;
mod tally;
mod target;
mod verify;
mod watch;
mod workload;

use args::LoadArgs;
use outcome::Comparison;
use progress::Progress;
use suite::Suite;

/// `load`, and the servers it starts.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The generator itself
    Load(Box<LoadArgs>),
    /// What one writes by hand today, as a child of `load`
    #[command(hide = true)]
    LoadBaseline(baseline::BaselineArgs),
    /// Bare writes, as a child of `load`
    #[command(hide = true)]
    LoadFloor(floor::FloorArgs),
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The measurement failed.
    #[error("{0}")]
    Failed(String),
}

/// Exit code 0: measured, and every book closes; 1: a book does not close, or it could not be measured.
pub fn run(command: Command) -> Result<u8, LoadError> {
    let failed = LoadError::Failed;
    match command {
        Command::Load(args) => load(&args),
        Command::LoadBaseline(args) => baseline::run(&args).map(|()| 0).map_err(failed),
        Command::LoadFloor(args) => floor::run(&args).map(|()| 0).map_err(failed),
    }
}

fn load(args: &LoadArgs) -> Result<u8, LoadError> {
    let workloads = args.workloads().map_err(LoadError::Usage)?;
    raise_file_limit();
    let progress = Progress::new(args.quiet);
    if args.verify {
        let verified = verify::run(args, &progress);
        progress.finish();
        return verified.map_err(LoadError::Failed);
    }
    if let Some(time) = args.soak {
        let soaked = soak::run(args, time, &progress);
        progress.finish();
        return soaked.map_err(LoadError::Failed);
    }
    let suite = if args.suite {
        suite::run(args, &progress)
    } else {
        compare::run(args, workloads, &progress).map(|comparisons| Suite {
            comparisons,
            ..Suite::default()
        })
    };
    progress.finish();
    let suite = suite.map_err(LoadError::Failed)?;
    present(args, &suite).map_err(LoadError::Failed)?;
    Ok(verdict(&suite.comparisons))
}

/// The tables on standard output, the files where they were asked for.
fn present(args: &LoadArgs, suite: &Suite) -> Result<(), String> {
    let rows = if suite.rows.is_empty() {
        Vec::new()
    } else {
        suite.table()
    };
    if rows.is_empty() {
        print!("{}", table::of(&suite.comparisons));
    } else {
        println!(
            "outrace {} · {}\n",
            env!("CARGO_PKG_VERSION"),
            machine::description()
        );
        println!(
            "{}\n{}",
            table::markdown(&rows),
            table::of(&suite.comparisons)
        );
    }
    if let Some(file) = &args.json {
        let json = serde_json::json!({ "machine": machine::description(), "suite": suite });
        write(file, &format!("{json:#}\n"))?;
    }
    match &args.report {
        Some(file) => write(file, &html::page(&suite.comparisons, &rows)),
        None => Ok(()),
    }
}

/// Says which book does not close, and the exit code.
pub(crate) fn verdict(comparisons: &[Comparison]) -> u8 {
    let mut code = 0;
    for comparison in comparisons {
        for outcome in comparison
            .outcomes
            .iter()
            .filter(|outcome| outcome.failed())
        {
            code = 1;
            let faults = if outcome.fault_count == 1 {
                "1 fault"
            } else {
                &format!("{} faults", outcome.fault_count)
            };
            eprintln!(
                "outrace: {}: the {} failed its check with {faults}:",
                comparison.workload.name, outcome.system
            );
            for fault in &outcome.faults {
                eprintln!("  {fault}");
            }
        }
    }
    code
}

fn write(file: &std::path::Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|e| format!("could not write {}: {e}", file.display()))
}

/// Thousands of clients need as many files, in this process and in the server that inherits the limit.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where this is refused, the clients that do not fit say so when they connect.
    let _ = setrlimit(Resource::Nofile, limit);
}
