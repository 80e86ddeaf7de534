//! The program `outrace`: puts the lines of processes in front of everyone who watches.

mod address;
mod color;
mod commands;
mod console;
mod descriptor;
mod exit;
mod failure;
mod files;
mod flags;
mod guard;
mod mistakes;
mod output;
mod page;
mod server;
mod signals;
mod stdin;
mod suspend;

use std::fs::File;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use commands::{completions, healthcheck, load, load_server, man, pipe, run, serve, tail, watch};
use exit::Exit;
use failure::{Failure, advice, plain};
use output::Output;

/// The end of the help.
const EXAMPLES: &str = "\
Examples:
  outrace run -- npm start               run a command; the page that shows it is printed
  outrace run web='npm start' api=./api  run several together
  outrace tail '/var/log/app/*.log'      follow files, also those that come later";

/// Live lines from processes and logs to everyone who watches, over WebSockets.
#[derive(Parser)]
#[command(
    name = "outrace",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command, or several, and stream their output to the channels process:ID
    Run(run::Run),
    /// Stream standard input to the channel process:ID
    Pipe(pipe::Pipe),
    /// Follow files and stream their lines to the channels file:NAME
    Tail(tail::TailFiles),
    /// Serve alone; other programs publish by POST /api/actions
    Serve(serve::Serve),
    /// Print the lines of channels as they come
    Watch(watch::Watch),
    Load(Box<load::LoadArgs>),
    /// Ask whether a server is up
    #[command(name = "healthcheck")]
    HealthCheck(healthcheck::HealthCheck),
    /// Print a script that completes the command line in a shell
    Completions(completions::Completions),
    /// Print the manual page, or write all of them into a folder
    Man(man::ManPages),
    /// End what a killed `run` has left behind, as its child
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    /// Serve several channels with the engine, as a child of `load`
    #[command(hide = true)]
    LoadServer(Box<load_server::EngineServerArgs>),
    /// Serve with a server written by hand, as a child of `load`
    #[command(hide = true)]
    LoadBaseline(load::BaselineArgs),
    /// Serve by bare writes, as a child of `load`
    #[command(hide = true)]
    LoadFloor(load::FloorArgs),
}

fn main() -> ExitCode {
    // The standard library has opened /dev/null in place of standard streams that were closed, so
    // no socket and no file takes their numbers.
    std::panic::set_hook(Box::new(console::report_panic));
    let words = mistakes::help_last(std::env::args_os().collect());
    let ended = match Arguments::try_parse_from(&words) {
        Ok(arguments) => start(arguments.command),
        Err(error) => failure::of_arguments(&error, &words).map(Exit::from),
    };
    let exit = ended.unwrap_or_else(|failure| {
        failure.report();
        Exit::Code(failure.code())
    });
    if Output::stdout().is_closed() {
        output::end_without_reader();
    }
    exit.finish()
}

fn start(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Load(args) => return load::run(*args).map(Exit::from),
        Command::Guard(args) => return guard::run(&args).map(|()| Exit::Code(0)),
        Command::LoadServer(args) => return load_server::run(&args).map(|()| Exit::Code(0)),
        Command::LoadBaseline(args) => return load::run_baseline(args).map(Exit::from),
        Command::LoadFloor(args) => return load::run_floor(&args).map(Exit::from),
        Command::Completions(shell) => return Ok(shell.run(Arguments::command())),
        Command::Man(pages) => return pages.run(Arguments::command()),
        _ => {}
    }
    // Before the runtime starts threads. If the system refuses, the limit stays as it is, and what
    // meets it says so.
    let _ = outrace::process::raise_descriptor_limit();
    let runtime = has_descriptors()
        .and_then(|()| {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
        })
        .map_err(|error| {
            let (words, advice) = (plain(&error), advice(&error));
            Failure::new(1, format!("cannot start: {words}{advice}"))
        })?;
    let code = runtime.block_on(async {
        match command {
            Command::Run(run) => run.start().await,
            Command::Pipe(pipe) => pipe.start().await,
            Command::Tail(tail) => tail.start().await,
            Command::Serve(serve) => serve.start().await,
            Command::Watch(watch) => watch.start().await.map(Exit::from),
            Command::HealthCheck(check) => check.start().await,
            Command::Load(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Guard(_)
            | Command::LoadServer(_)
            | Command::LoadBaseline(_)
            | Command::LoadFloor(_) => {
                unreachable!("these commands need no runtime of this kind and returned above")
            }
        }
    });
    // A thread may be blocked in a read of standard input, which nothing can interrupt.
    runtime.shutdown_background();
    code
}

/// The descriptors that a runtime needs, for its signals and its events.
const RUNTIME_DESCRIPTORS: usize = 8;

/// Checks that a runtime can be built. tokio panics where it finds no descriptor for its signals.
fn has_descriptors() -> io::Result<()> {
    let mut probes = Vec::new();
    while probes.len() < RUNTIME_DESCRIPTORS {
        match File::open("/dev/null") {
            Ok(file) => probes.push(file),
            Err(error) if advice(&error).is_empty() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
