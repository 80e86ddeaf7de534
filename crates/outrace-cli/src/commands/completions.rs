//! `outrace completions`: a script that completes the command line in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output::Output;

/// Bash: outrace completions bash > ~/.local/share/bash-completion/completions/outrace. Zsh: the
/// file is called _outrace, in a folder of fpath. Fish: the file is
/// ~/.config/fish/completions/outrace.fish.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints the script for `program`.
    pub(crate) fn run(&self, mut program: Command) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "outrace", &mut script);
        Output::stdout().write(&script);
        Exit::Code(0)
    }
}
