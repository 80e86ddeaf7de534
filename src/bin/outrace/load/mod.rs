//! `outrace load`: many clients against one server, every line accounted for.
//!
//! [`feeder`] stamps lines and sends them on time; [`receiver`] threads hold the clients, whose bytes [`frame`] cuts,
//! [`client`] judges and [`account`] counts; [`round`] starts the server ([`server_process`]), lets it all happen and
//! compares the books; [`outcome`] has the figures, which [`table`] and [`html`] show. [`baseline`] and [`floor`] are
//! other servers, started and measured in the same way.

mod account;
mod args;
mod baseline;
mod client;
mod clock;
mod compare;
mod control;
mod feeder;
mod floor;
mod frame;
mod http;
mod outcome;
mod progress;
mod receiver;
mod round;
mod server_process;
mod stamp;
mod system;
mod table;
mod tally;
mod target;
mod workload;

pub(crate) use args::LoadArgs;
use std::process::ExitCode;

/// `load`, and the servers it starts.
#[derive(clap::Subcommand, Clone, Debug)]
pub(crate) enum Command {
    Load(Box<LoadArgs>),
    /// What one writes by hand today, as a child of `load`
    #[command(hide = true)]
    LoadBaseline(baseline::BaselineArgs),
    /// Bare writes, as a child of `load`
    #[command(hide = true)]
    LoadFloor(floor::FloorArgs),
}

/// Exit code 0: measured, and every book closes; 1: a book does not close; 2: it could not be measured.
pub(crate) fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Load(args) => load(args),
        Command::LoadBaseline(args) => baseline::run(args).map(|()| true),
        Command::LoadFloor(args) => floor::run(args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("outrace load: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether every book closed.
fn load(args: &LoadArgs) -> Result<bool, String> {
    raise_file_limit();
    let comparisons = compare::run(args)?;
    print!("{}", table::of(&comparisons));
    if let Some(file) = &args.json {
        let json =
            serde_json::to_string_pretty(&comparisons).map_err(|e| format!("could not make JSON: {e}"))?;
        write(file, &json)?;
    }
    let mut closed = true;
    for outcome in comparisons.iter().flat_map(|comparison| &comparison.outcomes).filter(|o| o.failed()) {
        closed = false;
        eprintln!(
            "outrace load: the {} failed its check with {} faults:",
            outcome.system, outcome.fault_count
        );
        for fault in &outcome.faults {
            eprintln!("  {fault}");
        }
    }
    Ok(closed)
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
