//! The program `outrace`: puts the lines of processes in front of everyone who watches.

mod commands;
mod console;
mod failure;
mod flags;
mod server;
mod signals;
mod stdin;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{load, load_server, pipe, run, serve, tail, watch};
use failure::{Failure, advice, plain};

/// Live lines from processes and logs to everyone who watches, over WebSockets.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
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
    match Arguments::try_parse()
        .map_err(Failure::of_arguments)
        .and_then(|arguments| start(arguments.command))
    {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code())
        }
    }
}

fn start(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Load(args) => return load::run(*args),
        Command::LoadServer(args) => return load_server::run(&args).map(|()| 0),
        Command::LoadBaseline(args) => return load::run_baseline(args),
        Command::LoadFloor(args) => return load::run_floor(&args),
        _ => {}
    }
    // Before the runtime starts threads. If the system refuses, the limit stays as it is, and what
    // meets it says so.
    let _ = outrace::process::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
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
            Command::Watch(watch) => watch.start().await,
            Command::Load(_)
            | Command::LoadServer(_)
            | Command::LoadBaseline(_)
            | Command::LoadFloor(_) => {
                unreachable!("these commands build a runtime of their own and returned above")
            }
        }
    });
    // A thread may be blocked in a read of standard input, which nothing can interrupt.
    runtime.shutdown_background();
    code
}
