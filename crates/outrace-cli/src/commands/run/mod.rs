//! `outrace run`: runs one command or several, and streams their output.

mod keyboard;
mod output_options;
mod prefixed;
mod procfile;
mod single;
mod supervised;
mod terminal;
mod unfinished;
mod window;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outrace::ProcessId;
use outrace::process::Program;

use self::output_options::OutputOptions;
use self::supervised::{Job, Supervision};
use crate::failure::Failure;
use crate::flags::values::duration;
use crate::flags::{LosslessOption, ServerOptions};

/// A command after --, or several processes: `web='npm start'`, or a Procfile.
///
/// Ends with the exit code of the command: 128 + the signal that killed it, 127 if it was not
/// found, 126 if it could not be run. With several commands it is the code of the first one that
/// failed and was not started again, or 0.
#[derive(Args)]
pub(crate) struct Run {
    /// The name of the process: 1 to 128 of A-Z a-z 0-9 _ . - [default: the base name of the
    /// command]
    # [arg(long, value_name = "ID", conflicts_with_all = ["file", "processes"])]
    id: Option<String>,

    /// Run the processes of a Procfile, whose lines are NAME: COMMAND, in the folder of the file
    #[arg(long, short, value_name = "PROCFILE", conflicts_with = "command")]
    file: Option<PathBuf>,

    /// Keep serving after the end of all commands, until a signal
    #[arg(long)]
    stay: bool,

    /// Print nothing but the output of the command
    #[arg(long, short)]
    quiet: bool,

    /// How long the command may take to end after SIGINT or SIGTERM before it is killed. A second
    /// signal kills it at once
    # [arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    grace: Duration,

    #[command(flatten)]
    lossless: LosslessOption,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    supervision: Supervision,

    #[command(flatten)]
    server: ServerOptions,

    /// Processes to run together: names, and commands for the shell
    # [arg(value_name = "ID=COMMAND", conflicts_with = "command", value_parser = named)]
    processes: Vec<Named>,

    /// The command and its arguments, after --
    # [arg(last = true, required_unless_present_any = ["file", "processes"], value_name = "CMD")]
    command: Vec<OsString>,
}

type Named = (ProcessId, String);

/// Parses `ID=COMMAND`.
fn named(text: &str) -> Result<Named, String> {
    let Some((id, command)) = text.split_once('=') else {
        return Err(
            "it must be ID=COMMAND, such as web='npm start'; a single command goes after --"
                .to_owned(),
        );
    };
    let id = ProcessId::parse(id).map_err(|error| error.to_string())?;
    if command.trim().is_empty() {
        return Err(format!("{id} has no command"));
    }
    Ok((id, command.to_owned()))
}

impl Run {
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return self.start_several().await;
        };
        let id = match &self.id {
            Some(id) => ProcessId::parse(id).map_err(Failure::usage)?,
            None => ProcessId::from_command(program),
        };
        if self.supervision.is_requested() {
            let program = Program::new(program).args(arguments);
            return self.supervise(vec![(id, program)], false).await;
        }
        self.run_single(id, program, arguments).await
    }

    async fn start_several(&self) -> Result<u8, Failure> {
        let mut processes = match &self.file {
            Some(file) => procfile::read(file)?,
            None => Vec::new(),
        };
        processes.extend(
            self.processes
                .iter()
                .map(|(id, command)| (id.clone(), Program::shell(command))),
        );
        self.supervise(processes, true).await
    }

    async fn supervise(
        &self,
        processes: Vec<(ProcessId, Program)>,
        prefixes: bool,
    ) -> Result<u8, Failure> {
        let job = Job {
            processes,
            prefixes,
            output: self.output.connection(false),
            supervision: &self.supervision,
            server: &self.server,
            lossless: self.lossless.limit,
            grace: self.grace,
            stay: self.stay,
            quiet: self.quiet,
        };
        job.start().await
    }
}
