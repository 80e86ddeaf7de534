//! The environment that processes get on top of the program's own: files of variables, and ports.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use outrace::ProcessId;

use super::env_file::{EnvFile, Variable};
use crate::console::notice;
use crate::failure::Failure;

/// The port of the first process if nothing else sets it, as foreman has it.
const DEFAULT_PORT: u16 = 5000;

/// The distance between the ports of two processes. A process that serves on several ports takes
/// those that follow its own.
const PORT_STEP: usize = 100;

#[derive(Args)]
#[command(next_help_heading = "Environment")]
pub(super) struct EnvironmentOptions {
    /// Set the variables that this file names, one NAME=VALUE a line; repeat it for further files,
    /// of which later ones win [default: .env in the folder of a Procfile, if it is there]
    #[arg(long = "env", short = 'e', value_name = "FILE", value_delimiter = ',')]
    files: Vec<PathBuf>,

    /// Read no .env
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "files")]
    no_env: bool,

    /// The variable PORT of the first process; each further one gets 100 more. A Procfile's
    /// processes have it in any case [default: PORT in .env or in the environment, else 5000]
    #[arg(long, short, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// The variables of several processes: those of the files, `PORT`, and `PS` as foreman names a
/// process, such as `web.1`.
#[derive(Debug)]
pub(super) struct Environment {
    variables: Vec<Variable>,
    /// The port of the first process, if the processes get ports.
    base_port: Option<u16>,
}

impl EnvironmentOptions {
    /// Reads the files. `folder` is that of the Procfile, empty for the current one, or `None`
    /// without a Procfile.
    pub(super) fn load(&self, folder: Option<&Path>, quiet: bool) -> Result<Environment, Failure> {
        let beside = folder
            .filter(|_| self.files.is_empty() && !self.no_env)
            .map(|folder| folder.join(".env"))
            .filter(|path| path.is_file());
        let mut variables = Vec::new();
        for path in self.files.iter().chain(&beside) {
            let file = EnvFile::read(path)?;
            if let Some(line) = file.odd_lines.first().filter(|_| !quiet) {
                notice!(
                    "{}:{line}: left out, since it is not of the form NAME=VALUE",
                    path.display()
                );
            }
            variables.extend(file.variables);
        }
        let base_port = match (self.port, folder) {
            (Some(port), _) => Some(port),
            (None, None) => None,
            (None, Some(_)) => Some(base_port(&variables)?),
        };
        Ok(Environment {
            variables,
            base_port,
        })
    }
}

/// Returns the port that a `PORT` in the files or in the program's environment sets, or the
/// default.
fn base_port(variables: &[Variable]) -> Result<u16, Failure> {
    let given = variables.iter().rev().find(|(name, _)| name == "PORT");
    if let Some((_, value)) = given {
        return port(value).ok_or_else(|| {
            Failure::usage(format!(
                "PORT is {value:?} in the file of variables; it must be a number from 1 to 65535"
            ))
        });
    }
    Ok(env::var_os("PORT")
        .and_then(|value| port(&value))
        .unwrap_or(DEFAULT_PORT))
}

fn port(value: &OsString) -> Option<u16> {
    value.to_str()?.trim().parse().ok().filter(|&port| port > 0)
}

impl Environment {
    /// Returns the variables of process number `index`.
    pub(super) fn of(&self, index: usize, id: &ProcessId) -> Result<Vec<Variable>, Failure> {
        let mut variables = self.variables.clone();
        if let Some(base) = self.base_port {
            let port = u16::try_from(usize::from(base) + index * PORT_STEP).map_err(|_| {
                Failure::usage(format!(
                    "no port is left for {id}: process {} from port {base} on, 100 each; \
                     choose a lower --port",
                    index + 1
                ))
            })?;
            variables.push(("PORT".into(), port.to_string().into()));
            variables.push(("PS".into(), format!("{id}.1").into()));
        }
        Ok(variables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_port_a_hundred_above_that_of_the_one_before() {
        let environment = Environment {
            variables: Vec::new(),
            base_port: Some(65_400),
        };
        let id = ProcessId::parse("web").unwrap();
        let of = |index| environment.of(index, &id);
        let expected =
            |port: &str| vec![("PORT".into(), port.into()), ("PS".into(), "web.1".into())];
        assert_eq!(of(0).unwrap(), expected("65400"));
        assert_eq!(of(1).unwrap(), expected("65500"));
        let refused = of(2).unwrap_err();
        assert!(refused.sentence().contains("no port is left for web"));
    }

    #[test]
    fn the_last_port_in_a_file_is_the_first_processes_own_and_must_be_one() {
        let with = |values: &[&str]| -> Vec<Variable> {
            values
                .iter()
                .map(|&value| ("PORT".into(), value.into()))
                .collect()
        };
        assert_eq!(base_port(&with(&["3000", "4000"])).unwrap(), 4000);
        for odd in ["", "http", "0", "65536", "-1"] {
            assert!(base_port(&with(&[odd])).is_err(), "{odd:?}");
        }
    }
}
