//! `outrace man`: the manual pages, which are made from the options.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::exit::Exit;
use crate::failure::{Failure, plain};
use crate::output::Output;

/// Without a folder, the page of outrace itself is printed: outrace man | man -l -
#[derive(Args)]
pub(crate) struct ManPages {
    /// Write all pages into this folder, which is made: outrace.1, outrace-run.1 and so on
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl ManPages {
    /// Prints or writes the pages of `program`.
    pub(crate) fn run(&self, program: Command) -> Result<Exit, Failure> {
        match &self.folder {
            Some(folder) => write_all(program, folder).map_err(|error| {
                let words = plain(&error);
                Failure::new(1, format!("cannot write to {}: {words}", folder.display()))
            })?,
            None => {
                let mut page = Vec::new();
                // As in the folder, where `help` has no page. A buffer takes every write.
                let _ = Man::new(program.disable_help_subcommand(true)).render(&mut page);
                Output::stdout().write(&page);
            }
        }
        Ok(Exit::Code(0))
    }
}

fn write_all(program: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(program, folder)
}
