//! The `outrace` binary.

mod load;

use clap::Parser;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "outrace", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Load(load::Command),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Load(command) => load::run(&command),
    }
}
