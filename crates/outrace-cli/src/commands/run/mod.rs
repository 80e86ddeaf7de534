//! `outrace run`: runs one command or several, and streams their output.

mod env_file;
mod environment;
mod keyboard;
mod output_options;
mod ownership;
mod prefixed;
mod procfile;
mod script_fault;
mod single;
mod supervised;
mod terminal;
mod text_file;
mod unfinished;
mod window;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use outrace::process::Program;
use outrace::{Hub, ProcessId};

use self::environment::EnvironmentOptions;
use self::output_options::OutputOptions;
use self::ownership::Ownership;
use self::procfile::Procfile;
use self::supervised::{Job, Supervision};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::values::duration;
use crate::flags::{LosslessOption, ServerOptions};
use crate::output::Output;

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

    /// Run the processes of a Procfile, whose lines are NAME: COMMAND, in the folder of the file.
    /// - is standard input; what a pipe names runs in the current folder
    #[arg(long, short, value_name = "PROCFILE", conflicts_with = "command")]
    file: Option<PathBuf>,

    /// Keep serving after the end of all commands, and without a reader of standard output, until
    /// a signal
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
    environment: EnvironmentOptions,

    #[command(flatten)]
    ownership: Ownership,

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
        return Err("it must be ID=COMMAND, such as web='npm start'".to_owned());
    };
    let id = ProcessId::parse(id).map_err(|error| error.to_string())?;
    if command.trim().is_empty() {
        return Err(format!("{id} has no command"));
    }
    Ok((id, command.to_owned()))
}

impl Run {
    pub(crate) async fn start(self) -> Result<Exit, Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return self.start_several().await;
        };
        let id = match &self.id {
            Some(id) => ProcessId::parse(id).map_err(Failure::usage)?,
            None => ProcessId::from_command(program),
        };
        let variables = self.environment.load(None, self.quiet)?.of(0, &id)?;
        if self.supervision.is_requested() {
            let mut program = Program::new(program).args(arguments);
            for (name, value) in variables {
                program = program.env(name, value);
            }
            return self.supervise(vec![(id, program)], false).await;
        }
        self.run_single(id, program, arguments, variables).await
    }

    /// Lets the command run on without a reader of its output while there are viewers, or --stay
    /// asks for that. Otherwise the next output ends the program.
    fn go_on_without_reader(&self, hub: &Hub) {
        let (stay, hub) = (self.stay, hub.clone());
        Output::stdout().go_on_while(move || stay || hub.client_count() > 0);
    }

    async fn start_several(&self) -> Result<Exit, Failure> {
        let procfile = self.file.as_deref().map(Procfile::read).transpose()?;
        // `None` without a Procfile, and empty for one that is run in the current folder.
        let folder = procfile
            .as_ref()
            .map(|procfile| procfile.folder.as_deref().unwrap_or(Path::new("")));
        let environment = self.environment.load(folder, self.quiet)?;
        let mut processes = Vec::new();
        for (id, command) in procfile.iter().flat_map(|procfile| &procfile.processes) {
            let program = Program::shell(command);
            processes.push((
                id,
                match procfile.as_ref().and_then(|p| p.folder.as_ref()) {
                    Some(folder) => program.current_dir(folder),
                    None => program,
                },
            ));
        }
        for (id, command) in &self.processes {
            processes.push((id, Program::shell(command)));
        }
        let processes = (0..)
            .zip(processes)
            .map(|(index, (id, mut program))| {
                for (name, value) in environment.of(index, id)? {
                    program = program.env(name, value);
                }
                Ok((id.clone(), program))
            })
            .collect::<Result<_, Failure>>()?;
        self.supervise(processes, true).await
    }

    async fn supervise(
        &self,
        processes: Vec<(ProcessId, Program)>,
        prefixes: bool,
    ) -> Result<Exit, Failure> {
        let job = Job {
            processes,
            prefixes,
            output: self.output.connection(),
            supervision: &self.supervision,
            ownership: &self.ownership,
            server: &self.server,
            lossless: self.lossless.limit,
            grace: self.grace,
            started: Arc::default(),
            stay: self.stay,
            quiet: self.quiet,
        };
        job.start().await
    }
}
